"""The ranks of a query's correct matches, without ranking the gallery.

Only one number is needed of each correct match: how many incorrect images are before it. The k-th
correct match, counted from the best, with n incorrect ones before it has rank n + k. So a block of
queries is multiplied with the gallery once, its correct and excluded entries are masked, and the
incorrect scores above each correct one are counted. Float32 decides all but the closest cases;
those are compared again in float64, and a tie goes to the image that is first in the gallery.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from reidblocks.evaluation.blocks import Scores, score_blocks
from reidblocks.evaluation.counting import count_above, find_between
from reidblocks.evaluation.protocol import Matching

_PART_BYTES = 4 * 2**20  # of scores that one thread takes at a time
_RIVALS = 2**18  # looked at together


def count_wrong_before(scorer: Scores, matching: Matching) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (query row, incorrect images before it) of each correct match of valid queries."""
    queries = matching.valid_queries
    for rows, scores in score_blocks(scorer, queries, matching.num_same_id[queries]):
        pairs = matching.pairs(rows)
        row, column = pairs.row[pairs.valid], pairs.column[pairs.valid]
        score = scores[row, column]
        scores[pairs.row, pairs.column] = -torch.inf
        matching.fill_excluded(scores, rows, -torch.inf)
        yield rows[row], _Block(scorer, rows, scores, row, column, score).count()


class _Block:
    """The incorrect scores of some queries, and bounds around the scores of the correct matches.

    A score above ``high`` is before the correct match, one below ``low`` behind it, one between
    them a rival: too close for float32.
    """

    def __init__(
        self,
        scorer: Scores,
        rows: Tensor,
        scores: Tensor,
        row: Tensor,
        column: Tensor,
        score: Tensor,
    ) -> None:
        self.scorer, self.rows, self.scores = scorer, rows, scores
        self.row, self.column = row, column
        self.low, self.high = score - scorer.margin, score + scorer.margin
        number = torch.bincount(row, minlength=len(rows))
        self.first = [0, *number.cumsum(0).tolist()]

    def count(self) -> Tensor:
        """Count the incorrect images before each correct match."""
        number = len(self.rows)
        if self.scores.device.type == "cpu":
            step = max(1, _PART_BYTES // (4 * self.scores.shape[1]))
            parts = [range(i, min(i + step, number)) for i in range(0, number, step)]
            with ThreadPoolExecutor(torch.get_num_threads()) as threads:
                counts = list(threads.map(self._count, parts))
            above, reach = (torch.cat(part) for part in zip(*counts, strict=True))
        else:
            above, reach = self._count(range(number))
        close = (reach > above).nonzero().squeeze(1)
        group = (reach - above)[close].cumsum(0).div_(_RIVALS, rounding_mode="floor")
        sizes = torch.unique_consecutive(group, return_counts=True)[1]
        for right in torch.split(close, sizes.tolist()):
            above[right] += self._settle(right)
        return above

    def _count(self, part: range) -> tuple[Tensor, Tensor]:
        some = slice(self.first[part.start], self.first[part.stop])
        scores, row = self.scores[part.start : part.stop], self.row[some] - part.start
        return count_above(scores, row, self.low[some], self.high[some])

    def _settle(self, right: Tensor) -> Tensor:
        """Count the rivals before each of these correct matches, by float64 scores."""
        row, column = self.row[right], self.column[right]
        which, rival = find_between(self.scores, row, self.low[right], self.high[right])
        queries, width = self.rows[row], self.scores.shape[1]
        mine = self.scorer.exact(queries, column)[which]
        places, inverse = torch.unique(queries[which] * width + rival, return_inverse=True)
        other = self.scorer.exact(places // width, places % width)[inverse]
        wins = (other > mine) | ((other == mine) & (rival < column[which]))
        return torch.bincount(which[wins], minlength=len(right))
