"""Write files whole: next to their place, to the disk, then renamed into it."""

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"  # what the name of an unfinished file starts with
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
OF_WRITING = FULL | FORBIDDEN | {errno.EFBIG, errno.EIO}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to; if the block succeeds, rename it to ``path``.

    If the process is killed at any time, ``path`` is the complete older or new file. After any
    error it is the older one, and nothing is left next to it. A killed process can leave one file
    ``.partial-…``, which may be deleted (`Checkpoints` deletes its own).

    The path yielded is a new name in the same folder and ends as ``path`` does, for writers that
    choose a format by it. Links are followed, and the older file's permissions stay. A device or
    pipe, such as ``/dev/stdout``, is written when the block ends.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError: its folder is missing, or the block wrote nothing.
        IsADirectoryError: it is a folder.
        PermissionError: it, or its folder, may not be written.
        OSError: it cannot be written for another reason, such as a full disk. Errors of the block
            that have nothing to do with writing the file are raised as they are.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "a.txt")) as partial:
    ...         _ = partial.write_text("whole")
    ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
    ('whole', 1)
    """
    older = _expect_writable(path)
    target = Path(os.path.realpath(path))
    if older is not None and not stat.S_ISREG(older.st_mode):
        with _through_another_file(path, target.name[-50:]) as partial:
            yield partial
        return
    partial = target.with_name(f"{PARTIAL}{secrets.token_hex(8)}-{target.name[-50:]}")
    try:
        yield partial
        if not partial.exists():
            raise FileNotFoundError(f"cannot write {path}: nothing was written to {partial}")
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        if older is not None:
            with suppress(OSError):  # a disk without permissions
                partial.chmod(stat.S_IMODE(older.st_mode))
        partial.replace(target)
    except (OSError, RuntimeError) as error:
        if fault := _fault_of_writing(error, partial):
            raise _explain(fault, path, target) from error
        raise
    finally:
        with suppress(OSError):
            partial.unlink()
    _sync_folder(target.parent)


def write_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    r"""Write text or bytes to ``path`` atomically.

    Text is written as UTF-8, with "\n" as it is on every system. What UTF-8 cannot hold (the
    surrogates that Python puts in the place of a file name's bytes) is written as an escape,
    ``\udce9``.

    Args:
        path: the file to write.
        content: what it will hold.

    Raises:
        TypeError: content is neither text nor bytes.
        OSError: it cannot be written; see `atomic_path`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_file(Path(folder, "a.txt"), "whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    if not isinstance(content, (str, bytes)):
        raise TypeError(f"write_file expects text or bytes, got {type(content).__name__}")
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, where there is none; or say what is in the way."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"cannot make the folder {path}: a file is in its place, or in that of a folder above "
            "it. Name another folder"
        ) from error
    except OSError as error:
        raise _explain(error, path, None) from error


def append_file(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a file; what a kill left of another stays on a line of its own."""
    _expect_writable(path)
    try:
        with open(path, "ab+") as file:
            if file.seekable() and file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else f"\n{line}"
            file.write(line.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise _explain(error, path, None) from error


def remove_partials(folder: Path, *names: str) -> None:
    """Delete what writing files of these names (patterns) left in a folder when it was killed."""
    for name in names:
        for left in folder.glob(f"{PARTIAL}{'[0-9a-f]' * 16}-{name}"):
            with suppress(OSError):
                left.unlink()


def _expect_writable(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Raise what can be known before anything is written; return what is at the place now."""
    try:
        older = os.stat(path)
    except FileNotFoundError:
        folder = Path(os.path.realpath(path)).parent
        if folder.is_dir():
            return None
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {folder}. Create it first"
        ) from None
    except OSError as error:
        raise _explain(error, path, None) from error
    if stat.S_ISDIR(older.st_mode):
        raise IsADirectoryError(f"cannot write {path}: it is a folder. Name a file")
    if not os.access(path, os.W_OK):  # a rename would replace it all the same
        raise PermissionError(
            f"cannot write {path}: the file there is read-only. Name another file, or make it "
            "writable"
        )
    return older


@contextmanager
def _through_another_file(path: str | os.PathLike[str], name: str) -> Iterator[Path]:
    """Copy what the block writes into a device or pipe, which cannot be renamed to."""
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder, name)
        yield partial
        try:
            with partial.open("rb") as source, open(path, "wb") as device:
                shutil.copyfileobj(source, device)
        except BrokenPipeError:  # the reader has gone, which programs tell by this error
            raise
        except OSError as error:
            raise _explain(error, path, None) from error


def _fault_of_writing(error: OSError | RuntimeError, partial: Path) -> OSError | None:
    """The error of the system behind one that a block raised, where writing the file raised it."""
    # torch.save raises a RuntimeError while it handles the system's error
    cause = error.__context__ if isinstance(error, RuntimeError) else error
    if not isinstance(cause, OSError) or cause.errno is None:
        return None
    if cause.filename is None:
        return cause if cause.errno in OF_WRITING else None
    return cause if os.fspath(cause.filename) == str(partial) else None


def _explain(error: OSError, path: str | os.PathLike[str], target: Path | None) -> OSError:
    """The error that says why ``path`` was not written, whether ``target`` stayed, what to do."""
    reason, advice = error.strerror or str(error), ""
    if error.errno in FULL:
        folder = Path(os.path.realpath(path)).parent
        with suppress(OSError):
            reason += f", {shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there"
        advice = ". Make room, then try again"
    elif error.errno in FORBIDDEN:
        advice = ". Name a folder that you may write to, or close the program that holds the file"
    elif error.errno == errno.ENAMETOOLONG:
        advice = ". Choose a shorter name"
    kept = "; the older file stays as it was" if target and target.is_file() else ""
    told = type(OSError(error.errno, reason))(f"cannot write {path}: {reason}{kept}{advice}")
    told.errno = error.errno
    return told


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can: Windows opens no folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
