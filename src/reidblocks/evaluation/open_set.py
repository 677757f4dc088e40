"""Open-set identification: is this person in the gallery at all, and if so, who?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks._checks import expect_number, expect_whole
from reidblocks.evaluation._equality import ComparesContents
from reidblocks.evaluation.blocks import Scores, full_precision, score_blocks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.neighbors import best_of_rows
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.ranking import count_wrong_before
from reidblocks.evaluation.report import DropReport
from reidblocks.evaluation.reranking import KReciprocal, make_scorer
from reidblocks.evaluation.scores import Distance

_SHOWN = (0.01, 0.1)  # false-alarm rates of the printed table


@dataclass(frozen=True, eq=False)
class OpenSetEvaluation(ComparesContents):
    r"""The detection and identification rate (DIR) and the false-alarm rate (FAR).

    At a threshold t on the distance, with r(q) the rank of the first correct match of a known
    query and d(q) its distance,

    $$DIR(t, k) = \frac{|\{q\ \text{known}: r(q) \le k,\ d(q) \le t\}|}{|\text{known}|}, \qquad
      FAR(t) = \frac{|\{q\ \text{unknown}: d_{\min}(q) \le t\}|}{|\text{unknown}|}$$

    DIR is the detection and identification rate, FAR the false-alarm rate. A query is known if it
    has a correct match; unknown if its person is not in the gallery it is compared with; dropped
    if its person is there, but only in images that the protocol excludes.

    Attributes:
        known: rows of the known queries (K,).
        rank: rank of the first correct match of each (K,), from 1.
        distance: distance of that match (K,), in float64.
        unknown: rows of the unknown queries (U,).
        nearest: distance of the nearest image that counts, of each (U,); infinite where none does.
        dropped: the other queries, and why.

    Source: Grother, Micheals and Phillips, AVBPA 2003; Liao et al., arXiv 1408.2872, for ReID.
    """

    known: Tensor
    rank: Tensor
    distance: Tensor
    unknown: Tensor
    nearest: Tensor
    dropped: DropReport

    def threshold_at(self, false_alarm_rate: float) -> float:
        """Return the maximum distance whose false-alarm rate is at most the wanted one.

        It lies right below the first unknown query that would be too many; infinite if none is.
        """
        expect_number("threshold_at", false_alarm_rate=false_alarm_rate)
        if not 0 <= false_alarm_rate <= 1:
            raise ValueError(
                f"threshold_at expects false_alarm_rate from 0 to 1, got {false_alarm_rate}"
            )
        allowed = int(false_alarm_rate * len(self.nearest) * (1 + 1e-12))
        if allowed >= len(self.nearest):
            return torch.inf
        first = self.nearest.sort().values[allowed]
        return float(torch.nextafter(first, torch.full_like(first, -torch.inf)))

    def dir_at(self, false_alarm_rate: float, rank: int = 1) -> float:
        """Return the DIR at this rank, at the threshold that keeps the false-alarm rate."""
        rank = expect_whole("dir_at", "rank", rank)
        found = (self.rank <= rank) & (self.distance <= self.threshold_at(false_alarm_rate))
        return float(found.double().mean())

    def __str__(self) -> str:
        lines = [f"DIR at FAR {'':4}" + "".join(f"{f'{100 * rate:g}%':>9}" for rate in _SHOWN)]
        for rank in (1, 5):
            cells = "".join(f"{f'{100 * self.dir_at(rate, rank):.2f}%':>9}" for rate in _SHOWN)
            lines.append(f"{f'rank-{rank}':<15}{cells}")
        lines.append(
            f"{len(self.known)} queries of people in the gallery, {len(self.unknown)} of others"
        )
        return "\n".join([*lines, *([str(self.dropped)] if self.dropped.dropped else [])])


@full_precision()
def evaluate_open_set(
    query: Features,
    gallery: Features,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    reranking: KReciprocal | None = None,
) -> OpenSetEvaluation:
    """Measure open-set identification, where some queries show nobody in the gallery.

    The protocol says which images count, as for `evaluate`. One distance decides for all queries.

    Args:
        query, gallery: the features of both sides; some queries' people are not in the gallery.
        protocol: which gallery images count for which query; not a single-shot one.
        distance: "cosine" or "euclidean".
        reranking: k-reciprocal re-ranking of that distance, if wanted.

    Raises:
        ValueError: no query is known, or none unknown; a single-shot protocol; bad input, as for
            ``evaluate``.
        TypeError: bad input, as for ``evaluate``.

    >>> gallery = Features(torch.tensor([[0.0], [4.0]]), ids=[1, 2])
    >>> query = Features(torch.tensor([[0.5], [6.0], [1.0]]), ids=[1, 2, 3])
    >>> result = evaluate_open_set(query, gallery, distance="euclidean")
    >>> result.dir_at(0), result.dir_at(1), round(result.threshold_at(0), 6)
    (0.5, 1.0, 1.0)
    """
    matching = Matching("evaluate_open_set", protocol, query, gallery)
    if protocol.single_shot:
        raise ValueError(
            "evaluate_open_set expects a protocol whose gallery is not drawn, got a single-shot "
            "one; give replace(protocol, single_shot=False)"
        )
    scorer = make_scorer("evaluate_open_set", query, gallery, distance, reranking)
    known, unknown = matching.valid_queries, matching.unknown_queries()
    dropped = matching.report(unless=unknown)
    if not len(known):
        raise ValueError(
            f"evaluate_open_set has no query with a correct match: {matching.report()}"
        )
    if not len(unknown):
        raise ValueError(
            f"evaluate_open_set expects queries of people who are not in the gallery, got none "
            f"among {len(query)}; without them there is no false alarm: use evaluate"
        )
    rank, away = _first_matches(scorer, matching)
    nearest = _nearest_of_all(scorer, matching, unknown)
    return OpenSetEvaluation(
        known.cpu(), rank.cpu(), away.cpu(), unknown.cpu(), nearest.cpu(), dropped
    )


def _first_matches(scorer: Scores, matching: Matching) -> tuple[Tensor, Tensor]:
    """Rank and distance of the first correct match of each valid query."""
    found = list(count_wrong_before(scorer, matching))
    rows, before = (torch.cat(part) for part in zip(*found, strict=True))
    fewest = torch.full_like(matching.num_positives, len(matching.gallery))
    fewest = fewest.scatter_reduce(0, rows, before, "amin")
    best = torch.full_like(fewest, -torch.inf, dtype=torch.float64)
    for rows in torch.split(matching.valid_queries, 256):
        pairs = matching.pairs(rows)
        row, column = rows[pairs.row[pairs.valid]], pairs.column[pairs.valid]
        best = best.scatter_reduce(0, row, scorer.exact(row, column), "amax")
    known = matching.valid_queries
    return 1 + fewest[known], scorer.distances(known, best[known])


def _nearest_of_all(scorer: Scores, matching: Matching, queries: Tensor) -> Tensor:
    """Distance of the nearest image that counts, of each of these queries."""
    nearest = torch.full_like(queries, torch.inf, dtype=torch.float64)
    place = torch.full_like(matching.num_positives, -1)
    place[queries] = torch.arange(len(queries), device=queries.device)
    for rows, scores in score_blocks(scorer, queries, matching.num_same_id[queries]):
        pairs = matching.pairs(rows)
        scores[pairs.row, pairs.column] = -torch.inf
        matching.fill_excluded(scores, rows, -torch.inf)
        row, column = best_of_rows(scorer, rows, scores, 1)
        found = rows[row]
        nearest[place[found]] = scorer.distances(found, scorer.exact(found, column))
    return nearest
