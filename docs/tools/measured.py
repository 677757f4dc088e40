"""Make the tables of the pages on speed from benchmarks/results; results.py puts them there.

`<!-- FILE TABLE -->` on a page, FILE a record, is `TABLES[FILE, TABLE]`. Ratios are of medians.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
Record = dict[str, Any]


def record(name: str) -> Record:
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table of Markdown whose first column is of text, the others of numbers."""
    lines = [list(headings), *map(list, rows)]
    lines.insert(1, ["---", *["--:"] * (len(lines[0]) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def short(number: float) -> str:
    """Write two digits or all before the point: 0.31, 4.0, 18, 1,057."""
    return (
        f"{number:.2f}"
        if number < 0.995
        else f"{number:.1f}"
        if number < 9.95
        else f"{number:,.0f}"
    )


def times(number: float) -> str:
    return f"{number:.2f} ×"


def median(each: Record) -> float:
    return float(each["median"])


PROGRAMS = {
    "ours": "ours",
    "chunked": "in chunks",
    "plain": "plain",
    "pytorch_metric_learning": "pytorch-metric-learning",
}


MDPR_TERMS = {
    "MDPR, 14 pair terms, B=64": "14 pair terms",
    "MDPR, circle loss over 751 classes, B=64": "with the circle loss over 751 classes",
}
PLAIN = ("plain", "folded")
FEATURES = {
    "hard+soft+fusion": "hard, soft, fusion",
    "hard+soft": "hard, soft",
    "hard": "hard",
    "soft": "soft",
    "hard_g5": "`hard_g5` alone",
}


def losses_measure(found: Record, key: str, title: str) -> str:
    rows = []
    for name, row in found.items():
        kind, _, size = name.partition(", B=")
        if size and key in row and "chunked" in row["milliseconds"]:
            values = (row[key][program] for program in PROGRAMS)
            numbers = (median(each) if isinstance(each, dict) else each for each in values)
            rows.append([f"{kind}, B = {int(size):,}", *map(short, numbers)])
    return table([title, *PROGRAMS.values()], rows)


def losses_memory(found: Record) -> str:
    keeps = losses_measure(found, "keeps, MB", "keeps, MB")
    return f"{keeps}\n{losses_measure(found, 'peak_mb_above_inputs', 'peak, MB')}"


def losses_time(found: Record) -> str:
    written = losses_measure(found, "milliseconds", "ms")
    for name, title in MDPR_TERMS.items():
        spent = {
            program: short(median(each)) for program, each in found[name]["milliseconds"].items()
        }
        written += f"| MDPR, {title}, B = 64 | {spent['ours']} | | {spent['plain']} | |\n"
    return written


def losses_operators(found: Record) -> str:
    names = {"circle, B=64": "circle", "triplet, B=64": "triplet"}
    names |= {name: f"MDPR, {title}" for name, title in MDPR_TERMS.items()}
    programs = ("ours", "plain", "pytorch_metric_learning")
    rows = []
    for name, title in names.items():
        counts = found[name]["operators"]
        rows.append([title, *(f"{counts[one]:,}" if one in counts else "" for one in programs)])
    return table(["operators", *(PROGRAMS[program] for program in programs)], rows)


def step(found: Record) -> str:
    """Write time and peak memory of a training step, and their ratio to the reference's."""
    titles = {"paper": "reference implementation", "ours": "ours"}
    titles["ours, checkpointed"] = "ours, checkpointed"
    tables = []
    for heading, key in (("time, ms", "milliseconds"), ("peak, MB", "peak_mb")):
        rows = [[title] for title in titles.values()]
        for precision in ("float32", "bfloat16"):
            part = found[precision][key]
            values = [part[name] if key == "peak_mb" else median(part[name]) for name in titles]
            for row, value in zip(rows, values, strict=True):
                ratio = f" ({times(value / values[0])})" if value != values[0] else ""
                row.append(f"{value:,.0f}{ratio}")
        tables.append(table([heading, "float32", "bfloat16"], rows))
    return "\n".join(tables)


def inference(found: Record) -> str:
    def cell(precision: str, name: str, program: str) -> str:
        spent = median(found[precision][name]["milliseconds"][program])
        return f"{spent:.1f}" if spent < 100 else f"{spent:,.0f}"

    rows = []
    for name, title in FEATURES.items():
        kinds = [(precision, how) for precision in ("float32", "bfloat16") for how in PLAIN]
        rows.append([title, *(cell(kind, name, how) for kind, how in kinds)])
    return table(["ms", "float32", "folded", "bfloat16", "folded"], rows)


def inference_size(found: Record) -> str:
    rows = []
    for name, title in FEATURES.items():
        part = found["float32"][name]
        macs = (f"{part['GMACs'][how]:.1f}" for how in PLAIN)
        rows.append([title, *macs, *(f"{part['peak_mb'][how]:.0f}" for how in PLAIN)])
    return table(["", "GMACs per image", "folded", "peak MB", "folded"], rows)


def throughput(found: Record) -> str:
    rows = []
    for row in found["rows"]:
        for batch in (1, 16):
            spent = {name: median(t) for name, t in row[f"batch {batch}, milliseconds"].items()}
            faster = (times(spent["torch"] / spent[n]) for n in ("folded", "compiled", "onnx"))
            name = f"`{row['backbone']}`, {row['threads']}, {batch}"
            rows.append([name, f"{1000 * batch / spent['torch']:.1f}", *faster])
    headings = ["network, threads, batch", "torch, images/s", "folded", "compiled", "ONNX Runtime"]
    return table(headings, rows)


def precision(found: Record) -> str:
    rows = []
    for name, row in found.items():
        if isinstance(row, dict) and "mAP" in row:
            change = f"{row['change of mAP, points']:+.2f}".replace("-", "−")
            size = f"{row['MB of the file']:.0f}" if "MB of the file" in row else ""
            rows.append([name, f"{row['mAP']:.2%}", change, f"{row['seconds']:.1f}", size])
            if name.startswith("untrained"):
                rows[-1][2] = ""
    return table(["", "mAP", "change, points", "seconds", "MB of the file"], rows)


def parts(found: Record) -> str:
    rows = []
    for name in ("folded, float32", "folded, bfloat16"):
        spent = found[name]["milliseconds of parts"]
        fusion = sum(value for part, value in spent.items() if part.startswith("fusion"))
        alone = found[name]["milliseconds of convolutions alone"]
        fractions = (f"{part / spent['all']:.0%}" for part in (fusion, spent["the rest"]))
        rows.append([name, f"{spent['all']:,.0f}", f"{alone:,.0f}", *fractions])
    headings = ["", "network, ms", "its convolutions alone, ms", "fusion", "other than layers"]
    return table(headings, rows)


def summary(losses: Record) -> str:
    """Write how many times as fast the library is as what it is compared with, on a CPU."""
    sizes, rows = (64, 256, 1024, 4096), []
    for kind in ("circle", "triplet"):
        for other in ("pytorch_metric_learning", "plain"):
            spent = [losses[f"{kind}, B={size}"]["milliseconds"] for size in sizes]
            ratios = [times(median(each[other]) / median(each["ours"])) for each in spent]
            rows.append([f"{kind} loss vs. {PROGRAMS[other]}", *ratios])
    first = table(["times as fast", *(f"B = {size:,}" for size in sizes)], rows)
    rows = []
    for name, title in MDPR_TERMS.items():
        spent = losses[name]["milliseconds"]
        ratio = median(spent["plain"]) / median(spent["ours"])
        rows.append([f"MDPR's losses, {title}, vs. plain", times(ratio)])
    for kind in ("float32", "bfloat16"):
        spent = record("mdpr_step")[kind]["milliseconds"]
        ratio = median(spent["paper"]) / median(spent["ours"])
        rows.append([f"MDPR, a training step, {kind}, vs. reference", times(ratio)])
    ratio = record("mdpr_inference")["ratios"]["folded, float32 over paper, float32"]
    rows.append(["MDPR, inference, folded, float32, vs. reference", times(ratio)])
    spent = record("evaluation_rerank")["rerank"]["seconds"]
    ratio = median(spent["torchreid"]) / median(spent["ours"])
    rows.append(["re-ranking 3,368 × 15,913 vs. torchreid", times(ratio)])
    return first + "\n" + table(["", "times as fast"], rows)


TABLES: dict[tuple[str, str], Callable[[Record], str]] = {
    ("losses", "time"): losses_time,
    ("losses", "operators"): losses_operators,
    ("losses", "memory"): losses_memory,
    ("losses", "summary"): summary,
    ("mdpr_step", "step"): step,
    ("mdpr_step_gpu", "step"): step,
    ("mdpr_inference", "time"): inference,
    ("mdpr_inference", "size"): inference_size,
    ("mdpr_inference_gpu", "time"): inference,
    ("deploy", "throughput"): throughput,
    ("precision", "mAP"): precision,
    ("roofline", "parts"): parts,
}


def made(name: str, kind: str) -> str | None:
    """Return a table, or None where it is not one of these."""
    write = TABLES.get((name, kind))
    return write and write(record(name))
