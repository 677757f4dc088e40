"""Tables of finished runs: mean and spread over seeds, and whether a difference is chance."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from measure import OF_A_QUERY, OUTCOME, QUERIES, key
from reidblocks.evaluation import DropReport, Evaluation, compare
from tables import Row, Study


class Finished:
    """One finished run, as its folder tells it."""

    def __init__(self, run: Path) -> None:
        self.outcome: dict[str, Any] = json.loads((run / OUTCOME).read_text())
        self.seed, self._path = int(self.outcome["seed"]), run / QUERIES

    def queries(self, features: Sequence[str]) -> dict[str, torch.Tensor]:
        """Every query's own figures, searching with these features."""
        loaded: dict[str, dict[str, torch.Tensor]] = torch.load(self._path, weights_only=True)
        return loaded[key(features)]


def over_seeds(runs: Sequence[Mapping[str, torch.Tensor]]) -> Evaluation:
    """Line up the queries of several runs: ``compare`` draws an identity with all its queries."""
    every = {name: torch.cat([run[name] for run in runs]) for name in OF_A_QUERY}
    report = DropReport(len(every["query_ids"]), ())
    return Evaluation(**every, matched=None, cmc=torch.empty(0), report=report)


def table_of(study: Study, runs: Mapping[str, Sequence[Finished]]) -> dict[str, Any]:
    """Work out a table; ``runs`` holds each row's finished runs under its title."""
    reference = study.rows[study.reference]
    against = runs.get(reference.title, ())
    rows = [_row(row, runs.get(row.title, ()), reference, against) for row in study.rows]
    return {"title": study.title, "reference": reference.title, "rows": rows}


def _row(
    row: Row, runs: Sequence[Finished], reference: Row, against: Sequence[Finished]
) -> dict[str, Any]:
    result: dict[str, Any] = {"title": row.title, "seeds": sorted(run.seed for run in runs)}
    if not runs:
        return result
    own = [run.outcome["features"][key(row.features)] for run in runs]
    for part in ("untrained", "trained"):
        for name in ("mAP", "rank-1"):
            values = [figures[part][name] for figures in own]
            result[f"{part} {name}"] = statistics.mean(values)
            if len(values) > 1:
                result[f"{part} {name} sd"] = statistics.stdev(values)
    result |= {name: own[0][name] for name in ("size", "gmacs", "parameters")}
    result["parameters in training"] = runs[0].outcome["parameters_in_training"]
    result["minutes"] = statistics.mean(run.outcome["seconds"] for run in runs) / 60
    shared = {run.seed for run in runs} & {run.seed for run in against}
    if row is reference or not shared:
        return result
    first, second = (
        over_seeds([run.queries(each.features) for run in side if run.seed in shared])
        for each, side in ((reference, against), (row, runs))
    )
    differences = compare(first, second)
    result["compared over seeds"] = sorted(shared)
    for name in ("mAP", "rank-1"):
        result[f"difference {name}"] = differences[name]._asdict()
    return result


HEADINGS = "| | mAP | rank-1 | difference | cost |\n|---|---|---|---|---|\n"


def markdown(table: Mapping[str, Any]) -> str:
    """Write a table of ``table_of``, in percent: untrained → trained, mean ± deviation of seeds."""
    lines = []
    for row in table["rows"]:
        cells, number = [row["title"]] + [""] * 4, len(row["seeds"])
        if not number:
            cells[1] = "not run"
        else:
            fewer = f" ({number} seed{'s' * (number > 1)})" if number < 3 else ""
            cells[0] += fewer
            cells[1:3] = _figure(row, "mAP"), _figure(row, "rank-1")
            cells[4] = f"{row['gmacs']:.3f}, {row['size']:,}"
        if row["title"] == table["reference"]:
            cells[3] = "reference"
        elif found := row.get("difference mAP"):
            value, low, high = (100 * found[name] for name in ("value", "low", "high"))
            cells[3] = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
        lines.append(f"| {' | '.join(cells)} |\n")
    return HEADINGS + "".join(lines)


def _figure(row: Mapping[str, Any], name: str) -> str:
    sd = row.get(f"trained {name} sd")
    spread = "" if sd is None else f" ± {100 * sd:.1f}"
    return f"{100 * row[f'untrained {name}']:.1f} → {100 * row[f'trained {name}']:.1f}{spread}"
