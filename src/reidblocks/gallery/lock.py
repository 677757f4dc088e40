"""Writers of one gallery take turns, by a lock that the system drops when one is killed."""

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

WAIT = 60.0  # seconds
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


@contextmanager
def writers_turn(folder: Path | None) -> Iterator[None]:
    """Wait until no other process writes to the gallery, and keep others from it meanwhile.

    Args:
        folder: the gallery's; None where it is in object storage, which has no locks.

    Raises:
        TimeoutError: another process has been writing for a minute.
        OSError: the folder may not be written.
    """
    if folder is None:
        yield
        return
    with open(folder / ".lock", "ab") as file:
        until = time.monotonic() + WAIT
        while not _locked(file):
            if time.monotonic() > until:
                raise TimeoutError(
                    f"the gallery {folder} has been written by another process for {WAIT:g} "
                    "seconds; nothing was changed. Try again when that one is done"
                )
            time.sleep(0.01)
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _locked(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _locked(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
