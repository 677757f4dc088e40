"""Which files are images, and which paths lead to one file."""

import os
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
