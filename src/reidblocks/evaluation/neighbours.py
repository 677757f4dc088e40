"""The nearest images, in the order of a stable sort of float64 distances."""

import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores


def best_of_rows(
    scorer: Scores, rows: Tensor, scores: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(row, column, exact score) of each row's k best, row by row, best first.

    Entries of −inf do not count; a row with fewer others gives fewer. Float32 picks a few more
    than k; float64 puts those in order.
    """
    more = min(k + 8, scores.shape[1])
    values, columns = scores.topk(more, dim=1)
    least = values[:, min(k, more) - 1] - scorer.margin
    near = (values >= least[:, None]) & (values != -torch.inf)
    crowded = near[:, -1] & (more < scores.shape[1])
    near[crowded] = False
    row, place = near.nonzero(as_tuple=True)
    column = columns[row, place]
    if crowded.any():  # many images at almost one distance: take all that may be among the best
        which = crowded.nonzero().squeeze(1)
        wide = (scores[which] >= least[which, None]) & (scores[which] != -torch.inf)
        extra, extra_column = wide.nonzero(as_tuple=True)
        row, column = torch.cat([row, which[extra]]), torch.cat([column, extra_column])
    exact = scorer.exact(rows[row], column)
    order = column.argsort()
    for key in (-exact, row):  # the last sort counts most
        order = order[key[order].argsort(stable=True)]
    row, column, exact = row[order], column[order], exact[order]
    count = torch.bincount(row, minlength=len(rows))
    best = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row] < k
    return row[best], column[best], exact[best]
