"""Write the tables, numbers and pictures of the results from the committed files.

    python docs/tools/results.py

Each results file in docs/results/ is the results.json of a folder of
examples/mdpr/ablation/ablate.py; published.json is what benchmarks/published.py writes, and
held-out.json what held_out.py writes. What stands between `<!-- FILE TABLE -->` and `<!-- end -->`
on a page is that table, without the rows that were not run; measured.py makes the tables of
benchmarks. What stands between `<!-- FILE TABLE "ROW" METRIC -->` and `<!-- / -->` is that metric
of that row in percent, so that a sentence cannot differ from its table.
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reidblocks.training import atomic_path, write_file

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent / "examples/mdpr" / part) for part in ("", "ablation")]
sys.path.insert(0, str(Path(__file__).parent))
import held_out  # noqa: E402 these are found by the paths above
import measured  # noqa: E402

from comparison import markdown  # noqa: E402

PAGES = [DOCS / f"{name}.md" for name in ("results", "results-features", "results-parts")]
QUOTING = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
PLACE = re.compile(r"(<!-- ([\w-]+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r'(<!-- ([\w-]+) (\w+) "([^"]+)" (\S+) -->)[^<]*(<!-- / -->)')


def filled(page: str) -> str:
    """Put each table in its place."""

    def write(found: re.Match[str]) -> str:
        if measurements := measured.made(found[2], found[3]):
            return f"{found[1]}\n{measurements}\n{found[4]}"
        table = json.loads((DOCS / "results" / f"{found[2]}.json").read_text())["tables"][found[3]]
        if table.get("kind") == "published":
            return f"{found[1]}\n{published(table['rows'])}\n{found[4]}"
        if table.get("kind") == "held-out":
            return f"{found[1]}\n{held_out.table(table['rows'])}\n{found[4]}"
        rows = [row for row in table["rows"] if row["seeds"]]
        text = markdown(table | {"rows": rows}).replace(
            " ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
        )
        return f"{found[1]}\n{text}\n{found[4]}"

    def quote(found: re.Match[str]) -> str:
        tables = json.loads((DOCS / "results" / f"{found[2]}.json").read_text())["tables"]
        (row,) = (row for row in tables[found[3]]["rows"] if row["title"] == found[4])
        return f"{found[1]}{100 * row[f'trained {found[5]}']:.1f}{found[6]}"

    return NUMBER.sub(quote, PLACE.sub(write, page))


def published(rows: list[dict[str, Any]]) -> str:
    """Write the table of published checkpoints, in percent."""
    lines = ["| | distance | mAP | rank-1 | cost |", f"|{'---|' * 5}"]
    for row in rows:
        cells = [row["title"], row["distance"]]
        for name in ("mAP", "rank-1"):
            each = [row[when][name] for when in ("untrained", "trained") if when in row]
            cells.append(" → ".join(f"{100 * value:.2f}" for value in each))
        cells.append(f"{row['gmacs']:.3f}, {row['size']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


SHORT = {  # rows of the baselines' table as a picture names them
    "BNNeck baseline: global GeM, triplet and ID loss": "BNNeck",
    "PCB-style: 4 stripes": "PCB-style",
    "MGN-style: whole, halves, quarters": "MGN-style",
    "hard branch alone, its own training": "hard branch",
    "soft branch alone, its own training": "soft branch",
    "MDPR, circle loss over pairs": "MDPR, pairs",
    "MDPR, circle loss over classes": "MDPR",
}


def panel(label: str) -> tuple[Figure, Axes]:
    """Begin a picture that a phone shows whole, with letters that can be read there."""
    figure = Figure((6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(label, fontsize=14)
    axes.set_ylabel("mAP, %", fontsize=14)
    axes.tick_params(labelsize=13)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def name_beside(axes: Axes, points: dict[str, tuple[float, float]], gap: float) -> None:
    """Write each name to the right of its point, no two nearer than ``gap`` in height."""
    names = sorted(points, key=lambda name: points[name][1])
    heights: list[float] = []
    for name in names:
        heights.append(max(points[name][1], heights[-1] + gap if heights else -math.inf))
    lift = statistics.mean(heights) - statistics.mean(y for _, y in points.values())
    for name, height in zip(names, heights, strict=True):
        color = f"C{[*SHORT.values()].index(name)}"
        place = {"xytext": (9, 0), "textcoords": "offset points", "annotation_clip": False}
        where = points[name][0], height - lift
        axes.annotate(name, where, va="center", fontsize=13, color=color, **place)


def curves(results: dict[str, Any]) -> Figure:
    """Draw mAP over the epochs, of the baselines' table.

    Each row's line is the mean of its seeds, the band how far they reach.
    """
    figure, axes = panel("epoch")
    ends: dict[str, tuple[float, float]] = {}
    for number, (title, short) in enumerate(SHORT.items()):
        points: dict[int, list[float]] = {}
        for run in (run for run in results["runs"] if run["title"] == title):
            for point in (point for point in run["curve"] if "mAP" in point):
                points.setdefault(point["epoch"], []).append(100 * point["mAP"])
        if points:
            means = [statistics.mean(values) for values in points.values()]
            low, high = (list(map(each, points.values())) for each in (min, max))
            axes.plot(list(points), means, color=f"C{number}", marker="o", markersize=4)
            axes.fill_between(list(points), low, high, color=f"C{number}", alpha=0.2)
            ends[short] = max(points), means[-1]
    axes.set_ylim(45, 85)
    axes.set_xlim(2, 8)
    name_beside(axes, ends, 1.8)
    return figure


def costs(results: dict[str, Any]) -> Figure:
    """Draw mAP against the arithmetic of a search, of the baselines' table."""
    figure, axes = panel("GMACs per image")
    points: dict[str, tuple[float, float]] = {}
    for number, (title, short) in enumerate(SHORT.items()):
        for row in results["tables"]["baselines"]["rows"]:
            if row["title"] == title and row["seeds"]:
                points[short] = row["gmacs"], 100 * row["trained mAP"]
                axes.plot(*points[short], color=f"C{number}", marker="o", markersize=9)
    axes.set_xlim(0.05, 0.4)
    name_beside(axes, points, 0.4)
    return figure


def main() -> None:
    for path in QUOTING:
        page = path.read_text("utf-8")
        if filled(page) != page:
            write_file(path, filled(page))
    page = "\n".join(path.read_text("utf-8") for path in PAGES)
    for path in sorted((DOCS / "results").glob("market-*.json")):
        results = json.loads(path.read_text())
        for name, draw in (("curves", curves), ("costs", costs)):
            picture = path.with_name(f"{path.stem}-{name}.png")
            if picture.name in page:
                with atomic_path(picture) as partial:
                    draw(results).savefig(partial, dpi=110)
                print(picture.relative_to(DOCS))


if __name__ == "__main__":
    main()
