"""The distances of positive pairs (one person) and of negative ones (two people)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from reidblocks._checks import at_least_float32
from reidblocks.evaluation import Features, Protocol
from reidblocks.evaluation.blocks import full_precision
from reidblocks.evaluation.pairs import negative_blocks, positive_distances
from reidblocks.evaluation.protocol import MARKET_RULE, Matching
from reidblocks.evaluation.scores import Distance, Scorer
from reidblocks.visualization._style import BLUE, INK, VERMILLION, add_title, new_figure, plain
from reidblocks.visualization._values import number

BINS = 80


class PairDistances(NamedTuple):
    """Distances of positive pairs, which show one person, and of negative ones, which show two."""

    positive: Tensor
    negative: Tensor


@full_precision()
def pair_distances(
    query: Features,
    gallery: Features,
    *,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
) -> PairDistances:
    """Return the distances of all pairs of a query and a gallery image that the protocol counts.

    They are those of ``verify``, which keeps less of them: with Q queries and G gallery images
    there are up to Q·G. Either side may be empty.

    Args:
        query, gallery: the features of both sides.
        protocol: which pairs count.
        distance: "cosine" or "euclidean".

    Raises:
        ValueError: bad input, as for ``evaluate``.
        TypeError: likewise.

    >>> query = Features(torch.eye(2), ids=[1, 2])
    >>> pair_distances(query, Features(torch.eye(2), ids=[1, 2]))
    PairDistances(positive=tensor([0., 0.]), negative=tensor([1., 1.]))
    """
    matching = Matching("pair_distances", protocol, query, gallery)
    scorer = Scorer("pair_distances", query.values, gallery.values, distance)
    negative = [torch.empty(0, dtype=torch.float32, device="cpu")]
    if len(matching.countable_queries):
        blocks = (block for _, block in negative_blocks(scorer, matching))
        negative += [block[block.isfinite()].cpu() for block in blocks]
    return PairDistances(positive_distances(scorer, matching).cpu(), torch.cat(negative))


def distance_histogram(
    pairs: PairDistances, threshold: float | None = None, title: str | None = None
) -> Figure:
    """Draw the distributions of the distances of positive and of negative pairs.

    Each is scaled to its own number of pairs, as there are far more negative ones. With a
    threshold, the legend says how many of each are at or below it: true and false matches.

    Args:
        pairs: distances of any shape and number.
        threshold: a distance, drawn as a line.
        title: text above the axes.

    Raises:
        TypeError: pairs is no PairDistances of tensors, or threshold no number.
        ValueError: positive or negative is empty or not finite.

    >>> figure = distance_histogram(PairDistances(torch.rand(50), 1 + torch.rand(900)), 1.0)
    >>> [text.get_text() for text in figure.legends[0].get_texts()][0]
    'positive: 50 pairs, 100.0% at or below the threshold'
    """
    checked = checked_pairs("distance_histogram", pairs)
    positive, negative = (distances.cpu() for distances in checked)  # histc varies on GPUs
    if threshold is not None:
        threshold = number("distance_histogram", "threshold", threshold)
    low = min(float(positive.min()), float(negative.min()))
    high = max(float(positive.max()), float(negative.max()))
    if low == high:
        around = max(0.5, 0.01 * abs(low))  # 0.5 next to 1e20 would be lost in rounding
        low, high = low - around, high + around
    figure = new_figure(6, 3.8, layout="constrained")
    axes = plain(figure.add_subplot())
    edges = np.linspace(low, high, BINS + 1)
    looks: list[tuple[str, Tensor, dict[str, Any]]] = [
        ("positive", positive, {"fill": True, "color": BLUE, "alpha": 0.5}),
        ("negative", negative, {"ec": VERMILLION, "hatch": "////", "lw": 1.2}),
    ]
    for name, distances, look in looks:
        fractions = 100 * torch.histc(distances, BINS, low, high) / distances.numel()
        text = f"{name}: {distances.numel():,} pairs"
        if threshold is not None:
            below = float((distances <= threshold).double().mean())
            text += f", {100 * below:.1f}% at or below the threshold"
        axes.stairs(fractions.numpy(), edges, label=text, **look)
    if threshold is not None:
        axes.axvline(threshold, color=INK, lw=1.2, ls="--", label=f"threshold {threshold:.4g}")
    axes.set_xlabel("distance")
    axes.set_ylabel("% of the pairs")
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, labelcolor=INK)
    add_title(figure, title)
    return figure


def checked_pairs(caller: str, pairs: PairDistances) -> PairDistances:
    """Flatten both to floats and raise unless each has values, all of them finite."""
    if not isinstance(pairs, PairDistances):
        raise TypeError(
            f"{caller} expects PairDistances(positive, negative), got {type(pairs).__name__}"
        )
    for name, distances in zip(pairs._fields, pairs, strict=True):
        if not isinstance(distances, Tensor):
            raise TypeError(f"{caller} expects {name} as a tensor, got {type(distances).__name__}")
        if not distances.numel() or not distances.isfinite().all():
            raise ValueError(
                f"{caller} expects {name} with at least one distance, all finite, "
                f"got {tuple(distances.shape)}"
            )
    flat = [at_least_float32(distances.detach().flatten()) for distances in pairs]
    return PairDistances(
        *(values if values.is_floating_point() else values.float() for values in flat)
    )
