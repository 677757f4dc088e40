"""Circle loss over the pairs of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reidblocks._checks import at_least_float32, expect_positive, leaf
from reidblocks._vectors import products
from reidblocks.losses._anchors import (
    Reduction,
    expect_anchors,
    expect_matrix,
    expect_reduction,
    reduce_losses,
)
from reidblocks.losses.pairs import joined, masks_of, row_slices, unit_sets

LOW = -1e30  # a logit that means nothing; finite, so that derivatives of any order are too


@leaf
def circle_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.35,
    gamma: float = 64.0,
    other_embeddings: Tensor | None = None,
    other_labels: Tensor | None = None,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    r"""Pull each anchor's positives and push its negatives, the worse placed the harder.

    $$L_i = \log\Big(1 + \sum_{j \in N_i} e^{\gamma \alpha_n (s_{ij} - \Delta_n)}
    \sum_{j \in P_i} e^{-\gamma \alpha_p (s_{ij} - \Delta_p)}\Big)$$

    with cosines s, $\alpha_p = [1 + m - s]_+$, $\alpha_n = [s + m]_+$, $\Delta_p = 1 - m$ and
    $\Delta_n = m$. The α are constants to every derivative, of the first order and of any other,
    as in the paper. The mean is over anchors with at least one positive and one negative; others
    have loss 0, and so has a batch with none left.

    Args:
        embeddings: the anchors; leading dimensions are several features of one batch.
        labels: their identities, of any integer dtype.
        margin: m. MDPR takes 0.35; the authors of circle loss took 0.25 for ReID.
        gamma: γ. MDPR takes 64; the authors took 128.
        other_embeddings: a second set (memory bank, gathered batch) to compare with instead;
            every pair counts. The embeddings themselves mean the first set.
        other_labels: identities of the second set.
        reduction: "mean", "sum", or "none" for a loss for each anchor.
        chunk_size: anchors whose pairs are held at a time; their cosines are computed again for
            the gradient. None: all at once. Not under ``torch.func``.

    Shape:
        (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: shapes do not fit, gamma is not above 0, reduction is unknown, or of a second
            set embeddings or labels are missing.
        RuntimeError: chunk_size is given under a transform of ``torch.func``.

    Source: Sun et al., arXiv 2002.10857; MDPR Eq. 5.

    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> circle_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.5, gamma=1.0)
    tensor(0.4741)
    """
    caller = "circle_loss"
    expect_positive(caller, gamma=gamma)
    expect_reduction(caller, reduction)
    expect_anchors(caller, embeddings, labels, other_embeddings, other_labels, chunk_size)
    if other_embeddings is embeddings:
        other_embeddings = other_labels = None
    left, right = unit_sets(embeddings, other_embeddings)

    def of_rows(left: Tensor, right: Tensor, rows: slice | None = None) -> tuple[Tensor, Tensor]:
        masks = masks_of(labels, other_labels, rows)
        return _circle_of(products(left, right), *masks, margin, gamma)

    blocks = row_slices(labels.shape[0], chunk_size)
    if len(blocks) == 1:
        return reduce_losses(*of_rows(left, right), reduction)
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack():
        raise RuntimeError(
            f"circle_loss expects chunk_size=None under torch.func, got {chunk_size}: its "
            "transforms cannot compute again what is not kept"
        )
    parts = [
        checkpoint(of_rows, left[..., rows, :], right, rows, use_reentrant=False) for rows in blocks
    ]
    return reduce_losses(*joined(parts), reduction)


@leaf
def circle_loss_from_similarities(
    similarities: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float = 0.35,
    gamma: float = 64.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute circle loss of cosines and pairs that are at hand; see `circle_loss`.

    Args:
        similarities: the cosine of each anchor with each vector that it is compared with.
        positives: which pairs are of one identity; `pair_masks` gives both masks.
        negatives: which pairs are of two. A pair that is neither does not count.
        margin, gamma, reduction: as there.

    Shape:
        (..., B, G), (B, G), (B, G) → (...) or (..., B), float32 at least

    Raises:
        ValueError: shapes do not fit, gamma is not above 0, or reduction is unknown.

    >>> similarities = torch.tensor([[0.8, 0.1]])
    >>> positives = torch.tensor([[True, False]])
    >>> circle_loss_from_similarities(similarities, positives, ~positives, gamma=1.0)
    tensor(0.5453)
    """
    caller = "circle_loss_from_similarities"
    expect_positive(caller, gamma=gamma)
    expect_reduction(caller, reduction)
    expect_matrix(caller, "similarities", similarities, positives, negatives)
    losses = _circle_of(at_least_float32(similarities), positives, negatives, margin, gamma)
    return reduce_losses(*losses, reduction)


class CircleLoss(nn.Module):
    """Pull each anchor's positives and push its negatives; see `circle_loss`.

    Args:
        margin, gamma, reduction, chunk_size: as there.

    Shape:
        (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        ValueError: gamma is not above 0, or what `circle_loss` raises.

    >>> CircleLoss()(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(
        self,
        margin: float = 0.35,
        gamma: float = 64.0,
        reduction: Reduction = "mean",
        *,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        expect_positive("CircleLoss", gamma=gamma)
        expect_reduction("CircleLoss", reduction)
        self.margin, self.gamma = margin, gamma
        self.reduction, self.chunk_size = reduction, chunk_size

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        other_embeddings: Tensor | None = None,
        other_labels: Tensor | None = None,
    ) -> Tensor:
        return circle_loss(
            embeddings,
            labels,
            margin=self.margin,
            gamma=self.gamma,
            other_embeddings=other_embeddings,
            other_labels=other_labels,
            reduction=self.reduction,
            chunk_size=self.chunk_size,
        )

    def extra_repr(self) -> str:
        return f"margin={self.margin}, gamma={self.gamma}, reduction={self.reduction!r}"


def _circle_of(
    similarities: Tensor, positives: Tensor, negatives: Tensor, margin: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return Eq. 5 for each anchor (..., B), 0 where not counted, and who is counted (B,)."""
    excess = torch.where(positives, 1 - similarities, similarities)
    # for either kind of pair, the logit is γ [excess + m]+ (excess − m)
    logits = gamma * (excess.detach() + margin).relu() * (excess - margin)
    of_positives, of_negatives = (
        logits.masked_fill(~mask, LOW).logsumexp(-1) for mask in (positives, negatives)
    )
    counted = positives.any(1) & negatives.any(1)
    return F.softplus(of_positives + of_negatives, threshold=50), counted
