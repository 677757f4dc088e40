"""Search without labels: the nearest gallery embeddings of each query embedding."""

from typing import NamedTuple

import torch
from torch import Tensor

from reidblocks._checks import expect_whole
from reidblocks._devices import where_float64_is
from reidblocks.evaluation._arguments import expect_embeddings
from reidblocks.evaluation.blocks import full_precision, score_blocks
from reidblocks.evaluation.neighbors import best_of_rows
from reidblocks.evaluation.scores import Distance, Scorer


class SearchResult(NamedTuple):
    """The nearest gallery rows of each query, the nearest first.

    Shape:
        indices (Q, k), int64; distances (Q, k), float64
    """

    indices: Tensor
    distances: Tensor


@full_precision()
def search(
    query: Tensor, gallery: Tensor, k: int = 10, *, distance: Distance = "cosine"
) -> SearchResult:
    """Return the k nearest gallery embeddings of each query, exactly; ties in gallery order.

    The order is that of a stable sort of float64 distances, found a block of queries at a time.
    No label is needed and nothing is excluded: a tensor given on both sides finds each row in
    itself first. `top_matches` applies a protocol.

    Args:
        query, gallery: embeddings of any floating-point type, on one device.
        k: images per query; a smaller gallery gives all it has.
        distance: "cosine" (1 − cos) or "euclidean".

    Shape:
        query (Q, D); gallery (G, D); both results (Q, min(k, G))

    Raises:
        ValueError: the shapes or devices do not fit; k is below 1; NaN, infinity or (cosine) a
            zero vector.
        TypeError: no floating-point tensors, or k is not an integer.

    >>> gallery = torch.tensor([[0.0], [5.0], [2.0]])
    >>> found = search(torch.tensor([[3.0]]), gallery, k=2, distance="euclidean")
    >>> found.indices.tolist(), found.distances.tolist()
    ([[2, 1]], [[1.0, 2.0]])
    """
    expect_embeddings("search", query, gallery)
    query, gallery = where_float64_is(query), where_float64_is(gallery)
    k = min(expect_whole("search", "k", k), len(gallery))
    scorer = Scorer("search", query, gallery, distance)
    every = torch.arange(len(query), device=query.device)
    indices = every.new_empty(len(query), k)
    distances = torch.empty_like(indices, dtype=torch.float64)
    for rows, scores in score_blocks(scorer, every, torch.zeros_like(every)):
        row, column = best_of_rows(scorer, rows, scores, k)
        away = scorer.distances(rows[row], scorer.exact(rows[row], column))
        indices[rows], distances[rows] = column.view(-1, k), away.view(-1, k)
    return SearchResult(indices, distances)
