"""Precision against recall of pairs of images, over all thresholds."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from reidblocks.visualization._lines import Line, line_figure
from reidblocks.visualization._values import as_text, expect_named
from reidblocks.visualization.distances import PairDistances, checked_pairs

CHUNK = 1 << 22


def precision_recall_curves(pairs: Mapping[str, PairDistances], title: str | None = None) -> Figure:
    """Draw precision against recall over all pairs of a test set, for each model.

    The name at the end of each line carries the average precision over all pairs at once, which
    is not the mAP: that is the mean over queries.

    Args:
        pairs: each model's name and its distances.
        title: text above the axes.

    Raises:
        TypeError: pairs is no dict of PairDistances.
        ValueError: no model, more than 10, or pairs that are empty or not finite.

    >>> pairs = PairDistances(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.9]))
    >>> figure = precision_recall_curves({"MDPR": pairs})
    >>> figure.axes[0].texts[0].get_text()
    'MDPR, average precision 83.3'
    """
    expect_named("precision_recall_curves", "pairs", pairs, "their PairDistances")
    lines = []
    for name, distances in pairs.items():
        recall, precision = precision_recall(distances)
        text = f"{as_text(name)}, average precision {100 * precision.mean():.1f}"
        lines.append(Line(text, 100 * recall.cpu().numpy(), 100 * precision.cpu().numpy()))
    return line_figure("precision_recall_curves", lines, "recall, %", "precision, %", title)


def precision_recall(pairs: PairDistances) -> tuple[Tensor, Tensor]:
    r"""Return recall and precision (P,) where each positive pair's distance is the threshold.

    With the P positive pairs' distances sorted, $p_1 \le \dots \le p_P$, and negative ones $n_j$:

    $$\text{recall}_i = \frac{|\{p \le p_i\}|}{P},\qquad
      \text{precision}_i = \frac{|\{p \le p_i\}|}{|\{p \le p_i\}| + |\{n \le p_i\}|}$$

    >>> recall, precision = precision_recall(
    ...     PairDistances(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.9]))
    ... )
    >>> recall.tolist(), [round(p, 2) for p in precision.tolist()]
    ([0.5, 1.0], [1.0, 0.67])
    """
    positive, negative = checked_pairs("precision_recall_curves", pairs)
    positive = positive.sort().values
    count = positive.new_zeros(len(positive) + 1, dtype=torch.long)
    for chunk in torch.split(negative, CHUNK):  # found by the first positive pair at least as far
        count += torch.searchsorted(positive, chunk).bincount(minlength=len(count))
    false = count.cumsum(0)[:-1]
    true = torch.searchsorted(positive, positive, right=True)  # equal distances count together
    true, false = true.float(), false.float()  # a quotient of counts has torch's default dtype
    return true / len(positive), true / (true + false)
