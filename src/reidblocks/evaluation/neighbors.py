"""The nearest images, in the order of a stable sort of float64 distances."""

import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores

_GROUP = 16  # columns of which the best is found first


def best_of_rows(scorer: Scores, rows: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return (row, column) of each row's k best, row by row, best first.

    Entries of −inf do not count; a row with fewer others gives fewer. Float32 picks a few more
    than k and puts them in order; float64 settles those too close for it.
    """
    more = min(k + 8, scores.shape[1])
    values, columns = _top(scores, more)
    least = values[:, min(k, more) - 1] - scorer.margin
    near = (values >= least[:, None]) & (values != -torch.inf)
    crowded = near[:, -1] & (more < scores.shape[1])
    near[crowded] = False
    close = values.diff(dim=1) >= -scorer.margin  # to the one before
    group = torch.nn.functional.pad((~close).cumsum(1), (1, 0))
    unsure = torch.nn.functional.pad(close, (1, 0)) | torch.nn.functional.pad(close, (0, 1))
    row, place = near.nonzero(as_tuple=True)
    column, group, unsure = columns[row, place], group[row, place], unsure[row, place]
    if crowded.any():  # many images at almost one distance: take all that may be among the best
        which = crowded.nonzero().squeeze(1)
        wide = (scores[which] >= least[which, None]) & (scores[which] != -torch.inf)
        extra, extra_column = wide.nonzero(as_tuple=True)
        row, column = torch.cat([row, which[extra]]), torch.cat([column, extra_column])
        group = torch.cat([group, torch.zeros_like(extra)])
        unsure = torch.cat([unsure, torch.ones_like(extra, dtype=torch.bool)])
    exact = torch.zeros_like(column, dtype=torch.float64)
    exact[unsure] = scorer.exact(rows[row[unsure]], column[unsure])
    order = column.argsort()
    for key in (-exact, group, row):  # the last sort counts most
        order = order[key[order].argsort(stable=True)]
    row, column = row[order], column[order]
    count = torch.bincount(row, minlength=len(rows))
    best = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row] < k
    return row[best], column[best]


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return ``scores.topk(k, dim=1)``, by way of the k groups of columns with the best maxima."""
    num_groups = scores.shape[1] // _GROUP
    if num_groups < 4 * k:
        return scores.topk(k, dim=1)
    groups, rest = _in_groups(scores, num_groups)
    chosen = groups.amax(1).topk(k, dim=1, sorted=False).indices[:, None]
    offsets = num_groups * torch.arange(_GROUP, device=scores.device)[:, None]
    columns = torch.arange(len(rest.T), device=scores.device) + _GROUP * num_groups
    columns = torch.cat([(chosen + offsets).flatten(1), columns.expand(len(scores), -1)], 1)
    candidates = groups.gather(2, chosen.expand(-1, _GROUP, -1)).flatten(1)
    values, place = torch.cat([candidates, rest], 1).topk(k, dim=1)
    return values, columns.gather(1, place)


def lowest_of_rows(scores: Tensor) -> Tensor:
    """Return ``scores.argmin(1)``, by way of the minima of groups of columns."""
    num_groups = scores.shape[1] // _GROUP
    if num_groups == 0:
        return scores.argmin(1)
    groups, rest = _in_groups(scores, num_groups)
    place = torch.cat([groups.amin(1), rest], 1).argmin(1)
    within = groups[
        torch.arange(len(scores), device=scores.device), :, place.clamp_max(num_groups - 1)
    ].argmin(1)
    return torch.where(
        place < num_groups,
        within * num_groups + place,
        place + (_GROUP - 1) * num_groups,
    )


def _in_groups(scores: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Group columns g, g + num_groups and so on; also return the remaining columns."""
    grouped, rest = scores.tensor_split([_GROUP * num_groups], dim=1)
    return grouped.view(len(scores), _GROUP, num_groups), rest
