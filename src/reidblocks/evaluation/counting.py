"""Count the scores of a row above some bounds, and find those between."""

import numpy as np
import torch
from torch import Tensor

_SORTED = 200  # times as many values as bounds: from there on, sorting takes longer than comparing


def count_above(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Count the scores of row[i] that are > high[i], and that are ≥ low[i]; rows in order.

    The bare values are sorted, which serves any number of bounds of a row alike. On a CPU only
    those that reach the row's lowest bound are looked at, most often few; if they are many, but
    the bounds are not, they are compared with each bound instead.
    """
    count = _count_by_row if scores.device.type == "cpu" else _count_at_once
    return count(scores, row, low, high)


def _count_by_row(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    lines, least, most = scores.numpy(), low.numpy(), high.numpy()
    counts = np.empty((2, len(row)), dtype=np.int64)
    rows, number = torch.unique_consecutive(row, return_counts=True)
    end = 0
    for i, length in zip(rows.tolist(), number.tolist(), strict=True):
        some, end = slice(end, end + length), end + length
        near = lines[i][np.flatnonzero(lines[i] >= least[some].min())]
        if len(near) > _SORTED * length:
            counts[0, some] = [np.count_nonzero(near > bound) for bound in most[some]]
            counts[1, some] = [np.count_nonzero(near >= bound) for bound in least[some]]
        else:
            near.sort()
            counts[0, some] = len(near) - near.searchsorted(most[some], side="right")
            counts[1, some] = len(near) - near.searchsorted(least[some])
    above, reach = torch.from_numpy(counts)
    return above, reach


def _count_at_once(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    number = torch.bincount(row, minlength=len(scores))
    slot = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number)[row]
    bounds = scores.new_zeros(2, len(scores), int(number.max()))
    bounds[0, row, slot], bounds[1, row, slot] = high, low
    ordered = scores.sort(dim=1).values
    above = torch.searchsorted(ordered, bounds[0], right=True)[row, slot]
    reach = torch.searchsorted(ordered, bounds[1])[row, slot]
    return scores.shape[1] - above, scores.shape[1] - reach


def find_between(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return (i, column) of the scores of row[i] from low[i] to high[i]; by i, then column."""
    find = _find_by_row if scores.device.type == "cpu" else _find_at_once
    return find(scores, row, low, high)


def _find_by_row(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    lines, columns = scores.numpy(), []
    for i, least, most in zip(row.tolist(), low.numpy(), high.numpy(), strict=True):
        near = (lines[i] >= least) & (lines[i] <= most)
        columns.append(np.flatnonzero(near))
    which = np.repeat(np.arange(len(columns)), [len(found) for found in columns])
    return torch.from_numpy(which), torch.from_numpy(np.concatenate(columns))


def _find_at_once(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    which, columns = [row.new_empty(0)], [row.new_empty(0)]
    step = max(1, 2**26 // scores.shape[1])
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        line = scores[row[some]]
        near = (line >= low[some, None]) & (line <= high[some, None])
        i, column = near.nonzero(as_tuple=True)
        which.append(i + start)
        columns.append(column)
    return torch.cat(which), torch.cat(columns)
