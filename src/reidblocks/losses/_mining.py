"""Each anchor's farthest positive and nearest negative, without holding all distances."""

from typing import Literal

import torch
from torch import Tensor

from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import pair_masks, unit_vectors

Distance = Literal["euclidean", "cosine"]


@torch.no_grad()
def hardest_pairs(
    embeddings: Tensor,
    labels: Tensor,
    others: Tensor | None,
    other_labels: Tensor | None,
    distance: Distance,
) -> tuple[Tensor, Tensor]:
    """Give each anchor's farthest positive and nearest negative, (2, B), and who has both, (B,).

    They are searched for among the embeddings or, if given, the others, a block of anchors at a
    time; where there is none, the index given means nothing.

    |x|² + |y|² − 2xy loses what is small against |x|². In float64 and from an origin among the
    embeddings, float32 keeps its digits, except for neighbours 100,000 times nearer to each
    other than to the rest, where two nearly equal distances may change places.

    Within one set, distances are the same both ways: only those right of the diagonal are
    computed, and each serves both its ends.
    """
    one_set = others is None
    left, left_extra = _points(embeddings, distance)
    right, right_extra = (left, left_extra) if others is None else _points(others, distance)
    lengths = torch.linalg.vector_norm(right, dim=1)
    unit = lengths.amax().clamp_min_(1e-150)  # in which squares fit into float32
    # an origin among them, and not an outlier
    origin = right.index_select(0, lengths.median(0, keepdim=True).indices)
    left = (left - origin).div_(unit)
    left_squares = torch.linalg.vector_norm(left, dim=1).square_().add_(left_extra)
    if one_set:
        right, right_squares = left, left_squares
    else:
        right = (right - origin).div_(unit)
        right_squares = torch.linalg.vector_norm(right, dim=1).square_().add_(right_extra)
    blocks = row_slices(left.shape[0], right.shape[0], at_most=128)
    # each block's best candidates for each anchor: farthest positives, nearest negatives
    scores = left.new_full((len(blocks), 2, left.shape[0]), -torch.inf, dtype=embeddings.dtype)
    partners = torch.zeros_like(scores, dtype=torch.int64)
    for block, rows in enumerate(blocks):
        start = rows.start if one_set else 0
        squares = torch.addmm(right_squares[start:], left[rows], right[start:].T, alpha=-2)
        squares = squares.add_(left_squares[rows, None]).to(embeddings.dtype)
        height = squares.shape[0]
        if one_set:
            positives, negatives = pair_masks(labels[start:], rows=slice(0, height))
        else:
            positives, negatives = pair_masks(labels, other_labels, rows=rows)
        candidates = squares.where(positives, -torch.inf), (-squares).where(negatives, -torch.inf)
        for kind, candidate in enumerate(candidates):
            best = candidate.max(1)
            scores[block, kind, rows] = best.values
            partners[block, kind, rows] = best.indices + start
            below = candidate[:, height:]
            if one_set and below.shape[1]:
                best = below.max(0)
                scores[block, kind, rows.stop :] = best.values
                partners[block, kind, rows.stop :] = best.indices + start
    best = scores.max(0)
    return partners.gather(0, best.indices[None])[0], (best.values != -torch.inf).all(0)


def _points(vectors: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Give float64 points, and what to add to their squared distances from all others.

    Between unit vectors these are 2 − 2 cosine; where a zero vector stands, 1 is missing.
    """
    if distance == "euclidean":
        return vectors.double(), vectors.new_zeros((), dtype=torch.float64)
    unit, lengths = unit_vectors(vectors)
    return unit, lengths.isinf()[:, 0]
