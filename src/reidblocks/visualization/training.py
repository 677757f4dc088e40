"""What happened during training: every loss term and the validation metrics."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidblocks.visualization._lines import MAX_LINES, Line, Values, draw_lines
from reidblocks.visualization._style import BLUE, INK, add_title, new_figure, plain
from reidblocks.visualization._text import MEDIUM, SMALL, font, literal, shorten, text_width
from reidblocks.visualization._values import as_text, expect_named, expect_several, number

MAX_POINTS = 1000
MAX_TERMS = 48
TOTAL = "total"  # the name of the sum of all terms

WIDTH, METRICS_HEIGHT, ROW_HEIGHT = 10.0, 3.0, 1.35  # inches


class TrainingRecord(NamedTuple):
    """The losses and metrics (in [0, 1]) at one point of training (epoch 3, or epoch 3.25).

    A record need not hold every name: metrics are usually measured less often than losses.
    """

    epoch: float
    losses: Mapping[str, float] = {}
    metrics: Mapping[str, float] = {}


def training_curves(records: Sequence[TrainingRecord], title: str | None = None) -> Figure:
    """Draw the metrics in one panel above a small panel for each loss term.

    The term named ``total`` comes first, the others in the order of the records. The terms of
    one training differ by factors of thousands and some are below zero, so each has
    a scale of its own; its last value is next to its name. The metrics' names are at the ends of
    their lines, with the best value where it was not the last. A curve of more than 1,000
    points is drawn as the averages of 1,000 equal stretches.

    Args:
        records: in the order in which they were measured.
        title: text above the panels.

    Raises:
        TypeError: a value is not a number; a single record instead of several.
        ValueError: no value at all; epochs that go back; a metric outside [0, 1]; more than 48
            loss terms or 10 metrics.

    >>> records = [TrainingRecord(n, {"total": 1 / n}, {"mAP": n / 10}) for n in range(1, 5)]
    >>> len(training_curves(records).axes)
    2
    """
    caller = "training_curves"
    expect_several(caller, "TrainingRecord", records)
    for record in records:
        expect_named(caller, "losses", record.losses, "numbers")
        expect_named(caller, "metrics", record.metrics, "numbers")
    epochs = [number(caller, "epoch", record.epoch) for record in records]
    if any(after < before for before, after in pairwise(epochs)):
        raise ValueError("training_curves expects records in order, got epochs that go back")
    losses = _curves(epochs, [record.losses for record in records])
    losses = dict(sorted(losses.items(), key=lambda item: item[0] != TOTAL))  # the sum first
    metrics = _curves(epochs, [record.metrics for record in records])
    if not losses and not metrics:
        raise ValueError("training_curves expects at least one loss or metric, got none")
    if len(losses) > MAX_TERMS:
        raise ValueError(
            f"training_curves draws at most {MAX_TERMS} loss terms, got {len(losses)}: "
            "omit some or add them up"
        )
    if len(metrics) > MAX_LINES:
        raise ValueError(f"training_curves draws at most {MAX_LINES} metrics, got {len(metrics)}")
    for name, (_, values) in metrics.items():
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"training_curves expects metrics in [0, 1], {name!r} leaves it")
    columns = min(4, max(1, len(losses)))
    rows = -(-len(losses) // columns)
    heights = [METRICS_HEIGHT] * bool(metrics) + [ROW_HEIGHT * rows + 0.3] * bool(losses)
    figure = new_figure(WIDTH, sum(heights) + 0.4 * bool(title), layout="constrained")
    add_title(figure, title)
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
    if metrics:
        _draw_metrics(parts[0].subplots(), metrics)
    if losses:
        panels = list(parts[-1].subplots(rows, columns, squeeze=False).flat)
        for panel in panels:
            panel.set_axis_off()
        for panel, (name, curve) in zip(panels, losses.items(), strict=False):
            _draw_loss(panel, name, curve, WIDTH / columns - 0.6)
        parts[-1].supxlabel("epoch", fontproperties=font(MEDIUM), color=INK)
    around = 0.5 if epochs[0] == epochs[-1] else 0.02 * (epochs[-1] - epochs[0])
    for panel in figure.axes:
        panel.set_xlim(epochs[0] - around, epochs[-1] + around)
        panel.locator_params(axis="x", nbins=5 if columns > 2 else 8, integer=True)
    return figure


def _curves(
    epochs: Sequence[float], values: Iterable[Mapping[str, float]]
) -> dict[str, tuple[Values, Values]]:
    """Gather each name's (epochs, values) over the records, thinned to what can be seen."""
    points: dict[str, list[tuple[float, float]]] = {}
    for epoch, record in zip(epochs, values, strict=True):
        for name, value in record.items():
            points.setdefault(name, []).append(
                (epoch, number("training_curves", repr(name), value))
            )
    curves = {name: np.array(pairs, dtype=float).T for name, pairs in points.items()}
    return {name: (_thin(x), _thin(y)) for name, (x, y) in curves.items()}


def _thin(values: Values) -> Values:
    if len(values) <= MAX_POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, MAX_POINTS)])


def _draw_metrics(axes: Axes, metrics: dict[str, tuple[Values, Values]]) -> None:
    lines = []
    for name, (x, y) in metrics.items():
        best = int(y.argmax())
        text = f"{as_text(name)} {100 * y[-1]:.1f}"
        if y[best] > y[-1]:
            text += f", best {100 * y[best]:.1f} at {x[best]:g}"
        lines.append(Line(text, x, 100 * y))
    axes.set_xlabel("epoch")
    axes.set_ylabel("%")
    draw_lines(plain(axes), lines, METRICS_HEIGHT - 0.6)


def _draw_loss(axes: Axes, name: str, curve: tuple[Values, Values], width: float) -> None:
    x, y = curve
    last = f"{y[-1]:.3g}"
    name = shorten(name, width - text_width(last, MEDIUM) - 0.1, MEDIUM, bold=True)
    axes.set_axis_on()
    axes.set_title(literal(name), loc="left", fontproperties=font(MEDIUM, bold=True), color=INK)
    axes.set_title(last, loc="right", fontproperties=font(MEDIUM), color=INK)
    axes.plot(x, y, color=BLUE, linewidth=1.2, marker="o" if len(x) <= 30 else None, markersize=2)
    axes.locator_params(axis="y", nbins=4)
    plain(axes).tick_params(labelsize=SMALL)
