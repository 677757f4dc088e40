"""Checkpoints and records of a run, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside ``path`` first and rename: a run killed meanwhile leaves the older file."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of ``train.py``; nothing in it is ever executed."""
    if path.is_dir():
        path = path / "last.pt"
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; train.py writes last.pt and best.pt")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint of train.py, or is cut short: {error}"
        ) from error
    if not isinstance(state, dict) or not {"config", "model", "epoch"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of train.py: it has no config, model and epoch")
    return state


def trim_records(path: Path, epoch: int) -> None:
    """Keep what was recorded up to ``epoch``: a run that resumes writes the rest again."""
    kept = [record for record in read_records(path) if record["epoch"] <= epoch]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
    partial.replace(path)


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read every whole line; a last one cut short by a kill is left out."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
