"""Triplet, diversity, distillation and gathering."""

import math

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from pictures.style import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    arrow,
    box,
    canvas,
    new_figure,
    plain,
)
from reidblocks import attention_diversity_loss


def triplet() -> Figure:
    """The hardest pairs of one anchor, and the price of the gap between them."""
    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2)
    same = torch.tensor([[0.5, 0.9], [1.2, -0.3], [0.4, -0.7]])
    other = torch.tensor([[-0.9, 0.4], [2.0, 1.1], [1.6, -1.3], [-1.3, -0.9]])
    left.scatter(*other.T, marker="s", color=VERMILLION, s=30, lw=0)
    left.scatter(*same.T, marker="o", color=BLUE, s=30, lw=0)
    left.plot(0, 0, "*", color=INK, ms=12)
    far, near = same[same.norm(dim=1).argmax()], other[other.norm(dim=1).argmin()]
    for point, color, text, spot in (
        (far, BLUE, "farthest\npositive", (1.35, -0.35)),
        (near, VERMILLION, "nearest negative", (-1.75, 1.15)),
    ):
        left.plot([0, point[0]], [0, point[1]], color=color, lw=1.5)
        left.add_patch(Circle((0, 0), point.norm().item(), fill=False, color=color, ls=":", lw=1))
        left.text(*spot, text, size=8.5, color=color, va="center")
    left.text(0.08, 0.12, "anchor", size=8.5)
    left.set_xlim(-1.9, 2.4)
    left.set_ylim(-1.8, 1.8)
    left.set_aspect("equal")
    left.set_xticks([])
    left.set_yticks([])
    plain(right, "farthest positive −\nnearest negative", "loss of an anchor")
    gap = torch.linspace(-1.5, 1.5, 200)
    right.plot(gap, (gap + 0.05).clamp(min=0), color=BLUE, label="margin 0.05")
    right.plot(gap, (gap + 0.3).clamp(min=0), color=GREEN, ls="-.", label="margin 0.3")
    right.plot(
        gap, torch.nn.functional.softplus(gap), color=VERMILLION, ls="--", label="no margin: soft"
    )
    right.legend(fontsize=8, frameon=False)
    return figure


def diversity() -> Figure:
    """What two parts of one image cost, by the angle between them and by their size."""
    figure = new_figure(2.7)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.3])
    arrow(left, [(0, 0), (1, 0)], color=BLUE, lw=2)
    arrow(left, [(0, 0), (math.cos(0.9), math.sin(0.9))], color=VERMILLION, lw=2)
    left.text(0.75, -0.16, "$f_1$", size=10, color=BLUE)
    left.text(0.3, 0.75, "$f_2$", size=10, color=VERMILLION)
    left.text(0.32, 0.15, "θ", size=10)
    left.set_xlim(-0.2, 1.2)
    left.set_ylim(-0.35, 1.1)
    left.set_aspect("equal")
    left.set_axis_off()
    plain(right, "angle θ between the parts, degrees", "loss")
    angles = torch.linspace(0, math.pi / 2, 91)
    for size, color, dashes in ((1.0, BLUE, "-"), (200.0, VERMILLION, "--"), (500.0, GREEN, "-.")):
        parts = torch.stack(
            [
                torch.ones(91, 1) * torch.tensor([1.0, 0.0]),
                torch.stack([angles.cos(), angles.sin()], 1),
            ],
            1,
        )
        norms = size * parts / parts.abs().sum(2, keepdim=True)
        losses = attention_diversity_loss(norms, reduction="none")
        right.plot(
            angles.rad2deg(), losses, color=color, ls=dashes, label=f"each $‖f‖_1$ = {size:g}"
        )
    right.legend(fontsize=8, frameon=False)
    right.set_xticks([0, 30, 60, 90])
    return figure


def distillation() -> Figure:
    """Each branch predicts the other; no gradient goes back through a target."""
    figure = new_figure(2.6)
    axes = canvas(figure, 10, 5.0)
    for y, name, color in (
        (0.4, "hard branch\n$f_{g5}$ (B, M)", "#cfe3f1"),
        (3.4, "soft branch\n$f_{g5}$ (B, M)", "#f6d9c4"),
    ):
        box(axes, 0.1, y, 2.5, 1.2, name, color)
        box(axes, 3.9, y, 1.9, 1.2, "MLP")
        box(axes, 7.3, y, 2.5, 1.2, "−cos")
        arrow(axes, [(2.6, y + 0.6), (3.9, y + 0.6)], color=BLUE if y < 1 else VERMILLION)
        arrow(axes, [(5.8, y + 0.6), (7.3, y + 0.6)], color=BLUE if y < 1 else VERMILLION)
    arrow(axes, [(1.35, 1.6), (1.35, 2.2), (8.55, 2.75), (8.55, 3.4)], color=BLUE, ls="--")
    arrow(axes, [(1.35, 3.4), (1.35, 2.75), (8.55, 2.2), (8.55, 1.6)], color=VERMILLION, ls="--")
    axes.text(3.0, 1.98, "stop gradient", size=8.5, color=BLUE, ha="center")
    axes.text(3.0, 3.1, "stop gradient", size=8.5, color=VERMILLION, ha="center")
    return figure


def gather() -> Figure:
    """Which pairs two processes see, alone and with their batches gathered."""
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    rank = torch.arange(8) // 4
    for axes, seen, title in (
        (left, rank[:, None] == rank, "each process alone"),
        (right, torch.ones(8, 8, dtype=torch.bool), "after gather_batch"),
    ):
        for i in range(8):
            for j in range(8):
                color = GRAY if i == j else BLUE if labels[i] == labels[j] else ORANGE
                fill = color if seen[i, j] else PALE
                axes.add_patch(Rectangle((j + 0.05, i + 0.05), 0.9, 0.9, color=fill, lw=0))
        axes.set_xlim(0, 8)
        axes.set_ylim(8, 0)
        axes.set_aspect("equal")
        axes.set_title(title, size=9)
        axes.set_xticks([2, 6], ["process 0", "process 1"], size=8)
        axes.set_yticks([2, 6], ["process 0", "process 1"], size=8, rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        count = int((seen & (labels[:, None] != labels)).sum())
        axes.set_xlabel(f"{count} pairs of two people", size=8.5)
    return figure


ALL = (triplet, diversity, distillation, gather)
