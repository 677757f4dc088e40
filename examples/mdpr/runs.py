"""The folder of a run: begun, and found again."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from checkpoint import load_checkpoint
from config import MOVABLE, PRESETS, MDPRConfig, from_dict, other_fields
from reidblocks.training import describe_environment


def begin_run(run: Path, config: MDPRConfig, start: Path | None) -> None:
    """Make the run's folder; one that holds a run already is not written over."""
    if (run / "config.json").exists():
        raise FileExistsError(f"{run} holds a run already; name another --out, or --resume {run}")
    run.mkdir(parents=True, exist_ok=True)
    note_environment(run, 0, start)
    write_json(run / "config.json", dataclasses.asdict(config))  # last: now there is a run


def note_environment(run: Path, step: int, start: Path | None = None) -> None:
    """Add to environment.json under what the run begins, or goes on at a step."""
    path = run / "environment.json"
    before = json.loads(path.read_text()) if path.exists() else []
    here = describe_environment(Path(__file__).parent)
    write_json(path, [*before, {"step": step, "start": start and str(start.resolve()), **here}])


def find_run(
    resume: Path, changed: dict[str, Any], device: torch.device
) -> tuple[Path, MDPRConfig, dict[str, Any], Path | None]:
    """Find a run by its folder or a checkpoint in it.

    Returns:
        its folder; its configuration; its newest state, {} where it was cut off before the first
        was saved; and the checkpoint that it then starts from, if it was told one.
    """
    run = resume.parent if resume.is_file() else resume
    file, start = run / "config.json", None
    set_as = from_dict(json.loads(file.read_text())) if file.exists() else None
    try:
        state = load_checkpoint(resume, device)
        config = from_dict(state["config"])
    except FileNotFoundError as error:
        if set_as is None:
            raise FileNotFoundError(
                f"{run} holds no run to go on with: neither a checkpoint nor config.json"
            ) from error
        state, config = {}, set_as
        told = json.loads((run / "environment.json").read_text())[0]["start"]
        start = Path(told) if told else None
    if set_as is not None:
        a, b = dataclasses.asdict(set_as), dataclasses.asdict(config)
        if other := other_fields(a, b):
            told = ", ".join(f"{name} {a[name]} and {b[name]}" for name in other)
            raise ValueError(
                f"the checkpoint in {run} is of another configuration than its config.json: "
                f"{told}. Put the right one back, or train its network on with --start"
            )
    fields = {name: value for name, value in changed.items() if name != "preset"}
    preset = dataclasses.asdict(PRESETS[changed["preset"]]) if "preset" in changed else {}
    asked, own = {**preset, **fields}, dataclasses.asdict(config)
    if fixed := other_fields(asked, own):
        told = ", ".join(f"{name} {own[name]} and not {asked[name]}" for name in fixed)
        raise SystemExit(
            f"--resume goes on as the run was set: {told}. Leave those out, "
            "or train its network on with --start"
        )
    movable = {name: value for name, value in fields.items() if name in MOVABLE}
    return run, dataclasses.replace(config, **movable), state, start


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.replace(path)
