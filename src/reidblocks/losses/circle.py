"""Circle loss over the pairs of a batch."""

import torch
from torch import Tensor, nn

from reidblocks._checks import at_least_float32, expect_positive
from reidblocks.losses._anchors import (
    Reduction,
    expect_anchors,
    expect_reduction,
    reduce_losses,
    zero_losses,
)
from reidblocks.losses._circle_rows import CirclePairs, CircleRows, circle_of_sums, levels_of
from reidblocks.losses.pairs import cosine_similarity_matrix, pair_masks


def circle_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.35,
    gamma: float = 64.0,
    similarities: Tensor | None = None,
    other_embeddings: Tensor | None = None,
    other_labels: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Pull each anchor's positives and push its negatives, the worse placed the harder.

    $$L_i = \log\Big(1 + \sum_{j \in N_i} e^{\gamma \alpha_n (s_{ij} - \Delta_n)}
    \sum_{j \in P_i} e^{-\gamma \alpha_p (s_{ij} - \Delta_p)}\Big)$$

    with cosines s, $\alpha_p = [1 + m - s]_+$, $\alpha_n = [s + m]_+$ (constants to the
    gradient), $\Delta_p = 1 - m$ and $\Delta_n = m$. The mean is over anchors with at least one
    positive and one negative; others have loss 0, and so has a batch with none left.

    Without ``similarities`` and ``reduction="none"`` it never holds more than half a million pairs
    on a CPU, 17 million on a GPU: it works in blocks of rows (compiled, on all at once).

    Args:
        embeddings: the anchors.
        labels: their identities.
        margin: m.
        gamma: γ.
        similarities: cosines of the anchors with each other, or with a second set whose
            ``other_labels`` are given, where they are at hand; they alone get the gradient.
        other_embeddings: a second set (memory bank, gathered batch) to compare with instead;
            every pair counts. The embeddings themselves mean the first set.
        other_labels: identities of the second set.
        reduction: "mean", "sum", or "none" for a loss an anchor.

    Shape:
        (B, D), (B,) → scalar or (B,), float32 at least

    Raises:
        ValueError: shapes do not fit, gamma is not above 0, a second set lacks its labels, or
            both it and similarities are given.

    Source: Sun et al., arXiv 2002.10857; MDPR Eq. 5.

    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> circle_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.5, gamma=1.0)
    tensor(0.4741)
    """
    expect_positive("circle_loss", gamma=gamma)
    expect_reduction("circle_loss", reduction)
    expect_anchors(
        "circle_loss",
        embeddings,
        labels,
        other_embeddings,
        other_labels,
        "similarities",
        similarities,
    )
    if other_embeddings is embeddings:
        other_embeddings = other_labels = None
    columns = labels if other_labels is None else other_labels
    if labels.shape[0] == 0 or columns.shape[0] == 0:
        losses = zero_losses(embeddings if similarities is None else similarities)
        return reduce_losses(losses, losses, reduction)
    in_blocks = similarities is None and reduction != "none"
    if in_blocks and not torch.compiler.is_compiling():  # which fuses, and cannot loop over B
        anchors = at_least_float32(embeddings)
        others = None if other_embeddings is None else other_embeddings.to(anchors.dtype)
        with torch.autocast(embeddings.device.type, enabled=False):
            loss: Tensor = CircleRows.apply(
                anchors, labels, others, other_labels, margin, gamma, reduction == "mean"
            )
        return loss
    if similarities is None:
        similarities = cosine_similarity_matrix(embeddings, other_embeddings)
    similarities = at_least_float32(similarities)
    constant = similarities.detach()
    pairs = CirclePairs.of(constant, pair_masks(labels, other_labels), margin, gamma)
    (log_sums,) = pairs.log_sums()
    losses, counted = circle_of_sums(log_sums)
    shares = pairs.shares(levels_of(log_sums).unsqueeze(2))
    slopes = pairs.slopes(shares.masked_fill(~(pairs.positives | pairs.negatives), 0))
    # the slopes are known: a term of value 0 and of just that gradient
    losses = losses + (slopes * (similarities - constant)).sum(1)
    return reduce_losses(losses, counted, reduction)


class CircleLoss(nn.Module):
    """Pull each anchor's positives and push its negatives; see `circle_loss`.

    Args:
        margin: m.
        gamma: γ, above 0.
        reduction: "mean", "sum", or "none" for a loss an anchor.

    Shape:
        (B, D), (B,) → scalar or (B,), float32 at least

    Raises:
        ValueError: gamma is not above 0, or what `circle_loss` raises.

    >>> CircleLoss()(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(
        self, margin: float = 0.35, gamma: float = 64.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        expect_positive("CircleLoss", gamma=gamma)
        expect_reduction("CircleLoss", reduction)
        self.margin, self.gamma, self.reduction = margin, gamma, reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        similarities: Tensor | None = None,
        other_embeddings: Tensor | None = None,
        other_labels: Tensor | None = None,
    ) -> Tensor:
        return circle_loss(
            embeddings,
            labels,
            margin=self.margin,
            gamma=self.gamma,
            similarities=similarities,
            other_embeddings=other_embeddings,
            other_labels=other_labels,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"margin={self.margin}, gamma={self.gamma}, reduction={self.reduction!r}"
