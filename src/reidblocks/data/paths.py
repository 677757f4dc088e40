"""Which files are images, and which paths lead to one file."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def is_image(name: str) -> bool:
    """Whether a file's name is an image's: Thumbs.db is not, nor is a hidden file."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def file_key(path: str | Path) -> object:
    """Return what is equal for two paths if and only if they lead to one file.

    The system says it: links, Unicode forms and case are as its file systems take them. Where
    there is no such file, or a system without numbers for files, the absolute path must do.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return os.path.abspath(path)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def file_keys(paths: Sequence[str | Path]) -> list[object]:
    """Return the `file_key` of each path, with one look at a folder and not one at each file.

    A listing tells the numbers of its files, which are those that the system tells of each file
    on most file systems: the first of a folder is held to that. Links, and names that the listing
    spells in another way, are looked at one by one. Equal keys here are no proof; see `file_key`.
    """
    listings: dict[str, dict[str, tuple[int, int]]] = {}
    keys: list[object] = []
    for path in paths:
        whole = os.fspath(path)
        cut = whole.rfind(os.sep) + 1
        listed = listings.get(whole[:cut])
        if listed is None:
            listed = listings[whole[:cut]] = _listed(whole[:cut])
        keys.append(listed.get(whole[cut:]) or file_key(path))
    return keys


def _listed(folder: str) -> dict[str, tuple[int, int]]:
    """The keys of a folder's files that are no links, or none if they are not to be trusted."""
    try:
        device = os.stat(folder or ".").st_dev
        with os.scandir(folder or ".") as entries:
            keys = {e.name: (device, e.inode()) for e in entries if not e.is_symlink()}
    except OSError:
        return {}
    for name, key in keys.items():
        return keys if file_key(os.path.join(folder, name)) == key else {}
    return {}


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold Python's garbage collector meanwhile, for a loop that makes many objects to keep.

    It would walk all of them again and again to find none that is garbage.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
