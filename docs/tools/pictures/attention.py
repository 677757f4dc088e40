"""Attention and what is pooled by it, on a drawn person, with weights set by hand."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from pictures.style import HEAT, VERMILLION, new_figure, show
from reidblocks import GuidedAttention, bilinear_attention_pool
from reidblocks.data.drawing import draw_person

SIZE = (24, 12)
STRETCHED = {"extent": (0, 96, 192, 0)}


def attention() -> Figure:
    """Raw maps of a body's upper part, lower part and the rest; their shares after the softmax."""
    raw = raw_maps()
    figure = new_figure(4.4)
    rows = figure.subplots(2, 4)
    names = ("map 1", "map 2", "background")
    for axes, values, name in zip(rows[0, 1:], raw, names, strict=True):
        show(axes, values, f"{name}, raw", cmap=HEAT, vmin=0, vmax=8, **STRETCHED)
    for axes, values, name in zip(rows[1, 1:], raw.softmax(0), names, strict=True):
        show(axes, values, f"{name}, share", cmap=HEAT, vmin=0, vmax=1, **STRETCHED)
    show(rows[0, 0], _person(), "image")
    show(rows[1, 0], _overlay(raw.softmax(0)[:2].amax(0)), "both maps")
    return figure


def guided_attention() -> Figure:
    """The same generator without and with its guide."""
    brightness = _pixels().mean(0)
    features = F.interpolate(brightness[None, None], SIZE, mode="area")
    features = (features - features.mean()) / features.std()
    guide = F.interpolate(raw_maps().softmax(0)[None, :2], (12, 6), mode="area")
    block = GuidedAttention(1, num_maps=2).eval()
    with torch.no_grad():
        for weight in block.generator.parameters():
            weight.zero_()
        block.generator.bn.weight.fill_(1)
        kernel = block.generator.conv1x1.weight  # maps 1, 2 and the background × 1 + 2 channels
        kernel[:2, 0] = 1.0
        kernel[0, 1] = kernel[1, 2] = 6.0
        block.generator.bn.bias.copy_(torch.tensor([0.0, 0.0, 2.0]))
        alone, led = block(features).maps[0], block(features, guide).maps[0]
    figure = new_figure(4.4)
    rows = figure.subplots(2, 4)
    show(rows[0, 0], _person(), "image")
    show(rows[1, 0], features[0, 0], "features", cmap="gray", **STRETCHED)
    for k in (0, 1):
        look = {"cmap": HEAT, "vmin": 0, "vmax": 1, **STRETCHED}
        show(rows[k, 1], guide[0, k], f"guide, map {k + 1}", **look)
        show(rows[k, 2], alone[k], f"map {k + 1} alone", **look)
        show(rows[k, 3], led[k], f"map {k + 1} guided", **look)
    return figure


def bilinear() -> Figure:
    """Two maps, what they let through of an image, and the color that its pixels pool to."""
    pixels, maps = _pixels(), raw_maps().softmax(0)[:2]
    maps = F.interpolate(maps[None], pixels.shape[1:], mode="bilinear")[0]
    pooled = bilinear_attention_pool(pixels[None], maps[None])[0]  # (2, 3)
    colors = pooled / maps.mean((1, 2))[:, None]
    figure = new_figure(4.4)
    rows = figure.subplots(2, 4)
    show(rows[0, 0], _person(), "features X")
    rows[1, 0].set_axis_off()
    for k in (0, 1):
        show(rows[k, 1], maps[k], f"map $A_{k + 1}$", cmap=HEAT, vmin=0, vmax=1)
        through = pixels * maps[k]
        show(rows[k, 2], through.permute(1, 2, 0), rf"$A_{k + 1} \odot X$")
        swatch = np.broadcast_to(colors[k].numpy(), (*pixels.shape[1:], 3))
        show(rows[k, 3], swatch, f"pooled, $y_{k + 1}$")
        rows[k, 3].spines[:].set_color(VERMILLION)
    return figure


def _person() -> np.ndarray:
    return np.asarray(draw_person(7, 1, 1, size=(192, 96)))


def _pixels() -> Tensor:
    return torch.from_numpy(_person().copy()).permute(2, 0, 1) / 255


def raw_maps() -> Tensor:
    """Raw maps (3, *SIZE) as a trained generator might give: chest, legs, what is left."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, n) for n in SIZE), indexing="ij")
    chest = 8 * (-((rows - 0.33) ** 2 / 0.02 + (columns - 0.5) ** 2 / 0.06)).exp()
    legs = 8 * (-((rows - 0.7) ** 2 / 0.03 + (columns - 0.5) ** 2 / 0.05)).exp()
    return torch.stack([chest, legs, torch.full(SIZE, 4.0)])


def _overlay(share: Tensor) -> np.ndarray:
    person = _person().astype(float) / 255
    large = F.interpolate(share[None, None], person.shape[:2], mode="bilinear")[0, 0].numpy()
    gray = person.mean(2, keepdims=True)
    return 0.45 * gray + 0.55 * HEAT(large)[..., :3]


ALL = (attention, guided_attention, bilinear)
