"""Cumulative matching curves: how often a correct match is among the first r."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from reidblocks.visualization._lines import Line, line_figure
from reidblocks.visualization._values import as_text, expect_named, expect_several, number


def cmc_curves(curves: Mapping[str, Tensor | Sequence[float]], title: str | None = None) -> Figure:
    """Draw the fraction of queries with a correct match among the first r, for each model.

    The name at the end of each line carries rank-1.

    Args:
        curves: each model's name and its values in [0, 1], rank 1 first.
        title: text above the axes.

    Raises:
        TypeError: curves is no dict, or a value no number.
        ValueError: no curve, more than 10, or one that is empty, falls or leaves [0, 1].

    >>> import torch
    >>> figure = cmc_curves({"MDPR": torch.tensor([0.9, 0.95, 1.0]), "untrained": [0.2, 0.3]})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['untrained, rank-1 20.0', 'MDPR, rank-1 90.0']
    """
    expect_named("cmc_curves", "curves", curves, "their values")
    lines = []
    for name, values in curves.items():
        place = f"curves[{name!r}]"
        if isinstance(values, Tensor):
            cmc = values.detach().cpu().double().numpy()
        else:
            expect_several("cmc_curves", f"values in {place}", values)
            cmc = np.array([number("cmc_curves", place, value) for value in values])
        if cmc.ndim != 1 or not len(cmc) or not ((cmc >= 0) & (cmc <= 1)).all():
            raise ValueError(
                f"cmc_curves expects {place} (ranks,), not empty, in [0, 1], got {cmc.shape}"
            )
        if (np.diff(cmc) < 0).any():
            raise ValueError(f"cmc_curves expects {place} not to fall with the rank")
        ranks = np.arange(1.0, len(cmc) + 1)
        lines.append(Line(f"{as_text(name)}, rank-1 {100 * cmc[0]:.1f}", ranks, 100 * cmc))
    figure = line_figure("cmc_curves", lines, "rank", "% of the queries", title)
    longest = max(len(line.x) for line in lines)
    step = 1 if longest <= 12 else 5 * -(-longest // 50)
    figure.axes[0].set_xticks(sorted({1, *range(step, longest + 1, step)}))
    return figure
