"""Write files whole: beside their place, to the disk, then renamed into it."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; when the block ends well, it takes its place.

    Whenever the process is killed, ``path`` is the older file or the new one, and whole. After
    any error it is the older one, and nothing is left beside it. The path given is new, ends as
    ``path`` does, and starts with ``.partial-``; a link is followed.

    Args:
        path: the file to be written.

    Raises:
        FileNotFoundError: its folder is not there.
        IsADirectoryError: it is a folder.
        OSError: it cannot be written, as on a full disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "a.txt")) as partial:
    ...         _ = partial.write_text("whole")
    ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
    ('whole', 1)
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {target.parent}. Create it first"
        )
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder. Name a file")
    partial = target.with_name(f".partial-{secrets.token_hex(8)}-{target.name[-50:]}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        raise explain(error, path) from error
    sync_folder(target.parent)


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to ``path``, whole or not at all; see `atomic_path`."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def explain(error: OSError, path: str | Path) -> OSError:
    """Say of an error in writing ``path`` why it came, how much room there is and what stayed."""
    path = Path(path)
    reason = error.strerror or str(error)
    room = ""
    with suppress(OSError):
        room = f"; {shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free there"
    older = f"; the older {path} stays as it was" if path.exists() else ""
    message = f"cannot write {path} ({reason}{room}){older}. Make room, then try again"
    told = type(error)(message)
    told.errno = error.errno
    return told


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can: Windows opens no folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
