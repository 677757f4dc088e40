"""What the blocks do, shown by the blocks themselves."""

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pictures.style import BLUE, GRAY, GREEN, HEAT, INK, ORANGE, VERMILLION, new_figure, plain, show
from reidblocks import BNNeck, ConvBNReLU, gem_pool
from reidblocks.data.drawing import draw_person


def projection() -> Figure:
    """Three channels of an embedding block, from the convolution to the end."""
    block = ConvBNReLU(8, 3).eval()
    features = torch.randn(16, 8, 24, 12).relu() * torch.linspace(0.3, 2.0, 8)[:, None, None]
    with torch.no_grad():
        block.conv.weight.mul_(torch.tensor([1.0, 2.5, 0.6])[:, None, None, None])
        convolved = block.conv(features)
        normalized = block.train().bn(convolved)
    figure = new_figure(2.2)
    steps = {
        "after the convolution": convolved,
        "after BN": normalized,
        "after ReLU": normalized.relu(),
    }
    for axes, (title, maps) in zip(figure.subplots(1, 3), steps.items(), strict=True):
        plain(axes, "value", title=title)
        axes.set_yticks([])
        limit = float(convolved.abs().max()) if "conv" in title else 4.0
        for channel, color in zip(
            maps.transpose(0, 1).flatten(1), (BLUE, VERMILLION, GREEN), strict=True
        ):
            counts = torch.histc(channel, 50, -limit, limit)
            axes.stairs(counts, torch.linspace(-limit, limit, 51), color=color, lw=1.3)
        axes.set_ylim(0, None if "ReLU" not in title else 600)
    return figure


def gem() -> Figure:
    """One map, where its pooled value comes from at three exponents, and the value itself."""
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 24), torch.linspace(0, 1, 12), indexing="ij"
    )
    bumps = ((0.25, 0.5, 1.0, 0.006), (0.7, 0.4, 0.55, 0.03))
    one = 0.05 + sum(
        h * (-((rows - r) ** 2 + (columns - c) ** 2) / s).exp() for r, c, h, s in bumps
    )
    figure = new_figure(3.9)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    panels = upper.subplots(1, 4)
    show(panels[0], one, "the map x", cmap=HEAT)
    for axes, p in zip(panels[1:], (1.0, 3.0, 10.0), strict=True):
        show(axes, _share(one, p), f"p = {p:g}", cmap=HEAT, vmin=0)
    axes = plain(lower.subplots(), "exponent p", "pooled value y")
    exponents = torch.logspace(0, 2, 100)
    axes.semilogx(exponents, [gem_pool(one[None, None], p).item() for p in exponents], color=BLUE)
    for name, value in (("mean", one.mean()), ("max", one.max())):
        axes.axhline(value, color=GRAY, ls="--", lw=1)
        axes.text(95, value + 0.02, name, size=8.5, color=INK, ha="right")
    axes.plot(3, gem_pool(one[None, None], 3.0).item(), "o", color=VERMILLION)
    axes.annotate(
        "p = 3, the start", (3, gem_pool(one[None, None], 3.0).item()), (3.3, 0.2), size=8.5
    )
    axes.set_ylim(0, 0.85)
    return figure


def _share(one: Tensor, p: float) -> Tensor:
    """How much each place takes part in the pooled value: its gradient, as a share."""
    maps = one[None, None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gem_pool(maps, p).sum(), maps)
    return gradient[0, 0] / gradient.sum()


def partition() -> Figure:
    """One person whole and in 2, 3 and 6 stripes."""
    person = draw_person(7, 1, 1, size=(192, 96))
    figure = new_figure(3.0)
    for axes, parts in zip(figure.subplots(1, 4), (1, 2, 3, 6), strict=True):
        name = "the whole" if parts == 1 else f"N = {parts}"
        show(axes, person, name, f"{parts} embedding{'s' * (parts > 1)}")
        for n in range(1, parts):
            axes.add_patch(Rectangle((-1, 192 * n / parts - 2), 98, 4, color="white"))
        axes.spines[:].set_visible(False)
    return figure


def neck() -> Figure:
    """Pooled vectors of three people, before and after the neck."""
    offset = torch.tensor([4.0, 2.5])
    means = torch.tensor([[1.3, -0.5], [-0.9, -0.6], [-0.2, 0.9]])
    vectors = torch.cat(
        [mean + 0.3 * torch.randn(40, 2) * torch.tensor([1.2, 0.6]) for mean in means]
    )
    vectors = (vectors + offset).clamp(min=0)
    labels = torch.arange(3).repeat_interleave(40)
    after = BNNeck(2)(vectors).detach()
    figure = new_figure(3.2)
    for axes, points, title in zip(
        figure.subplots(1, 2), (vectors, after), ("before BN", "after BN"), strict=True
    ):
        plain(axes, title=title)
        unit = torch.nn.functional.normalize(points)
        cosines = unit @ unit.T
        same = labels[:, None] == labels
        axes.set_xlabel(
            f"mean cosine of two people {cosines[~same].mean():.2f},\n"
            f"of one {cosines[same].mean():.2f}",
            size=8.5,
        )
        for person, (color, marker) in enumerate(
            zip((BLUE, VERMILLION, GREEN), "os^", strict=True)
        ):
            axes.scatter(*points[labels == person].T, s=12, color=color, marker=marker, lw=0)
        axes.axhline(0, color=GRAY, lw=0.8)
        axes.axvline(0, color=GRAY, lw=0.8)
        axes.plot(0, 0, "+", color=ORANGE, ms=12, mew=2)
        axes.set_aspect("equal", adjustable="datalim")
    return figure


ALL = (projection, gem, partition, neck)
