"""What a run records: JSON lines, and TensorBoard."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from reidblocks._files import append_file, write_file

# JSON has no word for these; as text, every reader takes them and float(...) understands them.
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Recorder:
    """Write a run's metrics as JSON lines, and for TensorBoard where it is installed.

    ``metrics.jsonl`` has a line for each epoch, ``steps.jsonl`` one for each recorded step; the
    folder ``tensorboard`` has the same.

    Args:
        folder: the run's.
        epoch, step: how many of each were done. Records beyond them, of a run that was
            interrupted after its last checkpoint, are dropped: they will be written again.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recorder = Recorder(folder)
    ...     recorder.add_epoch({"epoch": 1, "step": 30, "loss": torch.tensor(0.5)})
    ...     recorder.close()
    ...     read_records(Path(folder, "metrics.jsonl"))
    [{'epoch': 1, 'step': 30, 'loss': 0.5}]
    """

    def __init__(self, folder: str | Path, epoch: int = 0, step: int = 0) -> None:
        folder = Path(folder)
        self.epochs, self.steps = folder / "metrics.jsonl", folder / "steps.jsonl"
        for path in (self.epochs, self.steps):
            if path.exists():
                trim_records(path, epoch, step)
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder / "tensorboard", purge_step=step)

    def add_epoch(self, record: dict[str, Any]) -> None:
        """Record an epoch: numbers and text by name; ``step`` says where it ended.

        Numbers and arrays of NumPy and torch are taken too; tuples are read back as lists.
        """
        self._add(self.epochs, record)

    def add_step(self, record: dict[str, Any]) -> None:
        """Record a step, as `add_epoch` does an epoch; ``step`` says which."""
        self._add(self.steps, record)

    def _add(self, path: Path, record: dict[str, Any]) -> None:
        if "step" not in record:
            raise ValueError(f"Recorder expects 'step' in a record, got {sorted(record)}")
        line = _line("Recorder", record)
        append_file(path, line)
        if self._writer is not None:
            written = _decoded(json.loads(line))
            for name, value in _scalars(written):
                self._writer.add_scalar(f"{path.stem}/{name}", value, written["step"])
            self._writer.flush()

    def close(self) -> None:
        """Close what is open."""
        if self._writer is not None:
            self._writer.close()


def _scalars(record: dict[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            found += [(f"{name}/{inner}", number) for inner, number in _scalars(value)]
        elif isinstance(value, (int, float)):
            found.append((name, float(value)))
    return found


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Add one line of JSON, which ``read_records`` reads back.

    NumPy's and torch's numbers and arrays are written as numbers and lists of them; NaN and
    infinities as the text "NaN", "Infinity" and "-Infinity", since JSON has no such numbers. As
    always in JSON, tuples become lists, and integers as keys become text.

    Args:
        path: the file, which is made where it is missing.
        record: numbers, text, None, and lists, tuples and dicts of them.

    Raises:
        TypeError: record holds anything else; it is named, and nothing is written.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_record(f"{folder}/a.jsonl", {"loss": torch.tensor(0.5), "mAP": float("nan")})
    ...     read_records(f"{folder}/a.jsonl")
    [{'loss': 0.5, 'mAP': nan}]
    """
    append_file(path, _line("append_record", record))


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Return every whole record of a file; lines truncated by an interruption are skipped.

    The texts "NaN", "Infinity" and "-Infinity" are read as the numbers they stand for.
    """
    records = []
    for line in Path(path).read_text("utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(_decoded(record))
    return records


def trim_records(path: str | Path, epoch: int, step: int | None = None) -> None:
    """Keep what was recorded up to ``epoch`` and ``step``: a resumed run writes the rest again."""
    kept = [
        record
        for record in read_records(path)
        if record.get("epoch", 0) <= epoch and (step is None or record.get("step", 0) <= step)
    ]
    write_file(path, "".join(_line("trim_records", record) for record in kept))


def _line(caller: str, record: dict[str, Any]) -> str:
    if not isinstance(record, dict):
        raise TypeError(f"{caller} expects a record as a dict, got {type(record).__name__}")
    try:
        return json.dumps(_encoded(caller, record, "record"), allow_nan=False) + "\n"
    except RecursionError:
        raise TypeError(
            f"{caller} expects a record of some levels, got one that holds itself or is nested "
            "too deeply; nothing was written"
        ) from None


def _encoded(caller: str, value: Any, where: str) -> Any:
    """Turn a value into what JSON has, or name the place of what JSON has not."""
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy and torch
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encoded(caller, inner, f"{where}[{n}]") for n, inner in enumerate(value)]
    if isinstance(value, dict):
        made = {}
        for key, inner in value.items():
            plain = key.tolist() if hasattr(key, "tolist") else key
            if isinstance(plain, bool) or not isinstance(plain, (str, int)):
                raise TypeError(
                    f"{caller} expects text or whole numbers as the keys of {where}, got {key!r}"
                )
            made[str(plain)] = _encoded(caller, inner, f'{where}["{plain}"]')
        return made
    raise TypeError(
        f"{caller} cannot write {where}, of type {type(value).__qualname__}: JSON has numbers, "
        "text, None, lists and dicts. Convert it to one of these, a path with str(...)"
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value
