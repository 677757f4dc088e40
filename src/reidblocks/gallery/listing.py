"""The images that a command is to embed, and what their paths or their table tell of them."""

import os
from dataclasses import dataclass
from pathlib import Path

from reidblocks.data import from_csv
from reidblocks.data.names import is_junk, read_time
from reidblocks.data.paths import IMAGE_SUFFIXES, is_image
from reidblocks.data.patterns import compile_pattern


@dataclass(frozen=True)
class Image:
    """An image to embed, and what its path or table tells of it."""

    path: str  # absolute, as the gallery keeps it
    person: str | None = None
    camera: str | None = None
    time: float | None = None


def images_of(source: Path, pattern: str | None, camera: str | None) -> list[Image]:
    """Return the images of a folder or a table, and what is told of them."""
    if source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES:
        if pattern is not None:
            raise ValueError("--pattern is for a folder; the table tells what it tells")
        data = from_csv(source)
        samples = {sample.path: sample for sample in (*data.train, *data.gallery, *data.query)}
        return [
            Image(
                os.path.abspath(sample.path),
                None if sample.identity == -1 else data.identity_name(sample.identity),
                camera if sample.camera is None else data.camera_name(sample.camera),
                sample.time,
            )
            for sample in samples.values()
        ]
    paths = paths_below(source)
    compiled = compile_pattern(pattern or "{person}/**")
    images = []
    for path in paths:
        told = compiled.match(Path(path).relative_to(source.absolute()).as_posix())
        if told is None and pattern is not None:
            raise ValueError(
                f"{path} is not of the --pattern {pattern}; change it, or move the image"
            )
        told = told or {}
        person = told.get("person")
        images.append(
            Image(
                path,
                None if person is None or is_junk(person) else person,
                told.get("camera", camera),
                read_time(told["time"]) if "time" in told else None,
            )
        )
    return images


def paths_below(folder: Path) -> list[str]:
    """Return the images below a folder, by their absolute paths, in order."""
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "is not there"
        raise FileNotFoundError(f"{folder} {what}; name a folder of images, or a CSV table")
    found = []
    for above, below, names in os.walk(folder.absolute()):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [os.path.join(above, name) for name in names if is_image(name)]
    if not found:
        raise ValueError(f"{folder} holds no image; images end in {', '.join(IMAGE_SUFFIXES)}")
    return sorted(found)
