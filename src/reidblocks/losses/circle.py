"""Circle loss over the pairs of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reidblocks import _checks as check
from reidblocks._vectors import products
from reidblocks.losses import pairs
from reidblocks.losses.pairs import PairLoss, Reduction, reduce_losses

LOW = -1e30  # a logit that means nothing; finite, so that derivatives of any order are too


@check.leaf
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
    r"""Compute circle loss: pull positives and push negatives, the hardest pairs most.

    $$L_i = \log\Big(1 + \sum_{j \in N_i} e^{\gamma \alpha_n (s_{ij} - \Delta_n)}
    \sum_{j \in P_i} e^{-\gamma \alpha_p (s_{ij} - \Delta_p)}\Big)$$

    with cosines s, $\alpha_p = [1 + m - s]_+$, $\alpha_n = [s + m]_+$, $\Delta_p = 1 - m$ and
    $\Delta_n = m$. As in the paper, the α are constants: to the first derivative and to all
    others. The mean is over anchors with at least one positive and one negative; others have
    loss 0, and so has a batch with none left.

    Args:
        embeddings: the anchors; leading dimensions are several features of one batch.
        labels: their identities, of any integer dtype.
        margin, gamma: m and γ; its authors took 0.25 and 128 for ReID.
        other_embeddings, other_labels: a second set (memory bank, gathered batch) to compare
            with instead; every pair counts. The same two objects mean the first set.
        reduction: "mean", "sum", or "none" for a loss for each anchor.
        chunk_size: anchors whose pairs are held at a time, computed again for the gradient;
            None for all. Not under ``torch.func``.

    Shape: (..., B, D), (B,) → (...) or (..., B), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype, embeddings are complex, or an option is no
            number.
        ValueError: shapes or options do not fit, or half of a second set is missing.
        RuntimeError: there are several chunks under a transform of ``torch.func``.

    Source: Sun et al., arXiv 2002.10857; MDPR Eq. 5, with its m and γ.

    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> circle_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.5, gamma=1.0)
    tensor(0.4741)
    """
    check.expect_positive("circle_loss", gamma=gamma)
    check.expect_options("circle_loss", reduction, margin=margin)
    other_embeddings, other_labels = check.expect_anchors(
        "circle_loss", embeddings, labels, other_embeddings, other_labels, chunk_size
    )
    anchors, others = pairs.unit_sets(embeddings, other_embeddings)

    def of_rows(anchors: Tensor, rows: "slice | None") -> tuple[Tensor, Tensor]:
        excluded = pairs.excluded_pairs(labels, other_labels, rows)
        return _of_cosines(products(anchors, others), *excluded, margin, gamma)

    return reduce_losses(*pairs.in_chunks(of_rows, anchors, chunk_size), reduction)


@check.leaf
def circle_loss_from_similarities(
    similarities: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float = 0.35,
    gamma: float = 64.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute circle loss of given cosines and pairs; see `circle_loss`.

    Args:
        similarities: the cosine of each anchor with each vector that it is compared with.
        positives, negatives: the pairs of one identity and of two; see `pair_masks`.
        margin, gamma, reduction: as there.

    Shape: (..., B, G), (B, G), (B, G) → (...) or (..., B), float32 at least

    Raises:
        ValueError: shapes or options do not fit.

    >>> similarities, positives = torch.tensor([[0.8, 0.1]]), torch.tensor([[True, False]])
    >>> circle_loss_from_similarities(similarities, positives, ~positives, gamma=1.0)
    tensor(0.6004)
    """
    caller = "circle_loss_from_similarities"
    check.expect_positive(caller, gamma=gamma)
    check.expect_options(caller, reduction, margin=margin)
    check.expect_matrix(caller, "similarities", similarities, positives, negatives)
    similarities = check.at_least_float32(similarities)
    losses = _of_cosines(similarities, ~positives, ~negatives, margin, gamma)
    return reduce_losses(*losses, reduction)


class CircleLoss(PairLoss):
    """Compute circle loss over all pairs of a batch; see `circle_loss`.

    Args:
        margin, gamma, reduction, chunk_size: as there, and so are shapes and errors.

    >>> CircleLoss()(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    _function = staticmethod(circle_loss)
    _options = ("margin", "gamma", "reduction", "chunk_size")

    def __init__(
        self,
        margin: float = 0.35,
        gamma: float = 64.0,
        reduction: Reduction = "mean",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        check.expect_positive("CircleLoss", gamma=gamma)
        check.expect_options("CircleLoss", reduction, margin=margin)
        self.margin, self.gamma = margin, gamma
        self.reduction, self.chunk_size = reduction, chunk_size


def pair_logits(cosines: Tensor, others: Tensor, margin: float, gamma: float) -> Tensor:
    """Return γ [x + m]+ (x − m) of each pair, the exponents of Eq. 5.

    x is the cosine of a pair of ``others`` (two identities), 1 − the cosine of one identity.
    """
    excess = torch.where(others, cosines, 1 - cosines)
    return gamma * (excess.detach() + margin).relu() * (excess - margin)


def _of_cosines(
    cosines: Tensor, no_positives: Tensor, no_negatives: Tensor, margin: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return Eq. 5 for each anchor (..., B), 0 where it is not counted, and which are not."""
    logits = pair_logits(cosines, no_positives, margin, gamma)
    excluded = (no_positives, no_negatives)
    sums = [logits.masked_fill(mask, LOW).logsumexp(-1) for mask in excluded]
    total = sums[0] + sums[1]  # about LOW where there is no positive or no negative
    return F.softplus(total, threshold=50), total < LOW / 2
