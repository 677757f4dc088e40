"""The folder of a run: begun, and found again."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from checkpoint import load_checkpoint
from config import PRESETS, MDPRConfig, from_dict, other_fields, read_json, settings
from reidblocks.training import describe_environment, write_file


def begin_run(run: Path, config: MDPRConfig, start: Path | None) -> None:
    """Make the run's folder; one that holds a run already is not written over."""
    expect_no_run(run)
    run.mkdir(parents=True, exist_ok=True)
    note_environment(run, 0, start)
    write_json(run / "config.json", dataclasses.asdict(config))  # last: now there is a run


def expect_no_run(run: Path) -> None:
    """Raise if the folder holds a run, or is none."""
    if (run / "config.json").exists():
        raise FileExistsError(f"{run} holds a run already; name another --out, or --resume {run}")
    if run.exists() and not run.is_dir():
        raise FileExistsError(f"{run} is a file; name a folder with --out")


def note_environment(run: Path, step: int, start: Path | None = None) -> None:
    """Add to environment.json under what the run begins, or goes on at a step."""
    path = run / "environment.json"
    before = read_json(path) if path.exists() else []
    here = describe_environment(Path(__file__).parent)
    write_json(path, [*before, {"step": step, "start": start and str(start.resolve()), **here}])


def find_run(
    resume: Path, changed: Mapping[str, Any], device: torch.device
) -> tuple[Path, MDPRConfig, dict[str, Any], Path | None]:
    """Find a run by its folder or a checkpoint in it.

    Returns:
        its folder; its configuration; its newest state, {} where it was cut off before the first
        was saved; and the checkpoint that it then starts from, if it was told one.
    """
    run = resume.parent if resume.is_file() else resume
    file, start = run / "config.json", None
    set_as = from_dict(read_json(file)) if file.exists() else None
    try:
        state = load_checkpoint(resume, device)
        config = from_dict(state["config"])
    except FileNotFoundError as error:
        if set_as is None:
            raise FileNotFoundError(
                f"{run} holds no run to go on with: neither a checkpoint nor config.json"
            ) from error
        state, config = {}, set_as
        told = read_json(run / "environment.json")[0]["start"]
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
        raise ValueError(
            f"--resume goes on as the run was set: {told}. Leave those out, "
            "or train its network on with --start"
        )
    movable = {name: fields[name] for name in settings("movable") if name in fields}
    return run, dataclasses.replace(config, **movable), state, start


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    write_file(path, json.dumps(value, indent=2) + "\n")
