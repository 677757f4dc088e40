"""Files that a table names, also where another system wrote the names."""

import os
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path


class Finder:
    r"""Finds files below a folder.

    A name that is not there as it stands may have been written on Windows (``img\a.png``) or in
    the other Unicode form (macOS writes é as two signs in the names of files, others as one).

    Args:
        folder: what the names are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._walk = cache(self._walk_uncached)
        self._listing = cache(self._listing_uncached)

    def find(self, name: str) -> Path:
        """Return the file of this name.

        Raises:
            FileNotFoundError: there is none; why, and what may be meant.
        """
        path = self.folder / name
        if os.path.isfile(path):
            return path
        portable = name if os.sep == "\\" else name.replace("\\", "/")
        found = self._walk(Path(portable), composed)
        if found and os.path.isfile(found):
            return Path(found)
        raise FileNotFoundError(f"{path}, which {self._explain(name, path, Path(portable))}")

    def _explain(self, name: str, path: Path, portable: Path) -> str:
        if os.path.isdir(path):
            return "is a folder; name its images one by one"
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, where no file is"
        if re.match(r"[A-Za-z]:[\\/]|\\\\", name) and os.sep != "\\":
            return "is a path on a Windows computer; write paths relative to the table's folder"
        near = self._walk(portable, case_folded)
        meant = f"; {near} is, so write it as that" if near and os.path.isfile(near) else ""
        return f"is not there{meant}; paths are relative to {self.folder}"

    def _walk_uncached(self, name: Path, form: Callable[[str], str]) -> str | None:
        """Follow a path folder by folder; None if one of its names is not there in any form."""
        if name == name.parent:  # where the name begins, here or at the root
            return f"{self.folder / name}"
        above = self._walk(name.parent, form)
        if above is None:
            return None
        literal = os.path.join(above, name.name)
        if name.name == ".." or os.path.lexists(literal):
            return literal
        alike = self._listing(above, form).get(form(name.name), [])
        return os.path.join(above, alike[0]) if len(alike) == 1 else None

    def _listing_uncached(self, folder: str, form: Callable[[str], str]) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        if os.path.isdir(folder):
            for name in os.listdir(folder):
                names.setdefault(form(name), []).append(name)
        return names


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def case_folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
