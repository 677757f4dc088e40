"""mAP, CMC and mINP of features, exactly, with a report of every query dropped."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks._checks import expect_whole
from reidblocks.evaluation._equality import ComparesContents
from reidblocks.evaluation.blocks import full_precision
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.ranking import count_wrong_before
from reidblocks.evaluation.report import DropReport
from reidblocks.evaluation.reranking import KReciprocal, make_scorer
from reidblocks.evaluation.scores import Distance
from reidblocks.evaluation.single_shot import expect_single_shot


@dataclass(frozen=True, eq=False)
class Evaluation(ComparesContents):
    r"""The metrics of one evaluation, as fractions between 0 and 1, overall and per query.

    With a query's n correct matches at ranks $r_1 < … < r_n$ of the images that count for it,

    $$AP = \frac{1}{n}\sum_{k=1}^n \frac{k}{r_k}, \qquad INP = \frac{n}{r_n}, \qquad
      CMC(k) = [r_1 \le k]$$

    mAP, mINP and cmc are their means over the valid queries: those with any correct match.

    Attributes:
        average_precision: AP of each query (Q,) in float64; NaN where the query was dropped.
        inverse_negative_penalty: INP of each query (Q,), likewise.
        first_match_rank: rank of the first correct match of each query (Q,), likewise, from 1.
        matched: fraction of draws (Q, max_rank) with a correct match among the first k, for a
            single-shot protocol, whose other metrics are expectations too; None otherwise.
        cmc: (max_rank,), cmc[0] is rank 1. It never decreases.
        query_ids: the queries' identities (Q,), for intervals over identities.
        report: which queries were dropped, and why; how many are in the gallery themselves.

    Source: Zheng et al., ICCV 2015 (Market-1501); mINP: Ye et al., arXiv 2001.04193.
    """

    average_precision: Tensor
    inverse_negative_penalty: Tensor
    first_match_rank: Tensor
    matched: Tensor | None
    cmc: Tensor
    query_ids: Tensor
    report: DropReport

    @property
    def mAP(self) -> float:  # noqa: N802 the field's own name
        return float(self.average_precision.nanmean())

    @property
    def mINP(self) -> float:  # noqa: N802 the field's own name
        return float(self.inverse_negative_penalty.nanmean())

    @property
    def num_valid_queries(self) -> int:
        return int(self.valid.sum())

    @property
    def valid(self) -> Tensor:
        """A mask (Q,), true where the query was not dropped."""
        return ~self.average_precision.isnan()

    def rank(self, k: int) -> float:
        """Return the fraction of valid queries whose first correct match is among the first k."""
        if not 1 <= expect_whole("rank", "k", k, None) <= len(self.cmc):
            raise ValueError(f"rank expects k between 1 and max_rank={len(self.cmc)}, got {k}")
        return float(self.cmc[k - 1])

    def matched_within(self, k: int) -> Tensor:
        """Return, for each valid query, whether (or how probably) one of the first k is correct."""
        k = expect_whole("matched_within", "k", k, None)
        if self.matched is None:
            return (self.first_match_rank[self.valid] <= k).double()
        if not 1 <= k <= len(self.cmc):
            raise ValueError(
                f"matched_within expects k between 1 and max_rank={len(self.cmc)} of a "
                f"single-shot protocol, got {k}"
            )
        return self.matched[self.valid, k - 1]

    def worst(self, k: int = 10) -> Tensor:
        """Return the indices of the k valid queries with the lowest AP, the lowest first."""
        k = expect_whole("worst", "k", k)
        order = self.average_precision.argsort(stable=True)  # NaN comes last
        return order[: min(k, self.num_valid_queries)]

    def __str__(self) -> str:
        shown = [k for k in (1, 5, 10, 20) if k <= len(self.cmc)]
        names = ["mAP", *(f"rank-{k}" for k in shown), "mINP", "queries"]
        values = [self.mAP, *(self.rank(k) for k in shown), self.mINP]
        cells = [*(f"{100 * value:.2f}%" for value in values), str(self.num_valid_queries)]
        widths = [max(len(name), len(cell)) for name, cell in zip(names, cells, strict=True)]
        rows = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in (names, cells)
        ]
        return "\n".join([*rows, str(self.report)])


@full_precision()
def evaluate(
    query: Features,
    gallery: Features,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    reranking: KReciprocal | None = None,
    max_rank: int = 50,
) -> Evaluation:
    """Rank the gallery for every query and measure how early the correct matches come.

    The ranking is the one a stable sort of float64 distances gives: of images at the same distance
    the one that comes first in the gallery is ranked first. The gallery is not copied (unless all
    embeddings have nearly the same direction), and no distance matrix is stored.

    A query that is itself in the gallery (by its path, or as one object is both sides) is excluded
    from its own ranking, by every protocol; the report says how many there are.

    Args:
        query, gallery: the features of both sides, of one size, on one device.
        protocol: which gallery images count for which query.
        distance: "cosine" or "euclidean".
        reranking: k-reciprocal re-ranking of that distance, if wanted.
        max_rank: length of the CMC curve.

    Raises:
        ValueError: the sizes do not fit; NaN, infinity or (cosine) a zero vector; cameras of one
            side only; every query was dropped, with the report that says why.
        TypeError: query or gallery are no ``Features``, the protocol no ``Protocol``, reranking
            no ``KReciprocal`` or max_rank not an integer.

    >>> query, gallery = (Features(torch.eye(3), ids) for ids in ([1, 2, 3], [1, 2, 4]))
    >>> result = evaluate(query, gallery)
    >>> result.mAP, result.rank(1), result.num_valid_queries
    (1.0, 1.0, 2)
    """
    max_rank = expect_whole("evaluate", "max_rank", max_rank)
    matching = Matching("evaluate", protocol, query, gallery)
    scorer = make_scorer("evaluate", query, gallery, distance, reranking)
    report = matching.report()
    if not len(matching.valid_queries):
        raise ValueError(f"evaluate has no query to score: {report}")
    if protocol.single_shot:
        inverse, rank, matched = (
            part.cpu() for part in expect_single_shot(scorer, matching, max_rank)
        )
        cmc = matched.nanmean(0)
        return Evaluation(inverse, inverse, rank, matched, cmc, query.ids.cpu(), report)
    found = list(count_wrong_before(scorer, matching))
    rows, before = (torch.cat(part) for part in zip(*found, strict=True))
    return _summarize(rows, before, matching, report, max_rank)


def _summarize(
    query: Tensor, wrong_before: Tensor, matching: Matching, report: DropReport, max_rank: int
) -> Evaluation:
    """Turn (query, incorrect images before) of every correct match into the metrics."""
    order = torch.argsort(wrong_before, stable=True)
    order = order[torch.argsort(query[order], stable=True)]
    query, wrong_before = query[order], wrong_before[order]
    number = matching.num_positives
    position = torch.arange(1, len(query) + 1, device=query.device)
    position -= (number.cumsum(0) - number)[query]  # k: 1 for a query's best correct match
    rank = wrong_before + position
    nothing = torch.full_like(number, torch.nan, dtype=torch.float64)
    precision = nothing.nan_to_num(0.0).index_add(0, query, position.double() / rank) / number
    last, first = position == number[query], position == 1
    penalty = nothing.index_put((query[last],), number[query[last]].double() / rank[last])
    first_rank = nothing.index_put((query[first],), rank[first].double())
    hits = torch.bincount(rank[first], minlength=max_rank + 1)[1 : max_rank + 1]
    return Evaluation(
        average_precision=precision.cpu(),
        inverse_negative_penalty=penalty.cpu(),
        first_match_rank=first_rank.cpu(),
        matched=None,
        cmc=(hits.cumsum(0).double() / int(first.sum())).cpu(),
        query_ids=matching.query.ids.cpu(),
        report=report,
    )
