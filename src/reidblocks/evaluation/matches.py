"""The gallery images nearest to each query, for ranked lists."""

from dataclasses import dataclass

import torch

from reidblocks.evaluation.blocks import full_precision, score_blocks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.neighbours import best_of_rows
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.reranking import KReciprocal, make_scorer
from reidblocks.evaluation.scores import Distance


@dataclass(frozen=True)
class Match:
    """A gallery image by index; ``correct`` is None where the protocol leaves it out."""

    index: int
    distance: float
    correct: bool | None


@full_precision()
def top_matches(
    query: Features,
    gallery: Features,
    k: int = 10,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    reranking: KReciprocal | None = None,
    left_out: bool = False,
) -> list[list[Match]]:
    """Find the k nearest gallery images of each query, the nearest first, ties in gallery order.

    Args:
        query, gallery: the features of both sides.
        k: images a query; fewer if the gallery or the protocol leaves fewer.
        protocol: which gallery images are right, wrong or left out.
        distance: "cosine" (1 − cos) or "euclidean".
        reranking: k-reciprocal re-ranking, if wanted; the distances are then the re-ranked ones.
        left_out: keep the images that the protocol leaves out, with ``correct`` None.

    >>> side = Features(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), ids=[1, 2])
    >>> top_matches(side, side, k=1)
    [[Match(index=0, distance=0.0, correct=True)], [Match(index=1, distance=0.0, correct=True)]]
    """
    if k < 1:
        raise ValueError(f"top_matches expects k of at least 1, got {k}")
    scorer = make_scorer("top_matches", query, gallery, distance, reranking)
    matching = Matching("top_matches", protocol, query, gallery)
    every = torch.arange(len(query), device=query.ids.device)
    found: list[list[Match]] = []
    for rows, scores in score_blocks(scorer, every, matching.num_same_id):
        pairs = matching.pairs(rows)
        ignored = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
        right = ignored.clone()
        right[pairs.row[pairs.valid], pairs.column[pairs.valid]] = True
        ignored[pairs.row[~pairs.valid], pairs.column[~pairs.valid]] = True
        ignored[:, matching.junk_columns] = True
        if not left_out:
            scores.masked_fill_(ignored, -torch.inf)
        row, column = best_of_rows(scorer, rows, scores, k)
        far = scorer.distances(rows[row], scorer.exact(rows[row], column))
        counts = torch.bincount(row, minlength=len(rows)).tolist()
        answers = torch.where(ignored, -1, right.int())[row, column]
        listed = zip(column.tolist(), far.tolist(), answers.tolist(), strict=True)
        matches = [Match(j, away, None if a < 0 else bool(a)) for j, away, a in listed]
        for count in counts:
            found.append(matches[:count])
            matches = matches[count:]
    return found
