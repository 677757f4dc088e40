"""Attention diversity loss: the parts of one image should show different things."""

from torch import Tensor, nn

from reidblocks._checks import at_least_float32, expect_options, expect_shape, leaf
from reidblocks._vectors import unit_vectors
from reidblocks.losses.pairs import Reduction


@leaf
def attention_diversity_loss(
    parts: Tensor,
    *,
    beta: float = 0.001,
    maps: Tensor | None = None,
    ordered: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Return the sum of cosines between the parts of each image, and of their size.

    $$L = \sum_{i \ne j} \cos(f_i, f_j) + \beta \sum_i \lVert f_i \rVert_1$$

    The cosine of a zero vector is 0. The released MDPR takes each pair once (``ordered=False``),
    and in the second term the attention maps in place of the parts (``maps``).

    Args:
        parts: K part embeddings of each image, before BN; leading dimensions are several kinds of
            parts of one batch.
        beta: β, the weight of the sparsity term.
        maps: what is to be sparse instead of the parts, such as the attention maps.
        ordered: whether a pair counts in either order or once.
        reduction: "mean", "sum", or "none" for a loss for each image; the mean of none is 0.

    Shape: parts (..., B, K, M) → (...) or (..., B), float32 at least; with maps (B, ...) there are
        no dimensions before the B of the parts

    Raises:
        TypeError: beta is not a number.
        ValueError: shapes do not fit, or reduction is unknown.

    Source: MDPR Eq. 7.

    >>> attention_diversity_loss(torch.tensor([[[1.0, 0.0], [2.0, 0.0]]]), beta=0.1)
    tensor(2.3000)
    """
    shape = "... B K M" if maps is None else "B K M"
    expect_shape("attention_diversity_loss", "parts", parts, shape)
    expect_options("attention_diversity_loss", reduction, beta=beta)
    if maps is not None:
        expect_shape("attention_diversity_loss", "maps", maps, "B K ...")
        if maps.shape[0] != parts.shape[0]:
            raise ValueError(
                f"attention_diversity_loss expects maps ({parts.shape[0]}, ...), got "
                f"{tuple(maps.shape)}"
            )
    parts = at_least_float32(parts)
    unit = unit_vectors(parts)
    # the sum over all pairs is |Σ unit|², without the K×K table
    cosines = unit.sum(-2).square().sum(-1) - unit.square().sum((-2, -1))
    cosines = cosines if ordered else cosines / 2
    sparse = parts if maps is None else at_least_float32(maps).flatten(2)
    losses = cosines + beta * sparse.abs().sum((-2, -1))
    if reduction == "none":
        return losses
    total = losses.sum(-1)
    return total if reduction == "sum" else total / max(losses.shape[-1], 1)


class AttentionDiversity(nn.Module):
    """Penalize similar parts within an image; see `attention_diversity_loss`.

    Args:
        beta, reduction, ordered: as there, and so are shapes and errors.

    >>> AttentionDiversity()(torch.rand(4, 2, 8)).shape
    torch.Size([])
    """

    def __init__(
        self, beta: float = 0.001, reduction: Reduction = "mean", *, ordered: bool = True
    ) -> None:
        super().__init__()
        expect_options("AttentionDiversity", reduction, beta=beta)
        self.beta, self.reduction, self.ordered = beta, reduction, ordered

    def forward(self, parts: Tensor, maps: Tensor | None = None) -> Tensor:
        return attention_diversity_loss(
            parts, beta=self.beta, maps=maps, ordered=self.ordered, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        return f"beta={self.beta}, reduction={self.reduction!r}, ordered={self.ordered}"
