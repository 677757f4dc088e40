"""Diagrams: the way the data walks, and the blocks that are wires rather than formulas."""

from matplotlib.figure import Figure

from pictures.style import GRAY, GREEN, INK, VERMILLION, arrow, box, canvas, new_figure

HARD, SOFT, SHARED = "#cfe3f1", "#f6d9c4", "#e8e8e8"
RESULT = "#d3ebe2"


def walk() -> Figure:
    """From images to losses in training, to an embedding at inference."""
    figure = new_figure(6.4)
    axes = canvas(figure, 10, 12.9)
    box(axes, 3.2, 0.1, 3.6, 0.8, "images (B, 3, H, W)", "white")
    box(axes, 3.2, 1.4, 3.6, 0.8, "stem, shared", SHARED)
    arrow(axes, [(5, 0.9), (5, 1.4)])
    for x, name, color in ((0.2, "hard branch", HARD), (5.4, "soft branch", SOFT)):
        box(axes, x, 2.8, 4.4, 0.8, f"{name}: stage4, stage5", color)
        arrow(axes, [(5, 2.2), (x + 2.2, 2.8)])
    box(axes, 0.2, 4.2, 4.4, 1.5, "HardPartitionHead\nwhole map and N stripes", HARD)
    arrow(axes, [(2.4, 3.6), (2.4, 4.2)])
    box(axes, 5.4, 4.2, 2.1, 1.5, "Embedding-\nHead\nof C4, C5", SOFT)
    box(axes, 7.7, 4.2, 2.1, 1.5, "attention\nA5 guides A4\nBAP", SOFT, ls="--")
    arrow(axes, [(6.45, 3.6), (6.45, 4.2)])
    arrow(axes, [(8.75, 3.6), (8.75, 4.2)])
    box(axes, 2.6, 6.4, 4.2, 0.9, "FusionModule, GeM, BN", SHARED)
    arrow(axes, [(3.6, 5.7), (3.6, 6.4)])
    arrow(axes, [(6.1, 5.7), (6.1, 6.4)])
    axes.text(3.45, 6.1, "maps", size=8, color=INK, ha="right", va="center")
    axes.text(6.25, 6.1, "maps", size=8, color=INK, va="center")
    box(axes, 0.2, 8.0, 6.6, 0.9, "MDPROutput: the features, each after BN", "white")
    arrow(axes, [(1.2, 5.7), (1.2, 8.0)])
    arrow(axes, [(4.7, 7.3), (4.7, 8.0)])
    arrow(axes, [(7.1, 5.7), (7.1, 7.65), (6.3, 7.65), (6.3, 8.0)])
    box(axes, 7.4, 8.0, 2.4, 0.9, "BAP's features", "white", ls="--")
    arrow(axes, [(8.75, 5.7), (8.75, 8.0)], ls="--")
    axes.text(0.2, 9.55, "training", size=9, weight="bold", color=VERMILLION)
    box(axes, 0.2, 9.8, 4.4, 1.3, "criterion, with\nMutualDistiller inside", SOFT, ec=VERMILLION)
    box(axes, 0.2, 11.6, 4.4, 0.9, "{name: loss}", "white", ec=VERMILLION)
    arrow(axes, [(2.4, 11.1), (2.4, 11.6)])
    arrow(axes, [(3.2, 8.9), (3.2, 9.8)])
    arrow(axes, [(8.6, 8.9), (8.6, 9.3), (4.0, 9.3), (4.0, 9.8)], ls="--")
    axes.text(6.1, 9.75, "inference", size=9, weight="bold", color=GREEN)
    box(
        axes,
        5.4,
        9.95,
        4.4,
        1.15,
        "embedding: the features\nasked for, side by side",
        RESULT,
        ec=GREEN,
    )
    arrow(axes, [(5.9, 8.9), (5.9, 9.95)], color=GREEN)
    box(axes, 5.4, 11.6, 4.4, 0.9, "evaluation, search, pictures", "white", ec=GREEN)
    arrow(axes, [(7.6, 11.1), (7.6, 11.6)])
    return figure


def head() -> Figure:
    """An embedding head, with the shapes between its parts."""
    figure = new_figure(1.35)
    axes = canvas(figure, 10, 2.6)
    parts = (("ConvBNReLU", HARD), ("GeM", RESULT), ("BNNeck", SOFT))
    for n, (name, color) in enumerate(parts):
        box(axes, 1.35 + 2.8 * n, 0.9, 2.0, 0.9, name, color)
    shapes = ("(B, C, H, W)", "(B, M, H, W)", "(B, M)", "(B, M)")
    for n, shape in enumerate(shapes):
        arrow(axes, [(0.55 + 2.8 * n, 1.35), (1.35 + 2.8 * n, 1.35)])
        axes.text(0.95 + 2.8 * n, 0.5, shape, size=8, ha="center")
    axes.text(3.75, 2.25, "maps", size=8.5, ha="center", color=GRAY)
    axes.text(9.25, 2.25, "embedding", size=8.5, ha="center", color=GRAY)
    return figure


def fusion() -> Figure:
    """The four fusion modules of MDPR, by the channels that they mix."""
    figure = new_figure(3.55)
    axes = canvas(figure, 10, 7.1)
    box(axes, 0.1, 0.2, 2.4, 0.6, "stripe 1", HARD)
    box(axes, 0.1, 0.8, 2.4, 0.6, "stripe N", HARD)
    box(axes, 3.7, 0.35, 2.5, 0.9, "Fusion-\nModule(M)")
    arrow(axes, [(2.5, 0.8), (3.7, 0.8)])
    box(axes, 0.1, 2.0, 2.4, 0.9, "whole map", HARD)
    box(axes, 3.7, 2.0, 2.5, 0.9, "Fusion-\nModule(2M)")
    arrow(axes, [(2.5, 2.45), (3.7, 2.45)])
    arrow(axes, [(4.95, 1.25), (4.95, 2.0)])
    box(axes, 0.1, 4.0, 2.4, 0.9, "soft, of C5", SOFT)
    box(axes, 0.1, 5.2, 2.4, 0.9, "soft, of C4", SOFT)
    box(axes, 3.7, 4.6, 2.5, 0.9, "Fusion-\nModule(2M)")
    arrow(axes, [(2.5, 4.45), (3.7, 4.9)])
    arrow(axes, [(2.5, 5.65), (3.7, 5.2)])
    box(axes, 7.3, 3.2, 2.6, 0.9, "Fusion-\nModule(4M)")
    arrow(axes, [(6.2, 2.45), (7.9, 3.2)])
    arrow(axes, [(6.2, 5.05), (7.9, 4.1)])
    box(axes, 7.3, 5.2, 2.6, 0.9, "GeM, BN: (B, 4M)", RESULT)
    arrow(axes, [(8.6, 4.1), (8.6, 5.2)])
    axes.text(
        0.1,
        6.75,
        "every map: (B, channels, H, W); the stripes are stacked first",
        size=8.5,
        color=GRAY,
    )
    return figure


ALL = (walk, head, fusion)
