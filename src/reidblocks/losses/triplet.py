"""Batch-hard triplet loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import at_least_float32
from reidblocks.losses._anchors import (
    Reduction,
    expect_anchors,
    expect_reduction,
    reduce_losses,
)
from reidblocks.losses._mining import Distance, hardest_pairs
from reidblocks.losses.pairs import pair_masks, unit_vectors


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
    if labels.shape[0] == 0 or columns.shape[0] == 0:  # no pair: a zero that keeps the graph
        losses = at_least_float32(embeddings if distances is None else distances)[:, :0].sum(1)
        return reduce_losses(losses, torch.zeros_like(losses), reduction)
    if distances is not None:
        positives, negatives = pair_masks(labels, other_labels)
        distances = at_least_float32(distances)
        farthest = distances.masked_fill(~positives, -torch.inf).max(1).values
        nearest = distances.masked_fill(~negatives, torch.inf).min(1).values
        counted = positives.any(1) & negatives.any(1)
    else:
        others = embeddings if other_embeddings is None else other_embeddings
        hardest = hardest_pairs(embeddings, labels, other_embeddings, other_labels, distance)
        farthest = _pair_distances(embeddings, others, hardest.positive, distance)
        nearest = _pair_distances(embeddings, others, hardest.negative, distance)
        counted = hardest.counted
    gap = (farthest - nearest).masked_fill(~counted, 0)
    losses = F.softplus(gap, threshold=50) if margin is None else F.relu(margin + gap)
    return reduce_losses(losses.masked_fill(~counted, 0), counted, reduction)


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


def _pair_distances(
    embeddings: Tensor, others: Tensor, partners: Tensor, distance: Distance
) -> Tensor:
    """Give the distance of each embedding from its partner among the others."""
    embeddings, others = at_least_float32(embeddings), at_least_float32(others)
    if distance == "cosine":
        unit, other_unit = unit_vectors(embeddings)[0], unit_vectors(others)[0]
        return (1 - (unit * other_unit.index_select(0, partners)).sum(1)).to(embeddings.dtype)
    offsets = embeddings - others.index_select(0, partners)
    # lengths are taken at a scale where no square overflows or vanishes
    scale = torch.linalg.vector_norm(offsets.detach(), torch.inf, dim=1, keepdim=True)
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    distances: Tensor = torch.linalg.vector_norm(offsets / scale, dim=1) * scale[:, 0]
    return distances


def _expect_distance(caller: str, distance: str) -> None:
    if distance not in ("euclidean", "cosine"):
        raise ValueError(f"{caller} expects distance 'euclidean' or 'cosine', got {distance!r}")
