"""Write the tables, numbers and pictures of the results from the committed files.

    python docs/tools/results.py

Each results file in docs/results/ is the results.json of a folder of
examples/mdpr/ablation/ablate.py, and published.json is what benchmarks/published.py writes. What
stands between `<!-- FILE TABLE -->` and `<!-- end -->` on a page is that table, without the rows
that were not run; measured.py makes the tables of benchmarks. What stands between
`<!-- FILE TABLE "ROW" METRIC -->` and `<!-- / -->` is that metric of that row in percent, so that a
sentence cannot differ from its table.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from reidblocks.training import atomic_path, write_file

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent / "examples/mdpr" / part) for part in ("", "ablation")]
sys.path.insert(0, str(Path(__file__).parent))
import measured  # noqa: E402 these are found by the paths above

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
        rows = [row for row in table["rows"] if row["seeds"]]
        return f"{found[1]}\n{cut(markdown(table | {'rows': rows}))}\n{found[4]}"

    def quote(found: re.Match[str]) -> str:
        tables = json.loads((DOCS / "results" / f"{found[2]}.json").read_text())["tables"]
        (row,) = (row for row in tables[found[3]]["rows"] if row["title"] == found[4])
        return f"{found[1]}{100 * row[f'trained {found[5]}']:.1f}{found[6]}"

    return NUMBER.sub(quote, PLACE.sub(write, page))


def cut(table: str) -> str:
    """Make two tables of a wide one, what was found and what it costs, so that each fits."""
    table = table.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    rows = [line.strip("|").split("|") for line in table.strip().splitlines()]
    first = [cell.strip() for cell in rows[0]].index("values")  # of the columns of costs
    rows[0][first] = " dimensions "
    parts = (row[:first] for row in rows), (row[:1] + row[first:] for row in rows)
    return "\n\n".join("\n".join(f"|{'|'.join(row)}|" for row in part) for part in parts) + "\n"


def published(rows: list[dict[str, Any]]) -> str:
    """Write the table of published checkpoints, in percent."""
    headings = ["", "distance", "untrained mAP / rank-1", "mAP", "rank-1"]
    headings += ["dimensions", "GMACs", "M parameters"]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for row in rows:
        figures = [
            [f"{100 * row[when][name]:.2f}" for name in ("mAP", "rank-1")]
            for when in ("untrained", "trained")
        ]
        cells = [row["title"], row["distance"], " / ".join(figures[0]), *figures[1]]
        cells += [str(row["size"]), f"{row['gmacs']:.3f}", f"{row['parameters'] / 1e6:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curves(results: dict[str, Any]) -> Figure:
    """Draw mAP and rank-1 over the epochs, of the baselines' table.

    Each row's line is the mean of its seeds, the band how far they reach.
    """
    runs: dict[str, list[dict[str, Any]]] = {
        row["title"]: [] for row in results["tables"]["baselines"]["rows"] if row["seeds"]
    }
    for run in results["runs"]:
        if run["title"] in runs:
            runs[run["title"]].append(run)
    figure = Figure((10, 4.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("mAP", "rank-1"), strict=True):
        for title, seeds in runs.items():
            points: dict[int, list[float]] = {}
            for point in (point for run in seeds for point in run["curve"] if name in point):
                points.setdefault(point["epoch"], []).append(100 * point[name])
            label = f"{title} ({len(seeds)} seeds)" if len(seeds) > 1 else title
            means = [statistics.mean(values) for values in points.values()]
            (line,) = axes.plot(list(points), means, marker="o", markersize=3, label=label)
            low, high = (list(map(each, points.values())) for each in (min, max))
            axes.fill_between(list(points), low, high, color=line.get_color(), alpha=0.2)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name}, %")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def costs(results: dict[str, Any]) -> Figure:
    """Draw mAP against what it costs to search, of the tables of baselines, M and features."""
    shown: dict[tuple[float, ...], dict[str, Any]] = {}  # many tables have the whole MDPR
    tables = [results["tables"][name] for name in ("baselines", "M", "features")]
    for row in (row for table in tables for row in table["rows"]):
        if row["seeds"]:
            shown.setdefault((row["trained mAP"], row["gmacs"], row["size"]), row)
    palette = colormaps["tab20"].colors
    figure = Figure((11, 5.6), layout="constrained")
    axis = {"gmacs": "GMACs per image", "parameters": "parameters, millions", "size": "dimensions"}
    for axes, (name, label) in zip(figure.subplots(1, 3, sharey=True), axis.items(), strict=True):
        for number, row in enumerate(shown.values()):
            cost = row[name] / (1e6 if name == "parameters" else 1)
            look = {"color": palette[number % 20], "marker": "os^"[number // 20]}
            axes.plot(cost, 100 * row["trained mAP"], linestyle="", label=row["title"], **look)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mAP, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
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
