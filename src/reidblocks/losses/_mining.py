"""Each anchor's farthest positive and nearest negative, without holding all distances."""

from typing import Literal

import torch
import torch.nn.functional as F
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
    left.sub_(origin).div_(unit)
    left_squares = torch.linalg.vector_norm(left, dim=1).square_().add_(left_extra)
    if one_set:
        right, right_squares = left, left_squares
    else:
        right.sub_(origin).div_(unit)
        right_squares = torch.linalg.vector_norm(right, dim=1).square_().add_(right_extra)
    blocks = row_slices(left.shape[0], right.shape[0], at_most=128)
    farthest, nearest = _Best(), _Best()  # positives, negatives
    for rows in blocks:
        start = rows.start if one_set else 0
        squares = torch.addmm(right_squares[start:], left[rows], right[start:].T, alpha=-2)
        squares = squares.add_(left_squares[rows, None]).to(embeddings.dtype)
        height = squares.shape[0]
        if one_set:
            positives, negatives = pair_masks(labels[start:], rows=slice(0, height))
        else:
            positives, negatives = pair_masks(labels, other_labels, rows=rows)
        for best, scores in (
            (farthest, squares.where(positives, -torch.inf)),
            (nearest, squares.neg().where(negatives, -torch.inf)),
        ):
            best.add_rows(scores, start)
            if one_set and rows.stop < left.shape[0]:
                best.add_columns(scores[:, height:], rows)
    positive_scores, positive_partners = farthest.of_all()
    negative_scores, negative_partners = nearest.of_all()
    counted = (positive_scores != -torch.inf) & (negative_scores != -torch.inf)
    return torch.stack((positive_partners, negative_partners)), counted


class _Best:
    """Each anchor's highest score and whose it is, from blocks of scores as they come."""

    def __init__(self) -> None:
        self.rows: list[tuple[Tensor, Tensor]] = []  # of some anchors each, in their order
        self.columns: list[tuple[Tensor, Tensor]] = []  # of all anchors each

    def add_rows(self, scores: Tensor, start: int) -> None:
        """Take the scores of the next anchors, with partners from ``start`` on."""
        best = scores.max(1)
        self.rows.append((best.values, best.indices + start))

    def add_columns(self, scores: Tensor, rows: slice) -> None:
        """Take the same scores as those of the anchors after ``rows``, with partners in them."""
        best = scores.max(0)
        before = (rows.stop, 0)
        self.columns.append(
            (F.pad(best.values, before, value=-torch.inf), F.pad(best.indices + rows.start, before))
        )

    def of_all(self) -> tuple[Tensor, Tensor]:
        scores, partners = (torch.cat(each) for each in zip(*self.rows, strict=True))
        if not self.columns:
            return scores, partners
        all_scores, all_partners = (
            torch.stack(each) for each in zip((scores, partners), *self.columns, strict=True)
        )
        best = all_scores.max(0)
        return best.values, all_partners.gather(0, best.indices[None])[0]


def _points(vectors: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Give float64 points, and what to add to their squared distances from all others.

    Between unit vectors these are 2 − 2 cosine; where a zero vector stands, 1 is missing.
    """
    if distance == "euclidean":
        return vectors.to(torch.float64, copy=True), vectors.new_zeros((), dtype=torch.float64)
    unit, lengths = unit_vectors(vectors)
    return unit, lengths.isinf().squeeze(1)
