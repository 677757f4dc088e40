"""Record runs on held-out people; results.py makes the tables of `docs/results/held-out.json`.

    python docs/tools/held_out.py TABLE RUN...

RUN is a finished folder of train.py, and replaces a recorded run of the same settings in TABLE.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from reidblocks.training import read_records, write_file

RECORD = Path(__file__).parents[1] / "results" / "held-out.json"
Row = dict[str, Any]
ELSEWHERE = {"data_root", "weights", "eval_every", "gradient_shares"}  # change no result
# Settings that make a column of a table where its rows differ in them, and what it is called there.
COLUMNS = {
    "backbone": "backbone",
    "network": "network",
    "embed_dim": "M",
    "circle": "circle loss over",
    "images": "batch",
    "lr": "`--lr`",
    "warmup_steps": "warm-up",
    "epochs": "epochs",
}
POINTS = ("mAP", "rank-1")
WORDS = {"bnneck": "BNNeck baseline", "mdpr": "MDPR", "pair": "pairs", "class": "classes"}


def recorded(run: Path) -> Row:
    """Read what a run was and how it went."""
    config = json.loads((run / "config.json").read_text("utf-8"))
    here = json.loads((run / "environment.json").read_text("utf-8"))[-1]
    curve = []
    for each in read_records(run / "metrics.jsonl"):
        point = {"epoch": each["epoch"]}
        if train := each.get("train"):
            diversity = sum(value for name, value in train.items() if "diversity" in name)
            point |= {"loss": round(train["total"], 3)}
            point |= {"diversity": round(diversity, 3)} if diversity else {}
        scores = each.get("test", {})
        curve.append(point | {name: round(scores[name], 5) for name in POINTS if name in scores})
    last, epochs = curve[-1]["epoch"], config["epochs"]
    if last != epochs or not all(name in curve[-1] for name in POINTS):
        raise SystemExit(
            f"{run.name} is not finished: it ends after "
            f"epoch {last} of {epochs}; finish it first: train.py --resume {run}"
        )
    row = {
        "settings": {name: value for name, value in config.items() if name not in ELSEWHERE},
        "machine": {
            "processor": here["machine"]["processor"],
            "threads": here["machine"]["threads"],
            "torch": here["versions"]["torch"],
        },
        "curve": curve,
    }
    steps = read_records(run / "steps.jsonl") if (run / "steps.jsonl").exists() else []
    shares = [
        {"step": each["step"], **each["gradient_shares"]}
        for each in steps
        if "gradient_shares" in each
    ]
    return row | ({"gradient_shares": shares} if shares else {})


def table(rows: list[Row]) -> str:
    """Write a table of runs: the settings in which they differ, and how they searched."""

    def cell(settings: Row, name: str) -> str:
        if name == "images":
            return f"{settings['identities']}×{settings[name]}"
        if name == "embed_dim" and settings["network"] == "bnneck":
            return ""
        if name == "lr":
            digits, exponent = f"{settings[name]:e}".split("e")
            return f"{float(digits):g}e{int(exponent)}"
        return WORDS.get(settings[name], f"{settings[name]}")

    def scores(row: Row, epoch: int) -> str:
        (point,) = (each for each in row["curve"] if each["epoch"] == epoch)
        return f"{100 * point['mAP']:.1f} / {100 * point['rank-1']:.1f}"

    known = [name for name in COLUMNS if all(name in row["settings"] for row in rows)]
    shown = [name for name in known if len({row["settings"][name] for row in rows}) > 1]
    lines = [
        [*(COLUMNS[name] for name in shown), "mAP / rank-1 half way", "at the end", "last loss"]
    ]
    lines.append([*("---" for _ in shown), "--:", "--:", "--:"])
    for row in rows:
        epochs = row["settings"]["epochs"]
        lines.append(
            [
                *(cell(row["settings"], name) for name in shown),
                scores(row, epochs // 2),
                scores(row, epochs),
                f"{row['curve'][-1]['loss']:.1f}",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", help="a name, as the comment of a page has it")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of train.py")
    told = parser.parse_args()
    tables = json.loads(RECORD.read_text("utf-8"))["tables"] if RECORD.exists() else {}
    rows = tables.setdefault(told.table, {"kind": "held-out", "rows": []})["rows"]
    for row in map(recorded, told.runs):
        places = [at for at, old in enumerate(rows) if old["settings"] == row["settings"]]
        rows[slice(places[0], places[0] + 1) if places else slice(len(rows), None)] = [row]
    write_file(RECORD, json.dumps({"tables": tables}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
