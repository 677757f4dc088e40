"""The gallery images nearest to each query, for ranked lists."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reidblocks.evaluation.features import Features
from reidblocks.evaluation.protocol import MARKET_RULE, Matching, Protocol
from reidblocks.evaluation.ranking import full_precision, row_blocks
from reidblocks.evaluation.scores import Distance, Scorer


@dataclass(frozen=True)
class Match:
    """A gallery image by index; ``correct`` is None where the protocol leaves it out."""

    index: int
    distance: float
    correct: bool | None


def top_matches(
    query: Features,
    gallery: Features,
    k: int = 10,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    left_out: bool = False,
) -> list[list[Match]]:
    """Find the k nearest gallery images of each query, the nearest first, ties in gallery order.

    Args:
        query, gallery: the features of both sides.
        k: images a query; fewer if the gallery or the protocol leaves fewer.
        protocol: which gallery images are right, wrong or left out.
        distance: "cosine" (1 − cos) or "euclidean".
        left_out: keep the images that the protocol leaves out, with ``correct`` None.

    >>> side = Features(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), ids=[1, 2])
    >>> top_matches(side, side, k=1)
    [[Match(index=0, distance=0.0, correct=True)], [Match(index=1, distance=0.0, correct=True)]]
    """
    if k < 1:
        raise ValueError(f"top_matches expects k of at least 1, got {k}")
    scorer = Scorer("top_matches", query.values, gallery.values, distance)
    matching = Matching("top_matches", protocol, query, gallery)
    every = torch.arange(len(query), device=query.ids.device)
    blocks = list(row_blocks(every, len(gallery), matching.num_same_id))
    buffer = torch.empty(max(map(len, blocks)), len(gallery), device=every.device)
    found: list[list[Match]] = []
    with full_precision(every.device):
        for rows in blocks:
            scores = scorer.block(rows, buffer[: len(rows)])[0]
            pairs = matching.pairs(rows)
            ignored = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
            right = ignored.clone()
            right[pairs.row[pairs.valid], pairs.column[pairs.valid]] = True
            ignored[pairs.row[~pairs.valid], pairs.column[~pairs.valid]] = True
            ignored[:, matching.junk_columns] = True
            if not left_out:
                scores.masked_fill_(ignored, -torch.inf)
            row, column = _candidates(scores, k, scorer.widest_margin)
            exact = scorer.exact(rows[row], column)
            far = scorer.distances(rows[row], exact)
            for i, order in enumerate(_by_row(row, column, exact, len(rows))):
                best = order[:k]
                found.append(
                    [
                        Match(j, away, None if ignored[i, j] else bool(right[i, j]))
                        for j, away in zip(column[best].tolist(), far[best].tolist(), strict=True)
                    ]
                )
    return found


def _candidates(scores: Tensor, k: int, margin: float) -> tuple[Tensor, Tensor]:
    """(row, column) of all that may be among a row's k best, left-out ones aside."""
    least = scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1:] - margin
    near = (scores >= least).logical_and_(scores != -torch.inf)
    row, column = near.nonzero(as_tuple=True)
    return row, column


def _by_row(row: Tensor, column: Tensor, exact: Tensor, num_rows: int) -> list[Tensor]:
    """For each row its candidates in order: positions, the best first, equal ones as listed."""
    order = exact.argsort(descending=True, stable=True)  # listed by column within a row
    order = order[row[order].argsort(stable=True)]
    return list(torch.split(order, torch.bincount(row, minlength=num_rows).tolist()))
