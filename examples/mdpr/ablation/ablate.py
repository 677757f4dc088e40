"""Run the paper's ablations and the baselines.

    python examples/mdpr/ablation/ablate.py --tiny         # every table, on synthetic people
    python examples/mdpr/ablation/ablate.py --studies baselines --seeds 0 1 2 --out runs/real \\
        --dataset market1501 --data-root DIR --backbone mobilenet_v2 --weights FILE ...

Every field of the configuration is a flag, as of train.py, and sets the base that all rows share.
Each run is a folder of train.py in OUT: one that was cut short goes on where it was, and one that
several tables need is run once. Several processes may work on one OUT. After each run
OUT/results.json and OUT/results.md hold the tables so far.
"""

import dataclasses
import json
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts' folder
import train
from commands import parse
from comparison import Finished, markdown, table_of
from config import MDPRConfig, from_dict, other_fields, read_json
from measure import OUTCOME, key, measure
from reidblocks.data import synthetic_people
from reidblocks.training import message_of, run_script, write_file
from tables import Row, Study, studies


class Run(NamedTuple):
    """One training of the queue."""

    folder: Path
    config: MDPRConfig
    changes: dict[str, Any]
    features: tuple[tuple[str, ...], ...]  # sets that some table asks for


def main(arguments: Sequence[str] | None = None) -> None:
    base, options = parse(
        sys.argv[1:] if arguments is None else arguments,
        studies={"nargs": "+", "default": None, "metavar": "NAME", "help": "tables; all if none"},
        seeds={"nargs": "+", "type": int, "default": [0], "help": "a run of each row with each"},
        out={"type": Path, "default": Path("runs/ablations"), "help": "folder of all runs"},
        tiny={"action": "store_true", "help": "drawn people and minutes for everything"},
        list={"action": "store_true", "help": "print the queue, and run nothing"},
        tables={"action": "store_true", "help": "write the tables again, and run nothing"},
    )
    changed = {n: v for n, v in options["changed"].items() if n not in ("preset", "seed")}
    if "seed" in options["flags"]:
        raise ValueError("--seed has no effect here: name the seeds of the rows with --seeds")
    if options["tiny"] and "preset" in options["changed"]:
        raise ValueError("--tiny is a base of its own: leave out --preset")
    if (base.network, base.branches) != ("mdpr", "both"):
        raise ValueError("the base of the tables is MDPR: leave out --network and --branches")
    if options["tiny"]:
        base = dataclasses.replace(tiny_base(options["out"]), **changed)
    known = studies(base)
    if unknown := sorted(set(options["studies"] or ()) - set(known)):
        raise ValueError(f"--studies: no table {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {name: known[name] for name in options["studies"] or known}
    queue = plan(base, chosen, options["seeds"], options["out"])
    if options["list"]:
        for run in queue:
            print(f"{'done' if is_done(run) else 'open':6}{run.folder.name}")
        return
    failed = [] if options["tables"] else work(queue)
    print(write_tables(options["out"], base, known, options["seeds"], asked=set(chosen)))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def tiny_base(out: Path) -> MDPRConfig:
    """Give a base that learns something in seconds."""
    people = synthetic_people(
        out / "people", num_train_identities=24, num_test_identities=12, images_per_camera=3,
        num_cameras=3, size=(64, 32),
    )  # fmt: skip
    flags = (
        "--preset synthetic --dataset market1501 --height 64 --width 32 --workers 0 "
        "--embed-dim 16 --epochs 8 --eval-every 8 --warmup-steps 4 --no-pictures"
    )
    return parse([*flags.split(), "--data-root", str(people)])[0]


def plan(base: MDPRConfig, chosen: dict[str, Study], seeds: Sequence[int], out: Path) -> list[Run]:
    """List every run once, all of the first seed before the second."""
    features: dict[str, set[tuple[str, ...]]] = {}
    changes: dict[str, dict[str, Any]] = {}
    for row in (row for study in chosen.values() for row in study.rows):
        name = run_name(base, row)
        features.setdefault(name, {()}).add(row.features)
        changes[name] = differences(base, row)
    return [
        Run(out / f"{name}-seed{seed}", dataclasses.replace(base, seed=seed, **changes[name]),
            changes[name], tuple(sorted(sets)))
        for seed in seeds for name, sets in features.items()
    ]  # fmt: skip


def differences(base: MDPRConfig, row: Row) -> dict[str, Any]:
    """Give what a row changes that is not so in the base already."""
    return {name: v for name, v in sorted(row.changes.items()) if getattr(base, name) != v}


def run_name(base: MDPRConfig, row: Row) -> str:
    """Name a run by what it changes: rows of the same settings share it."""
    return "-".join(f"{name}_{value}" for name, value in differences(base, row).items()) or "base"


def is_done(run: Run) -> bool:
    """Whether a run is finished and measured by all that the tables ask for."""
    file = run.folder / OUTCOME
    measured = read_json(file)["features"] if file.is_file() else {}
    return bool(measured) and {key(each) for each in run.features} <= {*measured}


def work(queue: Sequence[Run]) -> list[str]:
    """Go through the queue; give the names of the runs that failed."""
    failed = []
    for number, run in enumerate(queue, start=1):
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{run.folder}.lock", timeout=0):  # until this process ends, however
                if not is_done(run):
                    print(f"run {number} of {len(queue)}: {run.folder.name}", flush=True)
                    carry_out(run)
        except Timeout:
            print(f"{run.folder.name}: another process is at it")
        except Exception as error:  # the other runs of the queue are worth no less
            traceback.print_exc()
            print(f"{run.folder.name}: {message_of(error)}", file=sys.stderr)
            failed.append(run.folder.name)
    return failed


def carry_out(run: Run) -> None:
    """Train, or train on, and measure."""
    if not all((run.folder / name).exists() for name in ("config.json", "last.pt")):
        shutil.rmtree(run.folder, ignore_errors=True)  # cut short before it was a run
    if begun := run.folder.exists():
        there = from_dict(read_json(run.folder / "config.json"))
        asked = dataclasses.asdict(run.config)
        del asked["weights"]  # a place on one machine
        if other := other_fields(asked, dataclasses.asdict(there)):
            raise ValueError(
                f"{run.folder} holds a run with other settings of {', '.join(other)}; "
                "give the same flags as before, or another --out"
            )
    if not (run.folder / "metrics.json").exists():
        train.launch(run.config, **{"resume" if begun else "out": run.folder})
    measure(run.folder, run.features, run.changes)


LEGEND = """In percent: untrained → trained, where there are several seeds their mean ± standard
deviation. Difference: in mAP, against the reference over the same seeds, with its 95% interval by
bootstrap over the test's identities. Cost: GMACs of an image, dimensions of its embedding."""


def write_tables(
    out: Path, base: MDPRConfig, known: dict[str, Study], seeds: Sequence[int], asked: set[str]
) -> str:
    """Write results.json and results.md from the runs in ``out``; give the text of the latter."""
    tables: dict[str, Any] = {}
    text = [
        f"{base.dataset}, {base.backbone}, {base.height}×{base.width}, {base.epochs} epochs of "
        f"batches of {base.identities}×{base.images}.\n\n{LEGEND}\n"
    ]
    finished: dict[str, Finished] = {}
    titles: dict[str, str] = {}  # of each run: that of the first row it stands in
    for name, study in known.items():
        of_rows: dict[str, list[Finished]] = {row.title: [] for row in study.rows}
        for row in study.rows:
            for run in filter(is_done, plan(base, {name: Study("", (row,), 0)}, seeds, out)):
                titles.setdefault(run.folder.name, row.title)
                finished.setdefault(run.folder.name, Finished(run.folder))
                of_rows[row.title].append(finished[run.folder.name])
        if name in asked or any(of_rows.values()):
            tables[name] = table_of(study, of_rows)
            text.append(f"### {study.title}\n\n{markdown(tables[name])}")
    runs = [{"title": titles[name], **finished[name].outcome} for name in sorted(finished)]
    content = json.dumps({"tables": tables, "runs": runs}, indent=1, ensure_ascii=False)
    write_file(out / "results.json", content + "\n")
    write_file(out / "results.md", "\n".join(text))
    return "\n".join(text)


if __name__ == "__main__":
    run_script(main)
