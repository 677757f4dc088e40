"""Checkpoints that are written whole or not at all, and read without running anything."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write beside ``path`` first, make sure it is on the disk, then rename.

    Whenever the process is killed, ``path`` is the older file or the new one, and whole.

    Raises:
        OSError: it cannot be written, as on a full disk; what was there before stays.
    """
    path = Path(path)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        partial.unlink(missing_ok=True)
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        free = shutil.disk_usage(path.parent).free / 1e6
        older = f"; the older {path} stays as it was" if path.exists() else ""
        raise OSError(
            f"cannot write the checkpoint {path} ({reason}; {free:,.0f} MB are free there)"
            f"{older}. Make room, then resume"
        ) from error


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a file of ``save_checkpoint`` with ``weights_only=True``: nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, or not a whole one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is no checkpoint: it is empty")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} holds more than a checkpoint does: it asks for {asked[1]}, which could "
                "run code, so it was not loaded"
            ) from error
        # The first sentence only: torch's others advise to load it unsafely.
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise ValueError(f"{path} is no checkpoint, or is cut short: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} is no checkpoint: it holds a {type(state).__name__}")
    return state


class Checkpoints:
    """The checkpoints of a run: the newest few, and the best.

    The newest are ``step-N.pt``; ``last.pt`` is another name of the newest, ``best.pt`` of the
    best (hard links, or copies where the disk has none).

    Args:
        folder: where they lie.
        keep: how many of the newest to keep, 1 or more.

    Raises:
        ValueError: keep is below 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(folder, keep=2)
    ...     for step in (10, 20, 30):
    ...         checkpoints.save({"step": step}, step, is_best=step == 10)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['best.pt', 'last.pt', 'step-20.pt', 'step-30.pt']
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"Checkpoints expects to keep 1 or more, got {keep}")
        self.folder = Path(folder)
        self.keep = keep

    def save(self, state: dict[str, Any], step: int, *, is_best: bool = False) -> None:
        """Write what there is after so many steps, and drop what is older than the newest few.

        Raises:
            OSError: it cannot be written; the older checkpoints stay.
        """
        path = self.folder / f"step-{step}.pt"
        before = [old for old in self.numbered() if int(old.stem[5:]) <= step]
        try:
            save_checkpoint(path, state)
        except OSError as error:
            if not before or before[0] == path:  # then it is said already
                raise
            raise OSError(f"{error} from {before[0]}, which is as it was") from error
        for name in ("last.pt", "best.pt") if is_best else ("last.pt",):
            _name_also(path, self.folder / name)
        # Higher ones could not be read, or the run would be there: they do not count.
        others = [old for old in before if old != path]
        for old in others[self.keep - 1 :]:
            old.unlink()

    def newest(self, device: torch.device | str = "cpu") -> tuple[dict[str, Any], Path, list[str]]:
        """The newest checkpoint that can be read, where it lies, and why newer ones cannot be.

        Where neither the numbered ones nor ``last.pt`` can be read, it is ``best.pt``.

        Raises:
            FileNotFoundError: there is none at all.
            ValueError: there are some, and none can be read.
        """
        refused: list[str] = []
        for path in [*self.numbered(), self.folder / "last.pt", self.folder / "best.pt"]:
            if path.exists():
                try:
                    return load_checkpoint(path, device), path, refused
                except ValueError as error:
                    refused.append(str(error))
        if refused:
            raise ValueError("no checkpoint can be read:\n" + "\n".join(refused))
        raise FileNotFoundError(f"there is no checkpoint in {self.folder}")

    def numbered(self) -> list[Path]:
        """The files ``step-N.pt``, the newest first."""
        found = [p for p in self.folder.glob("step-*.pt") if p.stem[5:].isdecimal()]
        return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)


def _name_also(path: Path, name: Path) -> None:
    """Give a file another name, in place of what had it."""
    partial = name.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a disk without hard links
        shutil.copyfile(path, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
    partial.replace(name)
    _sync(name.parent)


def _sync(folder: Path) -> None:
    """Bring a folder's names to the disk, as fsync of a file alone does not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
