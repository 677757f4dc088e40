"""Each anchor's farthest positive and nearest negative, without holding all distances."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from reidblocks._checks import at_least_float32
from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import pair_masks, unit_vectors

Distance = Literal["euclidean", "cosine"]


class Hardest(NamedTuple):
    """Where each anchor's hardest pairs are, (B,) each."""

    positive: Tensor
    negative: Tensor
    counted: Tensor  # which anchors have both; the others' indices mean nothing


@torch.no_grad()
def hardest_pairs(
    embeddings: Tensor,
    labels: Tensor,
    others: Tensor | None,
    other_labels: Tensor | None,
    distance: Distance,
) -> Hardest:
    """Mine within one set, or in ``others``, a block of anchors at a time.

    |x|² + |y|² − 2xy loses what is small against |x|². In float64 and from an origin among the
    embeddings, float32 keeps its digits, except for neighbours 100,000 times nearer to each
    other than to the rest, where two nearly equal distances may change places.

    Within one set, distances are the same both ways: only those right of the diagonal are
    computed, and each serves both its ends.
    """
    embeddings = at_least_float32(embeddings)
    points, extra = _points(embeddings, distance)
    typical = torch.linalg.vector_norm(points, dim=1).median(0, keepdim=True).indices
    origin = points.index_select(0, typical)  # among the embeddings, and no outlier
    form = other_form = _form(points - origin, extra)
    if others is not None:
        points, extra = _points(at_least_float32(others), distance)
        other_form = _form(points - origin, extra)
    blocks = row_slices(form.shape[0], other_form.shape[0])
    # farthest positives and nearest negatives: each block's best candidate for each anchor
    scores = form.new_full((2, len(blocks), form.shape[0]), -torch.inf, dtype=embeddings.dtype)
    partners = torch.zeros_like(scores, dtype=torch.int64)
    for block, rows in enumerate(blocks):
        start = rows.start if others is None else 0
        distances = _distances(form[rows], other_form[start:]).to(embeddings.dtype)
        height = distances.shape[0]
        if others is None:
            positives, negatives = pair_masks(labels[start:], rows=slice(0, height))
        else:
            positives, negatives = pair_masks(labels, other_labels, rows=rows)
        candidates = (
            distances.masked_fill(~positives, -torch.inf),
            (-distances).masked_fill_(~negatives, -torch.inf),
        )
        for kind, candidate in enumerate(candidates):
            best = candidate.max(1)
            scores[kind, block, rows] = best.values
            partners[kind, block, rows] = best.indices + start
            rest = candidate[:, height:]
            if others is None and rest.shape[1]:
                best = rest.max(0)
                scores[kind, block, rows.stop :] = best.values
                partners[kind, block, rows.stop :] = best.indices + start
    best = scores.max(1)
    positive, negative = partners.gather(1, best.indices[:, None])[:, 0]
    return Hardest(positive, negative, (best.values != -torch.inf).all(0))


def _points(vectors: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Give rows of float64 and what is added to their squared distances from all others.

    Squared distances of unit vectors are 2 − 2 cosine; where a zero vector stands, 1 is missing.
    """
    if distance == "euclidean":
        return vectors.double(), vectors.new_zeros((vectors.shape[0], 1), dtype=torch.float64)
    unit, lengths = unit_vectors(vectors)
    return unit, lengths.isinf().double()


def _form(points: Tensor, extra: Tensor) -> Tensor:
    """(x, |x|² + extra, 1), from which one matrix product makes squared distances."""
    squares = points.square().sum(1, keepdim=True) + extra
    return torch.cat((points, squares, torch.ones_like(squares)), 1)


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """(−2x, 1, |x|²) · (y, |y|², 1)"""
    points, squares, ones = left[:, :-2], left[:, -2:-1], left[:, -1:]
    swapped = torch.cat((-2 * points, ones, squares), 1)
    return (swapped @ right.T).clamp_min_(0).sqrt_()
