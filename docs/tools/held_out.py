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

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/mdpr"))
from config import settings

RECORD = Path(__file__).parents[1] / "results" / "held-out.json"
Row = dict[str, Any]
OMITTED = {*settings("movable"), "eval_every"}  # they change no result
# Settings that make a column of a table where its rows differ in them, and what it is called there.
COLUMNS = {
    "backbone": "backbone",
    "network": "network",
    "embed_dim": "M",
    "circle": "circle loss over",
    "images": "batch",
    "lr": "`--lr`",
    "seed": "seed",
    "warmup_steps": "warm-up",
    "epochs": "epochs",
}
POINTS = ("mAP", "rank-1")
WORDS = {
    "timm:tf_efficientnet_lite0": "EfficientNet-Lite0",
    "mobilenet_v2": "MobileNetV2",
    "bnneck": "BNNeck baseline",
    "mdpr": "MDPR",
    "pair": "pairs",
    "class": "classes",
}


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
    tested, shown = [each["epoch"] for each in curve if "mAP" in each], shown_epochs(config)
    if not {*shown} <= {*tested}:
        raise SystemExit(
            f"{run.name} lacks a test after epochs {shown}, it has {tested}: finish it with "
            f"train.py --resume {run}, or train with another --eval-every"
        )
    kept = {name: value for name, value in config.items() if name not in OMITTED}
    row = {
        "settings": kept | {"weights": Path(config["weights"] or "").name},
        "machine": {
            "processor": here["machine"]["processor"],
            "threads": here["machine"]["threads"],
            "torch": here["versions"]["torch"],
        },
        "curve": curve,
    }
    shares = [
        {"step": step["step"]} | {k: round(v, 5) for k, v in step["gradient_shares"].items()}
        for step in read_records(run / "steps.jsonl")
        if "gradient_shares" in step
    ]
    return row | ({"gradient_shares": shares} if shares else {})


def shown_epochs(settings: Row) -> list[int]:
    return [settings["epochs"] // 2, settings["epochs"]]


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
    labels = [[cell(row["settings"], name) for name in shown] for row in rows]
    if any(label in labels[:at] for at, label in enumerate(labels)):
        raise ValueError(f"rows look alike, as {shown} do not tell them apart; add to COLUMNS")
    for row, label in zip(rows, labels, strict=True):
        searched = [scores(row, epoch) for epoch in shown_epochs(row["settings"])]
        lines.append([*label, *searched, f"{row['curve'][-1]['loss']:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", help="a name, as the comment of a page has it")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of train.py")
    told = parser.parse_args()
    tables = json.loads(RECORD.read_text("utf-8"))["tables"] if RECORD.exists() else {}
    rows = tables.setdefault(told.table, {"kind": "held-out", "rows": []})["rows"]
    for row in map(recorded, told.runs):
        same = (n for n, old in enumerate(rows) if old["settings"] == row["settings"])
        at = next(same, len(rows))
        rows[at : at + 1] = [row]
    write_file(RECORD, json.dumps({"tables": tables}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
