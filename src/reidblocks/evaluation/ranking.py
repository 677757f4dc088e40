"""Where a query's right matches stand in its ranking, without ranking the gallery.

Only one number is needed of each right match: how many wrong images stand before it. The k-th
right match, counted from the best, with n wrong ones before it has rank n + k. So a block of
queries is multiplied with the gallery once, its right and left-out entries are masked, and the
wrong scores above each right one are counted. Float32 decides all but the closest cases; those
are compared again in float64, and a tie goes to the image that comes first in the gallery.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores, score_blocks
from reidblocks.evaluation.protocol import Matching

_SORT_BYTES = 2 * 2**20  # of scores put in order at a time by one thread: stays in its cache
_RIVALS = 2**18  # looked at together


def count_wrong_before(scorer: Scores, matching: Matching) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each right match of the valid queries, (query row, wrong images before it)."""
    queries = matching.valid_queries
    for rows, scores in score_blocks(scorer, queries, matching.num_same_id[queries]):
        pairs = matching.pairs(rows)
        row, column = pairs.row[pairs.valid], pairs.column[pairs.valid]
        score = scores[row, column]
        margin = scorer.margin(rows[row], column, score)
        scores[pairs.row, pairs.column] = -torch.inf
        if len(matching.junk_columns):
            scores.index_fill_(1, matching.junk_columns, -torch.inf)
        block = _Block(scorer, rows, scores, row, column, score - margin, score + margin)
        yield rows[row], block.count()


class _Block:
    """The wrong scores of some queries, and the bounds around the scores of their right matches.

    A score above ``high`` is before the right match, one below ``low`` behind it, one between
    them a rival: too close for float32.
    """

    def __init__(
        self,
        scorer: Scores,
        rows: Tensor,
        scores: Tensor,
        row: Tensor,
        column: Tensor,
        low: Tensor,
        high: Tensor,
    ) -> None:
        self.scorer, self.rows, self.scores = scorer, rows, scores
        self.row, self.column, self.low, self.high = row, column, low, high
        self.before = torch.zeros_like(row)
        number = torch.bincount(row, minlength=len(rows))
        self.first = [0, *number.cumsum(0).tolist()]

    def count(self) -> Tensor:
        """How many wrong images stand before each right match."""
        number = len(self.rows)
        if self.scores.device.type != "cpu":
            self._count(range(number))
            return self.before
        step = max(1, _SORT_BYTES // (4 * self.scores.shape[1]))
        parts = [range(i, min(i + step, number)) for i in range(0, number, step)]
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(self._count, parts))
        return self.before

    def _count(self, part: range) -> None:
        """Sort the bare values of some rows: that serves any number of right matches alike."""
        some = slice(self.first[part.start], self.first[part.stop])
        row = self.row[some] - part.start
        slot = torch.arange(len(row), device=row.device) + some.start
        slot -= torch.tensor(self.first[part.start : part.stop], device=row.device)[row]
        bounds = self.scores.new_zeros(2, len(part), int(slot.max()) + 1)
        bounds[0, row, slot], bounds[1, row, slot] = self.high[some], self.low[some]
        scores = self.scores[part.start : part.stop]
        ordered = _sorted(scores)
        above = scores.shape[1] - torch.searchsorted(ordered, bounds[0], right=True)[row, slot]
        reach = scores.shape[1] - torch.searchsorted(ordered, bounds[1])[row, slot]
        self.before[some] = above
        close = (reach > above).nonzero().squeeze(1)
        rivals = (reach - above)[close].cumsum(0).div_(_RIVALS, rounding_mode="floor")
        for group in torch.split(
            close, torch.unique_consecutive(rivals, return_counts=True)[1].tolist()
        ):
            self._settle(group + some.start)

    def _settle(self, right: Tensor) -> None:
        """Add the rivals that stand before these right matches, by float64 scores."""
        row, column = self.row[right], self.column[right]
        which, rival = _between(self.scores, row, self.low[right], self.high[right])
        queries, width = self.rows[row], self.scores.shape[1]
        mine = self.scorer.exact(queries, column)[which]
        places, inverse = torch.unique(queries[which] * width + rival, return_inverse=True)
        other = self.scorer.exact(places // width, places % width)[inverse]
        wins = (other > mine) | ((other == mine) & (rival < column[which]))
        self.before[right] += torch.bincount(which[wins], minlength=len(right))


def _sorted(scores: Tensor) -> Tensor:
    if scores.device.type != "cpu":
        return scores.sort(dim=1).values
    return torch.from_numpy(np.sort(scores.numpy(), axis=1))  # ten times as quick as torch's


def _between(scores: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """(i, column) of the scores of row[i] from low[i] to high[i], row by row."""
    if scores.device.type != "cpu":
        return _between_at_once(scores, row, low, high)
    lines, columns = scores.numpy(), []
    for i, least, most in zip(row.tolist(), low.numpy(), high.numpy(), strict=True):
        near = (lines[i] >= least) & (lines[i] <= most)
        columns.append(near.nonzero()[0])
    which = np.repeat(np.arange(len(columns)), [len(found) for found in columns])
    return torch.from_numpy(which), torch.from_numpy(np.concatenate(columns))


def _between_at_once(
    scores: Tensor, row: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with few calls, for a GPU."""
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
