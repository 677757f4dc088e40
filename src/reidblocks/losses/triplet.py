"""Batch-hard triplet loss."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reidblocks._checks import at_least_float32
from reidblocks.losses._anchors import (
    Reduction,
    expect_anchors,
    expect_reduction,
    reduce_losses,
    zero_losses,
)
from reidblocks.losses._mining import Distance, hardest_pairs
from reidblocks.losses._row_blocks import row_slices
from reidblocks.losses.pairs import SHORTEST, pair_masks, unit_vectors


def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | None = 0.05,
    distance: Distance = "euclidean",
    distances: Tensor | None = None,
    other_embeddings: Tensor | None = None,
    other_labels: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Want each anchor's farthest positive nearer than its nearest negative, by a margin.

    $$L_i = \Big[\rho + \max_{p \in P_i} d(x_i, x_p) - \min_{n \in N_i} d(x_i, x_n)\Big]_+$$

    Without a margin, $\log(1 + e^{\max d - \min d})$. The mean is over anchors with at least one
    positive and one negative; others have loss 0, and so has a batch with none left.

    Pairs are chosen in blocks of rows, without gradients; then only the 2B chosen distances are
    computed, from the differences of the vectors.

    Args:
        embeddings: the anchors.
        labels: their identities.
        margin: ρ; None for the soft margin.
        distance: "euclidean", or "cosine" for 1 − cosine.
        distances: distances of the anchors from each other, or from a second set whose
            ``other_labels`` are given, where they are at hand; they alone get the gradient,
            and ``distance`` is not used.
        other_embeddings: a second set (memory bank, gathered batch) to compare with instead;
            every pair counts. The embeddings themselves mean the first set.
        other_labels: identities of the second set.
        reduction: "mean", "sum", or "none" for a loss an anchor.

    Shape:
        (B, D), (B,) → scalar or (B,), float32 at least

    Raises:
        ValueError: shapes do not fit, distance is not one of the two, a second set lacks its
            labels, or both it and distances are given.

    Source: Hermans et al., arXiv 1703.07737; MDPR Eq. 6 (whose printed sign is a misprint).

    >>> embeddings = torch.tensor([[0.0], [1.0], [3.0]])
    >>> losses = batch_hard_triplet_loss(
    ...     embeddings, torch.tensor([0, 0, 1]), margin=2.5, reduction="none"
    ... )
    >>> losses
    tensor([0.5000, 1.5000, 0.0000])
    """
    caller = "batch_hard_triplet_loss"
    _expect_distance(caller, distance)
    expect_reduction(caller, reduction)
    expect_anchors(
        caller, embeddings, labels, other_embeddings, other_labels, "distances", distances
    )
    if other_embeddings is embeddings:
        other_embeddings = other_labels = None
    columns = labels if other_labels is None else other_labels
    if labels.shape[0] == 0 or columns.shape[0] == 0:
        losses = zero_losses(embeddings if distances is None else distances)
        return reduce_losses(losses, losses, reduction)
    if distances is not None:
        positives, negatives = pair_masks(labels, other_labels)
        distances = at_least_float32(distances)
        farthest = distances.masked_fill(~positives, -torch.inf).max(1).values
        nearest = distances.masked_fill(~negatives, torch.inf).min(1).values
        gaps = farthest - nearest
    else:
        anchors = at_least_float32(embeddings)
        others = None if other_embeddings is None else at_least_float32(other_embeddings)
        partners, counted = hardest_pairs(anchors, labels, others, other_labels, distance)
        gaps_of = _cosine_gaps if distance == "cosine" else _euclidean_gaps
        gaps = gaps_of(anchors, others, partners).masked_fill(~counted, -torch.inf)
    # an anchor that lacks one of the two has a gap of −∞, where loss and slope are 0
    losses = F.softplus(gaps, threshold=50) if margin is None else F.relu(margin + gaps)
    return reduce_losses(losses, gaps.detach() != -torch.inf, reduction)


class BatchHardTriplet(nn.Module):
    """Want each anchor's farthest positive nearer than its nearest negative.

    See `batch_hard_triplet_loss`.

    Args:
        margin: ρ; None for the soft margin.
        distance: "euclidean", or "cosine" for 1 − cosine.
        reduction: "mean", "sum", or "none" for a loss an anchor.

    Shape:
        (B, D), (B,) → scalar or (B,), float32 at least

    Raises:
        ValueError: distance or reduction is unknown, or what `batch_hard_triplet_loss` raises.

    >>> BatchHardTriplet(margin=None)(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(
        self,
        margin: float | None = 0.05,
        distance: Distance = "euclidean",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _expect_distance("BatchHardTriplet", distance)
        expect_reduction("BatchHardTriplet", reduction)
        self.margin, self.distance, self.reduction = margin, distance, reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        distances: Tensor | None = None,
        other_embeddings: Tensor | None = None,
        other_labels: Tensor | None = None,
    ) -> Tensor:
        return batch_hard_triplet_loss(
            embeddings,
            labels,
            margin=self.margin,
            distance=self.distance,
            distances=distances,
            other_embeddings=other_embeddings,
            other_labels=other_labels,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"margin={self.margin}, distance={self.distance!r}, reduction={self.reduction!r}"


def _cosine_gaps(embeddings: Tensor, others: Tensor | None, partners: Tensor) -> Tensor:
    """(1 − cosine with the first partner) − (1 − cosine with the second), (B,)"""
    unit = other_unit = unit_vectors(embeddings)[0]
    if others is not None:
        other_unit = unit_vectors(others)[0]
    first, second = (other_unit.index_select(0, each) for each in partners)
    return (unit * (second - first)).sum(1).to(embeddings.dtype)


def _euclidean_gaps(embeddings: Tensor, others: Tensor | None, partners: Tensor) -> Tensor:
    """Distance from the first partner − distance from the second, (B,)"""
    gaps: Tensor = _EuclideanGaps.apply(embeddings, others, partners)
    return gaps


class _EuclideanGaps(torch.autograd.Function):
    """Taken from differences of vectors, with lengths in float64: no square overflows or vanishes.

    The gradient of a length is its direction, so that the offsets are all that is kept.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, others: Tensor | None, partners: Tensor) -> Tensor:
        source = embeddings if others is None else others
        offsets = source.index_select(0, partners.flatten()).view(2, *embeddings.shape)
        offsets.sub_(embeddings)
        rows = offsets.flatten(0, 1)
        lengths = torch.cat(  # all in float64 would be the largest tensor
            [
                torch.linalg.vector_norm(rows[block], dim=1, dtype=torch.float64)
                for block in row_slices(rows, rows.shape[1])
            ]
        ).view(2, -1)
        ctx.save_for_backward(offsets, lengths, partners)
        ctx.num_others = None if others is None else others.shape[0]
        gaps: Tensor = (lengths[0] - lengths[1]).to(embeddings.dtype)
        return gaps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        offsets, lengths, partners = ctx.saved_tensors
        signed = torch.stack((gradient, -gradient))
        weights = (signed / lengths).masked_fill_(lengths < SHORTEST, 0).to(offsets.dtype)
        by_embeddings = by_others = torch.zeros_like(offsets[0])
        one_set = ctx.num_others is None
        if not one_set:
            by_others = offsets.new_zeros(ctx.num_others, offsets.shape[2])
        for side in range(2):
            pulls = offsets[side] * weights[side].unsqueeze(1)
            by_embeddings.sub_(pulls)
            by_others.index_add_(0, partners[side], pulls)
        return by_embeddings, None if one_set else by_others, None


def _expect_distance(caller: str, distance: str) -> None:
    if distance not in ("euclidean", "cosine"):
        raise ValueError(f"{caller} expects distance 'euclidean' or 'cosine', got {distance!r}")
