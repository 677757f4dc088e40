"""Tables of finished runs: mean and spread over seeds, and whether a difference is chance."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from measure import OUTCOME, QUERIES, key
from reidblocks.evaluation import DropReport, Evaluation, compare
from tables import Row, Study

MAX_RANK = 50


class Finished:
    """One finished run, as its folder tells it."""

    def __init__(self, run: Path) -> None:
        self.outcome: dict[str, Any] = json.loads((run / OUTCOME).read_text())
        self._path = run / QUERIES

    @property
    def seed(self) -> int:
        return int(self.outcome["seed"])

    def queries(self, features: Sequence[str]) -> dict[str, torch.Tensor]:
        """Every query's own figures, searching with these features."""
        loaded: dict[str, dict[str, torch.Tensor]] = torch.load(self._path, weights_only=True)
        return loaded[key(features)]


def over_seeds(queries: Sequence[Mapping[str, torch.Tensor]]) -> Evaluation:
    """Give each query the mean of its figures over several runs.

    A query's rank becomes the share of runs that match it within k, as for a single-shot draw.
    """
    precision, penalty = (
        torch.stack([run[name] for run in queries]).mean(0)
        for name in ("average_precision", "inverse_negative_penalty")
    )
    ranks = torch.stack([run["first_match_rank"] for run in queries])  # (seeds, Q)
    within = ranks[:, :, None] <= torch.arange(1, MAX_RANK + 1)
    matched = within.double().mean(0).masked_fill(precision.isnan()[:, None], torch.nan)
    return Evaluation(
        average_precision=precision,
        inverse_negative_penalty=penalty,
        first_match_rank=ranks.mean(0),
        matched=matched,
        cmc=matched.nanmean(0),
        query_ids=queries[0]["query_ids"],
        report=DropReport(len(precision), ()),
    )


def table_of(study: Study, runs: Mapping[str, Sequence[Finished]]) -> dict[str, Any]:
    """Work out a table; ``runs`` holds each row's finished runs under its title."""
    reference = study.rows[study.reference]
    rows = [
        _row(row, runs.get(row.title, ()), reference, runs.get(reference.title, ()))
        for row in study.rows
    ]
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


HEADINGS = (
    "", "seeds", "untrained mAP / rank-1", "mAP", "rank-1", "mAP against the reference", "p",
    "values", "GMACs", "M parameters", "minutes",
)  # fmt: skip


def markdown(table: Mapping[str, Any]) -> str:
    """Write a table of ``table_of``: mean ± standard deviation over seeds, in percent."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    for row in table["rows"]:
        if not row["seeds"]:
            lines.append(f"| {row['title']} | not run |" + " |" * (len(HEADINGS) - 2))
            continue
        before = " / ".join(f"{100 * row[f'untrained {name}']:.1f}" for name in ("mAP", "rank-1"))
        difference, p = "reference" if row["title"] == table["reference"] else "", ""
        if found := row.get("difference mAP"):
            low, high = 100 * found["low"], 100 * found["high"]
            difference = f"{100 * found['value']:+.1f} [{low:+.1f}, {high:+.1f}]"
            p = f"{found['p_value']:.4f}"
        cells = [
            row["title"], str(len(row["seeds"])), before,
            _spread(row, "mAP"), _spread(row, "rank-1"), difference, p,
            str(row["size"]), f"{row['gmacs']:.3f}", f"{row['parameters'] / 1e6:.2f}",
            f"{row['minutes']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(row: Mapping[str, Any], name: str) -> str:
    mean = f"{100 * row[f'trained {name}']:.1f}"
    sd = row.get(f"trained {name} sd")
    return mean if sd is None else f"{mean} ± {100 * sd:.1f}"
