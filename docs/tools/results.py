"""Write the tables and curves of docs/results.md from the committed results.

    python docs/tools/results.py

Each results file in docs/results/ is the results.json of a folder of examples/mdpr/ablate.py. On
the page, what stands between `<!-- FILE TABLE -->` and `<!-- end -->` is that table.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "examples/mdpr"))
from comparison import markdown  # noqa: E402 it is found by the path above

PAGE = DOCS / "results.md"
PLACE = re.compile(r"(<!-- (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """Put each table in its place."""

    def write(found: re.Match[str]) -> str:
        results = json.loads((DOCS / "results" / f"{found[2]}.json").read_text())
        return f"{found[1]}\n{markdown(results['tables'][found[3]])}\n{found[4]}"

    return PLACE.sub(write, page)


def curves(results: dict[str, Any]) -> Figure:
    """Draw mAP and rank-1 of every run over its epochs."""
    runs = results["runs"]
    figure = Figure((9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("mAP", "rank-1"), strict=True):
        for run in runs:
            points = [
                (point["epoch"], 100 * point[name]) for point in run["curve"] if name in point
            ]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=run["run"])
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name}, %")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text()))
    for path in sorted((DOCS / "results").glob("*.json")):
        picture = path.with_suffix(".png")
        curves(json.loads(path.read_text())).savefig(picture, dpi=110)
        print(picture.relative_to(DOCS))


if __name__ == "__main__":
    main()
