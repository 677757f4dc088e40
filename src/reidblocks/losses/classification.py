"""Heads over learned class weights whose logits have a margin: circle loss, ArcFace, CosFace."""

import math

import torch
from torch import Tensor, nn

from reidblocks._checks import (
    at_least_float32,
    expect_labels,
    expect_positive,
    expect_shape,
    expect_size,
    leaf,
)
from reidblocks.losses.pairs import cosine_similarity_matrix


@leaf
def circle_logits(
    cosines: Tensor, labels: Tensor, *, margin: float = 0.35, gamma: float = 64.0
) -> Tensor:
    r"""Turn cosines with class weights into logits whose cross-entropy is circle loss.

    $$z_c = \begin{cases} \gamma \alpha_p (s_c - \Delta_p) & c = y \\
    \gamma \alpha_n (s_c - \Delta_n) & c \ne y \end{cases}$$

    with α and Δ as in `circle_loss`; the α are constants to every derivative.

    Args:
        cosines: of each embedding with each class weight.
        labels: the class of each embedding; one that is no class has no margin.
        margin: m.
        gamma: γ.

    Shape:
        (..., B, C), (B,) → (..., B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: cosines are not (..., B, C), labels not (B,), or gamma is not above 0.

    Source: Sun et al., arXiv 2002.10857; the class-level form of the released MDPR.

    >>> circle_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), margin=0.5, gamma=4.0)
    tensor([[ 1., -1.]])
    """
    expect_positive("circle_logits", gamma=gamma)
    expect_shape("circle_logits", "cosines", cosines, "... B C")
    expect_labels("circle_logits", "labels", labels, cosines.shape[-2])
    cosines = at_least_float32(cosines)
    own = _own_class(cosines, labels)
    excess = torch.where(own, 1 - cosines, cosines)
    logits = gamma * (excess.detach() + margin).relu() * (excess - margin)
    return torch.where(own, -logits, logits)


class CircleClassifier(nn.Module):
    r"""Return the logits of circle loss over learned class weights.

    With labels, `circle_logits` of the cosines with one weight vector for each class; without,
    the cosines times γ. The loss is their cross-entropy, smoothed or not:
    ``F.cross_entropy(classifier(embeddings, labels), labels)``. It refuses a label that is no
    class, on the CPU by name. Classes without margins are ``nn.Linear``'s.

    Args:
        embed_dim: D.
        num_classes: C.
        margin: m.
        gamma: γ, above 0.

    Shape:
        (B, D), (B,) → (B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: a size or gamma is not above 0, or shapes do not fit.

    Source: Sun et al., arXiv 2002.10857; the class-level form of the released MDPR.

    >>> classifier = CircleClassifier(8, 3)
    >>> classifier(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.35, gamma: float = 64.0
    ) -> None:
        super().__init__()
        expect_positive("CircleClassifier", gamma=gamma)
        self.margin, self.gamma = margin, gamma
        self.weight = _class_weights("CircleClassifier", num_classes, embed_dim)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        cosines = _cosines("CircleClassifier", embeddings, labels, self.weight)
        if labels is None:
            return self.gamma * cosines
        return circle_logits(cosines, labels, margin=self.margin, gamma=self.gamma)

    def extra_repr(self) -> str:
        return f"{_sizes(self.weight)}, margin={self.margin}, gamma={self.gamma}"


class ArcFaceClassifier(nn.Module):
    r"""Return ArcFace's logits: the angle to the own class is widened by a margin.

    $$z_c = s \cos(\theta_c + m\,[c = y])$$

    Where the widened angle would pass 180°, it falls on along $s\,(\cos\theta - m \sin m)$.
    Without labels there is no margin. The cross-entropy is yours, as with `CircleClassifier`.

    Args:
        embed_dim: D.
        num_classes: C.
        margin: m, in radians.
        scale: s, above 0.

    Shape:
        (B, D), (B,) → (B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: a size or scale is not above 0, or shapes do not fit.

    Source: Deng et al., arXiv 1801.07698.

    >>> ArcFaceClassifier(8, 3)(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.5, scale: float = 64.0
    ) -> None:
        super().__init__()
        expect_positive("ArcFaceClassifier", scale=scale)
        self.margin, self.scale = margin, scale
        self.weight = _class_weights("ArcFaceClassifier", num_classes, embed_dim)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        cosines = _cosines("ArcFaceClassifier", embeddings, labels, self.weight)
        if labels is None:
            return self.scale * cosines
        squares = 1 - cosines.square()
        flat = squares <= 0  # where the angle's cosine has no slope
        sines = squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
        cos, sin = math.cos(self.margin), math.sin(self.margin)
        beyond = cosines <= -cos
        widened = torch.where(beyond, cosines - self.margin * sin, cos * cosines - sin * sines)
        return self.scale * torch.where(_own_class(cosines, labels), widened, cosines)

    def extra_repr(self) -> str:
        return f"{_sizes(self.weight)}, margin={self.margin}, scale={self.scale}"


class CosFaceClassifier(nn.Module):
    r"""Return CosFace's logits: a margin is taken off the cosine with the own class.

    $$z_c = s\,(\cos\theta_c - m\,[c = y])$$

    Without labels there is no margin. The cross-entropy is yours, as with `CircleClassifier`.

    Args:
        embed_dim: D.
        num_classes: C.
        margin: m.
        scale: s, above 0.

    Shape:
        (B, D), (B,) → (B, C), float32 at least

    Raises:
        TypeError: labels are not of an integer dtype.
        ValueError: a size or scale is not above 0, or shapes do not fit.

    Source: Wang et al., arXiv 1801.09414.

    >>> CosFaceClassifier(8, 3)(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([4, 3])
    """

    def __init__(
        self, embed_dim: int, num_classes: int, *, margin: float = 0.35, scale: float = 64.0
    ) -> None:
        super().__init__()
        expect_positive("CosFaceClassifier", scale=scale)
        self.margin, self.scale = margin, scale
        self.weight = _class_weights("CosFaceClassifier", num_classes, embed_dim)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        cosines = _cosines("CosFaceClassifier", embeddings, labels, self.weight)
        if labels is None:
            return self.scale * cosines
        return self.scale * (cosines - self.margin * _own_class(cosines, labels))

    def extra_repr(self) -> str:
        return f"{_sizes(self.weight)}, margin={self.margin}, scale={self.scale}"


def _class_weights(caller: str, num_classes: int, embed_dim: int) -> nn.Parameter:
    expect_positive(caller, embed_dim=embed_dim, num_classes=num_classes)
    return nn.Parameter(nn.init.normal_(torch.empty(num_classes, embed_dim), std=0.01))


def _cosines(caller: str, embeddings: Tensor, labels: Tensor | None, weight: Tensor) -> Tensor:
    expect_shape(caller, "embeddings", embeddings, "B D")
    expect_size(caller, "embeddings", embeddings, 1, weight.shape[1])
    if labels is not None:
        expect_labels(caller, "labels", labels, embeddings.shape[0])
    return cosine_similarity_matrix(embeddings, weight)


@leaf
def _own_class(cosines: Tensor, labels: Tensor) -> Tensor:
    """Mark each embedding's own class, (B, C)."""
    classes = torch.arange(cosines.shape[-1], device=cosines.device)
    return labels.long().unsqueeze(1) == classes


def _sizes(weight: Tensor) -> str:
    return f"{weight.shape[1]}, {weight.shape[0]}"
