"""Batch-hard triplet loss."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reidblocks import _checks as check
from reidblocks._vectors import in_two_parts, move_and_scale, products
from reidblocks.losses import pairs
from reidblocks.losses.pairs import PairLoss, Reduction, reduce_losses

Distance = Literal["euclidean", "cosine"]
Excluded = Callable[["slice | None"], tuple[Tensor, Tensor]]


@check.leaf
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
    r"""Compute the triplet loss of each anchor's hardest positive and hardest negative.

    $$L_i = \Big[\rho + \max_{p \in P_i} d(x_i, x_p) - \min_{n \in N_i} d(x_i, x_n)\Big]_+$$

    Without a margin, $\log(1 + e^{\max d - \min d})$. The mean is over anchors with at least one
    positive and one negative; others have loss 0, and so has a batch with none left.

    Pairs are chosen without gradients, in full precision; then the 2B chosen distances are
    computed from the differences of the vectors. At distance 0 every derivative is 0.

    Args:
        embeddings: the anchors; leading dimensions are several features of one batch.
        labels: their identities, of any integer dtype.
        margin: ρ; None for the soft margin.
        distance: "euclidean", or "cosine" for 1 − cosine.
        other_embeddings, other_labels, reduction: as in `circle_loss`.
        chunk_size: anchors whose pairs are held at a time; None for all.

    Shape: (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype, embeddings are complex, or margin is no
            number.
        ValueError: shapes or options do not fit, or half of a second set is missing.

    Source: Hermans et al., arXiv 1703.07737; MDPR Eq. 6 (whose printed sign is a misprint).

    >>> embeddings, labels = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
    >>> batch_hard_triplet_loss(embeddings, labels, margin=2.5, reduction="none")
    tensor([0.5000, 1.5000, 0.0000])
    """
    caller = "batch_hard_triplet_loss"
    check.expect_one_of(caller, "distance", distance, "euclidean", "cosine")
    check.expect_options(caller, reduction, margin=0 if margin is None else margin)
    other_embeddings, other_labels = check.expect_anchors(
        caller, embeddings, labels, other_embeddings, other_labels, chunk_size
    )
    points = others = check.at_least_float32(embeddings)
    if other_embeddings is not None:
        others = check.at_least_float32(other_embeddings).to(points.dtype)
    if 0 in (*points.shape, *others.shape):  # nobody to compare with, or all at one place
        positives, negatives = pairs.pair_masks(labels, other_labels)
        uncounted = ~(positives.any(1) & negatives.any(1))
        return _of_gaps(points.sum(-1), uncounted, margin, reduction)
    if distance == "cosine":
        points, others = pairs.unit_sets(points, others)
    excluded = partial(pairs.excluded_pairs, labels, other_labels)
    chosen, uncounted, scale = _hardest(points, others, excluded, distance, chunk_size)
    partners = F.embedding(chosen, others.flatten(0, -2))  # (2, ..., B, D)
    if scale is None:
        farthest, nearest = partners.unbind()
        gaps = (points * (nearest - farthest)).sum(-1)  # of cosines, so the other way round
    else:
        squares = ((points - partners) / scale).square().sum(-1)
        zero = squares == 0  # where the root has no derivative
        lengths = squares.masked_fill(zero, 1).sqrt() * scale.squeeze(-1).masked_fill(zero, 0)
        farthest, nearest = lengths.unbind()
        gaps = farthest - nearest
    return _of_gaps(gaps, uncounted, margin, reduction)


@check.leaf
def batch_hard_triplet_loss_from_distances(
    distances: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float | None = 0.3,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute the triplet loss of given distances and pairs; see `batch_hard_triplet_loss`.

    Args:
        distances: of each anchor from each vector that it is compared with, of any kind.
        positives, negatives: the pairs of one identity and of two; see `pair_masks`.
        margin, reduction: as there.

    Shape: (..., B, G), (B, G), (B, G) → (...) or (..., B), float32 at least

    Raises:
        ValueError: shapes or options do not fit.

    >>> distances, positives = torch.tensor([[1.0, 3.0]]), torch.tensor([[True, False]])
    >>> batch_hard_triplet_loss_from_distances(distances, positives, ~positives, margin=2.5)
    tensor(0.5000)
    """
    caller = "batch_hard_triplet_loss_from_distances"
    check.expect_options(caller, reduction, margin=0 if margin is None else margin)
    check.expect_matrix(caller, "distances", distances, positives, negatives)
    distances = check.at_least_float32(distances)
    if 0 in distances.shape:
        gaps = distances.sum(-1)
    else:
        farthest = distances.masked_fill(~positives, -torch.inf).amax(-1)
        gaps = farthest - distances.masked_fill(~negatives, torch.inf).amin(-1)
    return _of_gaps(gaps, ~(positives.any(1) & negatives.any(1)), margin, reduction)


class BatchHardTriplet(PairLoss):
    """Compute the triplet loss of the hardest pairs; see `batch_hard_triplet_loss`.

    Args:
        margin, distance, reduction, chunk_size: as there, and so are shapes and errors.

    >>> BatchHardTriplet(margin=None)(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    _function = staticmethod(batch_hard_triplet_loss)
    _options = ("margin", "distance", "reduction", "chunk_size")

    def __init__(
        self,
        margin: float | None = 0.3,
        distance: Distance = "euclidean",
        reduction: Reduction = "mean",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        check.expect_one_of("BatchHardTriplet", "distance", distance, "euclidean", "cosine")
        check.expect_options("BatchHardTriplet", reduction, margin=0 if margin is None else margin)
        self.margin, self.distance = margin, distance
        self.reduction, self.chunk_size = reduction, chunk_size


@torch.no_grad()
def _hardest(
    points: Tensor, others: Tensor, excluded: Excluded, distance: Distance, chunk_size: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Find each anchor's farthest positive and nearest negative.

    Returns their rows (2, ..., B) among all others laid out flat, who lacks either (..., B), and
    the scale (..., 1, 1) of distances. What is not finite counts as 0 here, and as far away.
    """
    left = right = points.detach().nan_to_num(0.0, 0.0, 0.0)
    if others is not points:
        right = others.detach().nan_to_num(0.0, 0.0, 0.0)
    broken = (right != others).any(-1)  # nobody's nearest
    if distance == "cosine":
        squares, scale = torch.zeros_like(broken, dtype=right.dtype), None
    else:
        left, right, scale = move_and_scale(left, right)
        squares = right.square().sum(-1)
    squares = squares.masked_fill(broken, torch.inf).unsqueeze(-2)
    if torch.compiler.is_compiling():  # no setting can be changed in a graph
        left, right = in_two_parts(left, right)

    def of_rows(anchors: Tensor, rows: "slice | None") -> tuple[Tensor, Tensor]:
        # (|x|² − |x − y|²) / 2, or the cosine
        nearness = products(anchors, right).sub(squares, alpha=0.5)
        no_positives, no_negatives = excluded(rows)
        lowest, farthest = nearness.masked_fill(no_positives, torch.inf).min(-1)
        highest, nearest = nearness.masked_fill(no_negatives, -torch.inf).max(-1)
        return torch.stack((farthest, nearest)), lowest - highest == torch.inf

    chosen, uncounted = pairs.in_chunks(of_rows, left, chunk_size)
    if leading := others.shape[:-2]:
        starts = others.shape[-2] * torch.arange(leading.numel(), device=others.device)
        chosen = chosen + starts.view(*leading, 1)
    return chosen, uncounted, scale


def _of_gaps(gaps: Tensor, uncounted: Tensor, margin: float | None, reduction: Reduction) -> Tensor:
    losses = F.softplus(gaps, threshold=50) if margin is None else F.relu(margin + gaps)
    return reduce_losses(losses.masked_fill(uncounted, 0), uncounted, reduction)
