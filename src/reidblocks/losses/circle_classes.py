"""Circle loss over learned class weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import at_least_float32, expect_positive, expect_shape
from reidblocks.losses._anchors import expect_labels, reduce_losses
from reidblocks.losses.pairs import cosine_similarity_matrix


def circle_logits(
    cosines: Tensor, labels: Tensor, *, margin: float = 0.35, gamma: float = 64.0
) -> Tensor:
    r"""Turn cosines with class weights into logits whose cross-entropy is circle loss.

    $$z_c = \begin{cases} \gamma \alpha_p (s_c - \Delta_p) & c = y \\
    \gamma \alpha_n (s_c - \Delta_n) & c \ne y \end{cases}$$

    with α and Δ as in `circle_loss`; the α are constants to the gradient.

    Args:
        cosines: of each embedding with each class weight.
        labels: the class of each embedding, from 0 to C − 1.
        margin: m.
        gamma: γ.

    Shape:
        (B, C), (B,) → (B, C), float32 at least

    Raises:
        ValueError: cosines are not (B, C), labels not (B,), or gamma is not above 0.

    Source: Sun et al., arXiv 2002.10857; the class-level form of the released MDPR.

    >>> circle_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), margin=0.5, gamma=4.0)
    tensor([[ 1., -1.]])
    """
    expect_shape("circle_logits", "cosines", cosines, "B C")
    expect_labels("circle_logits", "labels", labels, cosines)
    expect_positive("circle_logits", gamma=gamma)
    cosines = at_least_float32(cosines)
    constant = cosines.detach()
    classes = torch.arange(cosines.shape[1], device=cosines.device)
    towards = (1 + margin - constant).clamp_min(0) * (cosines - (1 - margin))
    away = (constant + margin).clamp_min(0) * (cosines - margin)
    return gamma * torch.where(labels.unsqueeze(1) == classes, towards, away)


class CircleClassifier(nn.Module):
    r"""Circle loss over learned class weights; the plain cosines when not training.

    Cross-entropy, with label smoothing, of `circle_logits` of the cosines with one weight vector
    a class. The mean over the batch; an empty one has loss 0.

    Args:
        embed_dim: D.
        num_classes: C.
        margin: m.
        gamma: γ, above 0.
        label_smoothing: share of the target spread evenly over all classes, from 0 to 1.

    Shape:
        training: (B, D), (B,) → scalar; eval: (B, D) → (B, C); float32 at least

    Raises:
        ValueError: a size or gamma is not above 0, label_smoothing is not from 0 to 1, shapes do
            not fit, labels are missing in training, or (on the CPU) a label is not a class.

    Source: Sun et al., arXiv 2002.10857; the class-level form of the released MDPR.

    >>> classifier = CircleClassifier(8, 3)
    >>> classifier(torch.randn(4, 8), torch.tensor([0, 1, 2, 2])).shape
    torch.Size([])
    >>> classifier.eval()(torch.randn(4, 8)).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        embed_dim: int,
        num_classes: int,
        *,
        margin: float = 0.35,
        gamma: float = 64.0,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        expect_positive(
            "CircleClassifier", embed_dim=embed_dim, num_classes=num_classes, gamma=gamma
        )
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CircleClassifier expects label_smoothing from 0 to 1, got {label_smoothing}"
            )
        self.margin, self.gamma, self.label_smoothing = margin, gamma, label_smoothing
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        expect_shape("CircleClassifier", "embeddings", embeddings, "B D")
        if embeddings.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"CircleClassifier expects embeddings (B, {self.weight.shape[1]}), "
                f"got {tuple(embeddings.shape)}"
            )
        cosines = cosine_similarity_matrix(embeddings, self.weight)
        if not self.training:
            return cosines
        if labels is None:
            raise ValueError("CircleClassifier expects labels in training; call .eval() for logits")
        logits = circle_logits(cosines, labels, margin=self.margin, gamma=self.gamma)
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            _expect_classes(labels, logits.shape[1])
        losses = F.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        return reduce_losses(losses, torch.ones_like(losses), "mean")

    def extra_repr(self) -> str:
        num_classes, embed_dim = self.weight.shape
        return (
            f"{embed_dim}, {num_classes}, margin={self.margin}, gamma={self.gamma}, "
            f"label_smoothing={self.label_smoothing}"
        )


def _expect_classes(labels: Tensor, num_classes: int) -> None:
    """Raise for a label that is no class; on a GPU the look at values would stall it."""
    strangers = labels[(labels < 0) | (labels >= num_classes)]
    if strangers.numel():
        raise ValueError(
            f"CircleClassifier expects labels from 0 to {num_classes - 1}, "
            f"got {strangers[0].item()}: number the identities without gaps"
        )
