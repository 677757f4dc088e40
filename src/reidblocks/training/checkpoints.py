"""Checkpoints that are written atomically and read without executing anything."""

import operator
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from reidblocks._files import atomic_path, remove_partials
from reidblocks._reading import load_plain, reason, refused_global
from reidblocks.training._state import expect_readable


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically, for ``load_checkpoint``.

    Whenever the process is killed, ``path`` is the older file or the new one, and whole; see
    `atomic_path`.

    Args:
        path: the file to write.
        state: tensors, numbers, text, None, NumPy numbers and arrays of numbers, in dicts, lists
            and tuples; what the ``state_dict()`` of a module, optimizer or scheduler holds.

    Raises:
        TypeError: state holds something that could not be read back; it is named before anything
            is written.
        OSError: it cannot be written, as on a full disk; what was there before stays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder, "last.pt"), {"step": 3, "weight": torch.ones(2)})
    ...     load_checkpoint(Path(folder, "last.pt"))
    {'step': 3, 'weight': tensor([1., 1.])}
    """
    expect_readable(state)
    with atomic_path(path) as partial, partial.open("wb") as file:
        torch.save(state, file)


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a file of ``save_checkpoint``; nothing in it is executed.

    Args:
        path: the file.
        device: where its tensors go.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, not a whole one, or cannot be read.
        RuntimeError: the device is not there, or has too little memory.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is no checkpoint: it is empty")
    torch.empty(0, device=device)  # a device that is not there is no fault of the file
    try:
        state: dict[str, Any] = load_plain(path, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        if asked := refused_global(error):
            raise ValueError(
                f"{path} holds more than a checkpoint does: it asks for {asked}, which could "
                "run code, so it was not loaded"
            ) from error
        raise ValueError(f"{path} is no checkpoint, or is truncated: {reason(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} is no checkpoint: it holds a {type(state).__name__}")
    return state


class Checkpoints:
    """The checkpoints of a run: the newest few, and the best.

    The newest are ``step-N.pt``; ``last.pt`` is another name of the newest, ``best.pt`` of the
    best (hard links, or copies where the disk has none). One process writes to a folder: files
    left unfinished by an interruption are deleted at the next save.

    Args:
        folder: where they are.
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
        """Write a checkpoint after this step, and delete all but the newest few.

        Raises:
            OSError, TypeError: it cannot be written, see `save_checkpoint`; the older checkpoints
                stay.
        """
        remove_partials(self.folder, "step-*.pt", "last.pt", "best.pt")
        step = operator.index(step)
        path = self.folder / f"step-{step}.pt"
        before = [old for old in self.numbered() if int(old.stem[5:]) <= step]
        try:
            save_checkpoint(path, state)
        except OSError as error:
            if before and before[0] != path:  # else it is said already
                error.args = (f"{error}. Resume from {before[0]}, which is as it was",)
            raise
        for name in ("last.pt", "best.pt") if is_best else ("last.pt",):
            _name_also(path, self.folder / name)
        # Higher ones could not be read, or the run would be there: they do not count.
        others = [old for old in before if old != path]
        for old in others[self.keep - 1 :]:
            with suppress(OSError):  # held open by another program: the next save tries again
                old.unlink()

    def newest(self, device: torch.device | str = "cpu") -> tuple[dict[str, Any], Path, list[str]]:
        """Return the newest checkpoint that can be read, its path, and why newer ones cannot be.

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
        """Return the files ``step-N.pt``, the newest first."""
        found = [p for p in self.folder.glob("step-*.pt") if p.stem[5:].isdecimal()]
        return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)


def _name_also(path: Path, name: Path) -> None:
    """Give a file another name, in place of what had it."""
    if name.is_symlink():  # which would be followed, to the checkpoint of another step
        name.unlink()
    with atomic_path(name) as partial:
        try:
            os.link(path, partial)
        except OSError:  # a disk without hard links
            shutil.copyfile(path, partial)
