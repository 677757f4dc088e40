"""What a run leaves to be read: JSON lines, TensorBoard, and where it was made."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


class Recorder:
    """Write a run's figures as JSON lines, and for TensorBoard where it is installed.

    ``metrics.jsonl`` has a line for each epoch, ``steps.jsonl`` one for each recorded step; the
    folder ``tensorboard`` has the same.

    Args:
        folder: the run's.
        epoch, step: how many of each were done: what files hold beyond them, of a run that was
            cut off after its last checkpoint, is dropped, to be written again.
    """

    def __init__(self, folder: Path, epoch: int = 0, step: int = 0) -> None:
        self.epochs, self.steps = folder / "metrics.jsonl", folder / "steps.jsonl"
        for path in (self.epochs, self.steps):
            if path.exists():
                trim_records(path, epoch, step)
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder / "tensorboard", purge_step=step)

    def add_epoch(self, record: dict[str, Any]) -> None:
        """Record an epoch; ``step`` in it says where it ended."""
        self._add(self.epochs, record)

    def add_step(self, record: dict[str, Any]) -> None:
        """Record a step."""
        self._add(self.steps, record)

    def _add(self, path: Path, record: dict[str, Any]) -> None:
        append_record(path, record)
        if self._writer is not None:
            for name, value in _figures(record):
                self._writer.add_scalar(f"{path.stem}/{name}", value, record["step"])
            self._writer.flush()

    def close(self) -> None:
        """Close what is open."""
        if self._writer is not None:
            self._writer.close()


def _figures(record: dict[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            found += [(f"{name}/{inner}", number) for inner, number in _figures(value)]
        elif isinstance(value, (int, float)):
            found.append((name, float(value)))
    return found


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


def trim_records(path: Path, epoch: int, step: int | None = None) -> None:
    """Keep what was recorded up to ``epoch`` and ``step``: a resumed run writes the rest again."""
    kept = [
        record
        for record in read_records(path)
        if record.get("epoch", 0) <= epoch and (step is None or record.get("step", 0) <= step)
    ]
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write("".join(json.dumps(record) + "\n" for record in kept))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def describe_environment(folder: Path) -> dict[str, Any]:
    """Versions, machine and the commit of the code in ``folder``, to be kept beside a run.

    >>> sorted(describe_environment(Path(".")))[:4]
    ['command', 'commit', 'devices', 'machine']
    """
    return {
        "command": sys.argv,
        "commit": _commit(folder),
        "devices": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("reidblocks", "torch", "torchvision")},
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from its folder
        return None


def _commit(folder: Path) -> str | None:
    """The commit checked out, with "+" where files differ from it; None outside of git."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True, text=True, check=True, timeout=10,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" * bool(changes)
