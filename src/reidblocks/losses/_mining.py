"""Each anchor's farthest positive and nearest negative, some rows of distances at a time."""

from typing import Literal

import torch
from torch import Tensor

from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import pair_masks, unit_vectors

Distance = Literal["euclidean", "cosine"]

# A key is a squared distance in float64, whose bits are ordered as the numbers are, with who the
# partner is in place of its last 28 bits. As many digits are left as float32 has. Largest and
# smallest key are found five to ten times as fast as largest and smallest number with places.
PARTNER = 2**28 - 1
SQUARE = 2**63 - 1 - PARTNER  # without the sign, which only rounding and not-a-number set
PLACE = 2**7 - 1  # of an anchor in its block
NONE = -(2**63)  # below every key


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
    embeddings, float32's digits are left, except for neighbours 100,000 times nearer to each
    other than to the rest, where two nearly equal distances may change places.

    Within one set, distances are the same both ways: of several blocks, only those right of the
    diagonal are computed, and each serves both its ends.
    """
    one_set = others is None
    left, left_extra = _points(embeddings, distance)
    right, right_extra = (left, left_extra) if others is None else _points(others, distance)
    lengths = torch.linalg.vector_norm(right, dim=1)
    unit = lengths.amax().clamp_min_(1e-150)  # whose square is above 0
    # an origin among them, and not an outlier
    origin = right.index_select(0, lengths.median(0, keepdim=True).indices)
    left.sub_(origin).div_(unit)
    left_squares = torch.linalg.vector_norm(left, dim=1).square_().add_(left_extra)
    if one_set:
        right, right_squares = left, left_squares
    else:
        right.sub_(origin).div_(unit)
        right_squares = torch.linalg.vector_norm(right, dim=1).square_().add_(right_extra)
    places = torch.arange(right.shape[0], device=right.device)
    blocks = row_slices(left, right.shape[0], at_most=PLACE + 1 if one_set else None)
    best = torch.full((2, left.shape[0]), NONE, device=left.device)
    for rows in blocks:
        start = rows.start if one_set else 0
        both_ends = one_set and rows.stop < left.shape[0]
        squares = torch.addmm(right_squares[start:], left[rows], right[start:].T, alpha=-2)
        keys = squares.add_(left_squares[rows, None]).view(torch.int64).bitwise_and_(SQUARE)
        height, width = keys.shape
        if both_ends:
            keys.bitwise_or_(places[:width] * (PLACE + 1)).bitwise_or_(places[:height, None])
        else:
            keys.bitwise_or_(places[start:])
        if one_set:
            masks = pair_masks(labels[start:], rows=slice(0, height) if both_ends else None)
        else:
            masks = pair_masks(labels[rows], other_labels)
        of_rows, of_columns = [], []
        for mask in masks:
            scores = keys.where(mask, NONE)
            of_rows.append(scores.amax(1))
            if both_ends:
                of_columns.append(scores[:, height:].amax(0))
            keys.bitwise_xor_(SQUARE)  # the largest of negatives is to be the nearest
        found = torch.stack(of_rows)
        if len(blocks) == 1:
            best = found
        elif both_ends:
            found = found & ~PARTNER | (found & PARTNER) // (PLACE + 1) + start
            best[:, rows] = best[:, rows].maximum(found)
            found = torch.stack(of_columns)
            found = found & ~PARTNER | (found & PLACE) + start
            best[:, rows.stop :] = best[:, rows.stop :].maximum(found)
        else:
            best[:, rows] = best[:, rows].maximum(found)
    return best & PARTNER, (best >= 0).all(0)


def _points(vectors: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Give float64 points, and what to add to their squared distances from all others.

    Between unit vectors these are 2 − 2 cosine; where a zero vector stands, 1 is missing.
    """
    if distance == "euclidean":
        return vectors.to(torch.float64, copy=True), vectors.new_zeros((), dtype=torch.float64)
    unit, lengths = unit_vectors(vectors)
    return unit, lengths.isinf().squeeze(1)
