"""Circle loss: its plane, its size at the start and at the end, and its class-level logits."""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pictures.style import BLUE, GRAY, GREEN, INK, ORANGE, VERMILLION, new_figure, plain
from reidblocks import circle_logits, circle_loss_from_similarities, pair_masks

COLORS = (BLUE, VERMILLION, GREEN, ORANGE)
LINES = ("-", "--", "-.", ":")
LABELS = torch.arange(16).repeat_interleave(4)  # a batch of 16 identities × 4 images


def circle() -> Figure:
    """One pair of each kind: where the loss is zero, and which way it pulls."""
    figure = new_figure(3.6)
    axes = plain(
        figure.subplots(), "cosine with the negative $s_n$", "cosine with the positive $s_p$"
    )
    margin, gamma = 0.35, 64.0
    s_n, s_p = torch.meshgrid(torch.linspace(0, 1, 201), torch.linspace(0, 1, 201), indexing="xy")
    exponent = gamma * (s_n**2 + (1 - s_p) ** 2 - 2 * margin**2)
    loss = torch.nn.functional.softplus(exponent)
    filled = axes.contourf(
        s_n,
        s_p,
        loss,
        levels=[0, 0.7, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120],
        cmap="Blues",
    )
    axes.contour(s_n, s_p, exponent, levels=[0], colors=VERMILLION, linewidths=2)
    bar = figure.colorbar(filled, ticks=[0, 20, 40, 60, 80, 100, 120], spacing="proportional")
    bar.set_label("loss", size=9)
    bar.ax.tick_params(labelsize=8)
    for n, p in ((0.9, 0.9), (0.9, 0.5), (0.9, 0.1), (0.5, 0.1), (0.1, 0.1), (0.55, 0.55)):
        step = 0.11
        axes.annotate(
            "", (n - step * (n + margin), p + step * (1 + margin - p)), (n, p),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.text(0.05, 0.9, "close to 0", size=9, color=INK)
    axes.text(0.04, 0.64, "decision\nboundary", size=9, color=VERMILLION)
    axes.set_aspect("equal")
    axes.grid(False)
    return figure


def circle_start() -> Figure:
    """The loss of a batch in which every pair has the same cosine, as before training."""
    figure = new_figure(3.2)
    axes = plain(figure.subplots(), "cosine of every pair of the batch", "loss")
    cosines = torch.linspace(0, 1, 101)
    for gamma, color, dashes in zip((128, 64, 32, 16), COLORS, LINES, strict=True):
        values = [_same_cosine(s, gamma) for s in cosines.tolist()]
        axes.plot(cosines, values, color=color, ls=dashes)
        axes.text(
            1.02, values[-1], f"γ = {gamma}: {values[-1]:.1f}", size=8.5, va="center", color=color
        )
    axes.set_xlim(0, 1.22)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_ylim(0, None)
    return figure


def circle_end() -> Figure:
    """The loss of the best batch there is: positives at cosine 1, negatives at 0."""
    figure = new_figure(3.2)
    axes = plain(figure.subplots(), "margin m", "loss at $s_p$ = 1, $s_n$ = 0")
    margins = torch.linspace(0.05, 0.5, 46)
    ideal = (LABELS[:, None] == LABELS).float()
    for gamma, color, dashes in zip((16, 32, 64, 128), COLORS, LINES, strict=True):
        values = [_of(ideal, gamma, margin) for margin in margins.tolist()]
        axes.semilogy(margins, values, color=color, ls=dashes, label=f"γ = {gamma}")
    axes.set_ylim(1e-6, 10)
    axes.plot(0.35, _of(ideal, 64, 0.35), "o", color=GREEN)
    axes.annotate("the default", (0.35, _of(ideal, 64, 0.35)), (0.365, 3e-5), size=8.5)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")
    return figure


def circle_margins() -> Figure:
    """The decision boundaries of four margins, and what the default's weights ask for."""
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    plain(left, "$s_n$", "$s_p$", "boundary of one pair of each")
    angles = torch.linspace(0, math.pi / 2, 100)
    for margin, color, dashes in zip((0.1, 0.25, 0.35, 0.5), COLORS, LINES, strict=True):
        radius = margin * math.sqrt(2)
        left.plot(
            radius * angles.sin(),
            1 - radius * angles.cos(),
            color=color,
            ls=dashes,
            label=f"m = {margin}",
        )
    left.legend(fontsize=8, frameon=False, loc="lower right")
    left.set_xlim(0, 1)
    left.set_ylim(0, 1)
    left.set_aspect("equal")
    plain(right, "cosine s", "weight α", "weight of a pair, m = 0.35")
    cosines = torch.linspace(-1, 1, 101)
    right.plot(cosines, (1.35 - cosines).clamp(min=0), color=GREEN, label="positive")
    right.plot(cosines, (cosines + 0.35).clamp(min=0), color=VERMILLION, ls="--", label="negative")
    right.legend(fontsize=8, frameon=False, loc="upper center")
    return figure


def circle_classes() -> Figure:
    """The logits of the class-level form beside plain scaled cosines."""
    figure = new_figure(3.0)
    axes = plain(figure.subplots(), "cosine with a class weight", "logit")
    cosines = torch.linspace(-0.4, 1, 141)
    both = torch.stack([cosines, cosines], 1)
    logits = circle_logits(both, torch.zeros(len(cosines), dtype=torch.long))
    axes.plot(cosines, logits[:, 0], color=GREEN, label="target class")
    axes.plot(cosines, logits[:, 1], color=VERMILLION, ls="--", label="another class")
    axes.plot(cosines, 64 * cosines, color=GRAY, ls=":", label="γ·cosine, without circle")
    axes.legend(fontsize=8.5, frameon=False)
    axes.axhline(0, color=GRAY, lw=0.8)
    return figure


def _same_cosine(cosine: float, gamma: float) -> float:
    return _of(torch.full((64, 64), cosine), gamma)


def _of(similarities: Tensor, gamma: float, margin: float = 0.35) -> float:
    masks = pair_masks(LABELS)
    loss = circle_loss_from_similarities(similarities.double(), *masks, margin=margin, gamma=gamma)
    return loss.item()


ALL = (circle, circle_start, circle_end, circle_margins, circle_classes)
