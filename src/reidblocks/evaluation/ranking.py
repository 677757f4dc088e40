"""Where a query's right matches stand in its ranking, without sorting the gallery by distance.

Only one number is needed of each right match: how many wrong images stand before it. The k-th
right match, counted from the best, with n wrong ones before it has rank n + k. So a block of
queries is multiplied with the gallery once, its right and left-out entries are masked, and the
wrong scores above each right one are counted. Float32 decides all but the closest cases; those
are compared again in float64, and a tie goes to the image that comes first in the gallery.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores, score_blocks
from reidblocks.evaluation.protocol import Matching

_SORT_BYTES = 4 * 2**20  # of scores put in order at a time by one thread: stays in its cache


def count_wrong_before(scorer: Scores, matching: Matching) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each right match of the valid queries, (query row, wrong images before it)."""
    num_columns, queries = scorer.num_columns, matching.valid_queries
    for rows, scores in score_blocks(scorer, queries, matching.num_same_id[queries]):
        pairs = matching.pairs(rows)
        row, column = pairs.row[pairs.valid], pairs.column[pairs.valid]
        score = scores[row, column]
        margin = scorer.margin(rows[row], column, score)
        scores[pairs.row, pairs.column] = -torch.inf
        if len(matching.junk_columns):
            scores.index_fill_(1, matching.junk_columns, -torch.inf)
        bounds = torch.stack([score + margin, score - margin], dim=1)
        above = _count_above(scores, row, bounds)
        before = above[:, 0].clone()
        close = (above[:, 1] > above[:, 0]).nonzero().squeeze(1)
        for some in torch.split(close, max(1, 2**22 // num_columns)):
            near = scores[row[some]]
            near = (near >= bounds[some, 1:]) & (near <= bounds[some, :1])
            which, rival = near.nonzero(as_tuple=True)
            mine = scorer.exact(rows[row[some]], column[some])[which]
            other = scorer.exact(rows[row[some[which]]], rival)
            wins = (other > mine) | ((other == mine) & (rival < column[some[which]]))
            before[some] += torch.bincount(which[wins], minlength=len(some))
        yield rows[row], before


def _count_above(scores: Tensor, row: Tensor, bounds: Tensor) -> Tensor:
    """How many scores of its row are > bounds[:, 0] and ≥ bounds[:, 1], each (N, 2).

    Sorting the bare values, a few rows at a time, serves any number of right matches alike.
    """
    num_rows, num_columns = scores.shape
    per_row = torch.bincount(row, minlength=num_rows)
    slot = torch.arange(len(row), device=row.device) - (per_row.cumsum(0) - per_row)[row]
    padded = scores.new_zeros(2, num_rows, int(per_row.max()))
    padded[0, row, slot], padded[1, row, slot] = bounds[:, 0], bounds[:, 1]
    above = torch.empty(padded.shape, dtype=torch.long, device=row.device)

    def count(start: int) -> None:
        some = slice(start, start + step)
        ordered = _sorted_rows(scores[some])
        above[0, some] = num_columns - torch.searchsorted(ordered, padded[0, some], right=True)
        above[1, some] = num_columns - torch.searchsorted(ordered, padded[1, some])

    step = max(1, _SORT_BYTES // (4 * num_columns))
    if scores.device.type == "cpu":
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(count, range(0, num_rows, step)))
    else:
        step = num_rows
        count(0)
    return above[:, row, slot].t()


def _sorted_rows(scores: Tensor) -> Tensor:
    if scores.device.type != "cpu":
        return scores.sort(dim=1).values
    ordered = scores.clone()
    ordered.numpy().sort(axis=1)  # by vector instructions, ten times as quick as torch's own sort
    return ordered
