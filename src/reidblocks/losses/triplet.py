"""Batch-hard triplet loss."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import at_least_float32, expect_one_of, leaf
from reidblocks._vectors import SHORTEST, in_two_parts, products
from reidblocks.losses._anchors import (
    Reduction,
    expect_anchors,
    expect_matrix,
    expect_reduction,
    reduce_losses,
)
from reidblocks.losses.pairs import joined, masks_of, row_slices, unit_sets

Distance = Literal["euclidean", "cosine"]


@leaf
def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | None = 0.3,
    distance: Distance = "euclidean",
    other_embeddings: Tensor | None = None,
    other_labels: Tensor | None = None,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    r"""Want each anchor's farthest positive nearer than its nearest negative, by a margin.

    $$L_i = \Big[\rho + \max_{p \in P_i} d(x_i, x_p) - \min_{n \in N_i} d(x_i, x_n)\Big]_+$$

    Without a margin, $\log(1 + e^{\max d - \min d})$. The mean is over anchors with at least one
    positive and one negative; others have loss 0, and so has a batch with none left.

    The pairs are chosen without gradients, in full precision; then only the 2B chosen distances
    are computed, from the differences of the vectors. At distance 0 every derivative is 0.

    Args:
        embeddings: the anchors; leading dimensions are several features of one batch.
        labels: their identities, of any integer dtype.
        margin: ρ; None for the soft margin. MDPR takes 0.05.
        distance: "euclidean", or "cosine" for 1 − cosine.
        other_embeddings: a second set (memory bank, gathered batch) to compare with instead;
            every pair counts. The embeddings themselves mean the first set.
        other_labels: identities of the second set.
        reduction: "mean", "sum", or "none" for a loss for each anchor.
        chunk_size: anchors whose pairs are held at a time; None: all.

    Shape:
        (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: shapes do not fit, distance or reduction is unknown, or of a second set
            embeddings or labels are missing.

    Source: Hermans et al., arXiv 1703.07737; MDPR Eq. 6 (whose printed sign is a misprint).

    >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
    >>> losses = batch_hard_triplet_loss(
    ...     embeddings, torch.tensor([0, 0, 1]), margin=2.5, reduction="none"
    ... )
    >>> losses
    tensor([0.5000, 1.5000, 0.0000])
    """
    caller = "batch_hard_triplet_loss"
    expect_one_of(caller, "distance", distance, "euclidean", "cosine")
    expect_reduction(caller, reduction)
    expect_anchors(caller, embeddings, labels, other_embeddings, other_labels, chunk_size)
    if other_embeddings is embeddings:
        other_embeddings = other_labels = None
    points = others = at_least_float32(embeddings)
    if other_embeddings is not None:
        others = at_least_float32(other_embeddings).to(points.dtype)
    if 0 in (*points.shape, *others.shape):  # nobody to compare with, or all at one place
        masks = masks_of(labels, other_labels)
        return _of_gaps(points.sum(-1), masks[0].any(1) & masks[1].any(1), margin, reduction)
    if distance == "cosine":
        points, others = unit_sets(points, others)
    chosen, counted, scale = _hardest(points, others, labels, other_labels, distance, chunk_size)
    partners = F.embedding(chosen, others.flatten(0, -2))  # (..., 2, B, D)
    if scale is None:
        farthest, nearest = partners.unbind(-3)
        gaps = (points * (nearest - farthest)).sum(-1)  # of cosines, so the other way round
    else:
        squares = ((points.unsqueeze(-3) - partners) / scale).square().sum(-1)
        zero = squares == 0  # where the root has no derivative
        lengths = squares.masked_fill(zero, 1).sqrt().masked_fill(zero, 0) * scale.squeeze(-1)
        farthest, nearest = lengths.unbind(-2)
        gaps = farthest - nearest
    return _of_gaps(gaps, counted, margin, reduction)


@leaf
def batch_hard_triplet_loss_from_distances(
    distances: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float | None = 0.3,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute triplet loss of distances and pairs at hand; see `batch_hard_triplet_loss`.

    Args:
        distances: of each anchor from each vector that it is compared with, of any kind.
        positives: which pairs are of one identity; `pair_masks` gives both masks.
        negatives: which pairs are of two. A pair that is neither does not count.
        margin, reduction: as there.

    Shape:
        (..., B, G), (B, G), (B, G) → (...) or (..., B), float32 at least

    Raises:
        ValueError: shapes do not fit, or reduction is unknown.

    >>> distances, positives = torch.tensor([[1.0, 3.0]]), torch.tensor([[True, False]])
    >>> batch_hard_triplet_loss_from_distances(distances, positives, ~positives, margin=2.5)
    tensor(0.5000)
    """
    caller = "batch_hard_triplet_loss_from_distances"
    expect_reduction(caller, reduction)
    expect_matrix(caller, "distances", distances, positives, negatives)
    distances = at_least_float32(distances)
    if 0 in distances.shape:
        gaps = distances.sum(-1)
    else:
        farthest = distances.masked_fill(~positives, -torch.inf).amax(-1)
        gaps = farthest - distances.masked_fill(~negatives, torch.inf).amin(-1)
    return _of_gaps(gaps, positives.any(1) & negatives.any(1), margin, reduction)


class BatchHardTriplet(nn.Module):
    """Want each anchor's farthest positive nearer than its nearest negative.

    See `batch_hard_triplet_loss`.

    Args:
        margin, distance, reduction, chunk_size: as there.

    Shape:
        (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        ValueError: distance or reduction is unknown, or what `batch_hard_triplet_loss` raises.

    >>> BatchHardTriplet(margin=None)(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(
        self,
        margin: float | None = 0.3,
        distance: Distance = "euclidean",
        reduction: Reduction = "mean",
        *,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        expect_one_of("BatchHardTriplet", "distance", distance, "euclidean", "cosine")
        expect_reduction("BatchHardTriplet", reduction)
        self.margin, self.distance = margin, distance
        self.reduction, self.chunk_size = reduction, chunk_size

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        other_embeddings: Tensor | None = None,
        other_labels: Tensor | None = None,
    ) -> Tensor:
        return batch_hard_triplet_loss(
            embeddings,
            labels,
            margin=self.margin,
            distance=self.distance,
            other_embeddings=other_embeddings,
            other_labels=other_labels,
            reduction=self.reduction,
            chunk_size=self.chunk_size,
        )

    def extra_repr(self) -> str:
        return f"margin={self.margin}, distance={self.distance!r}, reduction={self.reduction!r}"


@torch.no_grad()
def _hardest(
    points: Tensor,
    others: Tensor,
    labels: Tensor,
    other_labels: Tensor | None,
    distance: Distance,
    chunk_size: int | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Find each anchor's farthest positive and nearest negative.

    Returns them as rows (..., 2, B) of all others laid out flat, who has both (B,), and the
    scale (..., 1, 1, 1) of points. What is not finite stands at the origin.

    Distances do not change where all points move together. Seen from their middle neighbours
    keep their digits, and scaled to 1 no square overflows or vanishes.
    """
    sets = [points] if others is points else [points, others]
    sets = [each.detach().nan_to_num(0.0, 0.0, 0.0) for each in sets]
    scale = halves = None
    if distance == "euclidean":
        middle = sets[-1].mean(-2, keepdim=True)
        sets = [each - middle for each in sets]
        sizes = [torch.linalg.vector_norm(e, torch.inf, (-2, -1), keepdim=True) for e in sets]
        size = (sizes[0] if len(sizes) == 1 else torch.maximum(*sizes)).clamp_min(SHORTEST)
        sets = [each / size for each in sets]
        halves = sets[-1].square().sum(-1).unsqueeze(-2) / 2
        scale = size.unsqueeze(-3)
    left, right = sets[0], sets[-1]
    if torch.compiler.is_compiling():  # no setting can be changed in a graph
        left, right = in_two_parts(left, right)
    found = []
    for rows in row_slices(labels.shape[0], chunk_size):
        nearness = products(left if rows is None else left[..., rows, :], right)
        if halves is not None:  # (|x|² − |x − y|²) / 2, but for x alone
            nearness = nearness - halves
        positives, negatives = masks_of(labels, other_labels, rows)
        farthest = nearness.masked_fill(~positives, torch.inf).argmin(-1)
        nearest = nearness.masked_fill(~negatives, -torch.inf).argmax(-1)
        found.append((torch.stack((farthest, nearest), -2), positives.any(1) & negatives.any(1)))
    chosen, counted = joined(found)
    if leading := others.shape[:-2]:
        starts = others.shape[-2] * torch.arange(leading.numel(), device=others.device)
        chosen = chosen + starts.view(*leading, 1, 1)
    return chosen, counted, scale


def _of_gaps(gaps: Tensor, counted: Tensor, margin: float | None, reduction: Reduction) -> Tensor:
    losses = F.softplus(gaps, threshold=50) if margin is None else F.relu(margin + gaps)
    return reduce_losses(losses.masked_fill(~counted, 0), counted, reduction)
