"""Heads over learned class weights whose logits have a margin: circle loss, ArcFace, CosFace."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reidblocks import _checks as check
from reidblocks.losses.circle import pair_logits
from reidblocks.losses.pairs import cosine_similarity_matrix


@check.leaf
def circle_logits(
    cosines: Tensor, labels: Tensor, *, margin: float = 0.35, gamma: float = 64.0
) -> Tensor:
    r"""Turn cosines with class weights into logits whose cross-entropy is circle loss.

    $$z_y = \gamma \alpha_p (s_y - \Delta_p), \qquad z_c = \gamma \alpha_n (s_c - \Delta_n)$$

    for the target class y and each other class c, with α and Δ as in `circle_loss`.

    Args:
        cosines: of each embedding with each class weight.
        labels: the class of each embedding; for a label that is not a class, all are others.
        margin, gamma: m and γ.

    Shape: (..., B, C), (B,) → (..., B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: shapes do not fit, or gamma is not above 0.

    Source: Sun et al., arXiv 2002.10857; the class-level form of the released MDPR.

    >>> circle_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), margin=0.5, gamma=4.0)
    tensor([[ 1., -1.]])
    """
    check.expect_number("circle_logits", margin=margin)
    check.expect_positive("circle_logits", gamma=gamma)
    check.expect_shape("circle_logits", "cosines", cosines, "... B C")
    check.expect_labels("circle_logits", "labels", labels, cosines.shape[-2])
    cosines = check.at_least_float32(cosines)
    own = _own_class(cosines, labels)
    logits = pair_logits(cosines, ~own, margin, gamma)
    return torch.where(own, -logits, logits)


class _CosineClassifier(nn.Module):
    """Learned class weights; scaled cosines with them, with a margin for the target class."""

    scale_name = "scale"
    _with_margin: Callable[[Tensor, Tensor], Tensor]

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.35, scale: float = 64.0
    ) -> None:
        super().__init__()
        caller = type(self).__name__
        check.expect_sizes(caller, embed_dim=embed_dim, num_classes=num_classes)
        check.expect_number(caller, margin=margin)
        check.expect_positive(caller, **{self.scale_name: scale})
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        caller = type(self).__name__
        check.expect_shape(caller, "embeddings", embeddings, "B D")
        check.expect_size(caller, "embeddings", embeddings, 1, self.weight.shape[1])
        cosines = cosine_similarity_matrix(embeddings, self.weight)
        if labels is None:
            return self.scale * cosines
        check.expect_labels(caller, "labels", labels, embeddings.shape[0])
        return self._with_margin(cosines, labels)

    def extra_repr(self) -> str:
        sizes = f"{self.weight.shape[1]}, {self.weight.shape[0]}"
        return f"{sizes}, margin={self.margin}, {self.scale_name}={self.scale}"


class CircleClassifier(_CosineClassifier):
    """Return the logits of circle loss over learned class weights.

    With labels, `circle_logits` of the cosines with one weight vector for each class; without,
    γ times the cosines. Their cross-entropy is the loss, with or without label smoothing; on
    the CPU it raises for a label that is not a class. A head without margins is ``nn.Linear``.

    Args:
        embed_dim, num_classes: D and C.
        margin, gamma: m and γ; see `circle_loss`.

    Shape: (B, D), (B,) → (B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype, or an option is not a number.
        ValueError: a size or gamma is not above 0, or shapes do not fit.

    >>> CircleClassifier(8, 3)(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    scale_name = "gamma"

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.35, gamma: float = 64.0
    ) -> None:
        super().__init__(embed_dim, num_classes, margin=margin, scale=gamma)

    @property
    def gamma(self) -> float:
        return self.scale

    def _with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return circle_logits(cosines, labels, margin=self.margin, gamma=self.gamma)


class ArcFaceClassifier(_CosineClassifier):
    r"""Return ArcFace's logits: $s \cos(\theta_y + m)$ for the target class, else $s \cos\theta_c$.

    Where $\theta_y + m$ passes 180°, $s\,(\cos\theta_y - m \sin m)$, as in the authors' code.
    Without labels there is no margin. The loss is their cross-entropy: see `CircleClassifier`.

    Args:
        embed_dim, num_classes: D and C.
        margin, scale: m, in radians, and s. Shapes and errors are those of `CircleClassifier`.

    Source: Deng et al., arXiv 1801.07698.

    >>> ArcFaceClassifier(8, 3)(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.5, scale: float = 64.0
    ) -> None:
        super().__init__(embed_dim, num_classes, margin=margin, scale=scale)

    def _with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        cos, sin = math.cos(self.margin), math.sin(self.margin)
        squares = 1 - cosines.square()
        flat = squares <= 0  # where the root has no derivative
        sines = squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
        widened = cos * cosines - sin * sines
        widened = torch.where(cosines > -cos, widened, cosines - self.margin * sin)
        return self.scale * torch.where(_own_class(cosines, labels), widened, cosines)


class CosFaceClassifier(_CosineClassifier):
    r"""Return CosFace's logits: $s (\cos\theta_y - m)$ for the target class, else $s \cos\theta_c$.

    Without labels there is no margin. The loss is their cross-entropy: see `CircleClassifier`.

    Args:
        embed_dim, num_classes: D and C.
        margin, scale: m and s. Shapes and errors are those of `CircleClassifier`.

    Source: Wang et al., arXiv 1801.09414.

    >>> CosFaceClassifier(8, 3)(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    def _with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        own = _own_class(cosines, labels)
        return self.scale * torch.where(own, cosines - self.margin, cosines)


@check.leaf
def _own_class(cosines: Tensor, labels: Tensor) -> Tensor:
    """Mark each embedding's target class, (B, C)."""
    classes = torch.arange(cosines.shape[-1], device=cosines.device)
    return labels.long().unsqueeze(1) == classes
