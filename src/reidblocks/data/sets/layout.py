"""How a public set lies on the disk, and what its folders and names tell."""

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reidblocks.data.paths import IMAGE_SUFFIXES, is_image, no_collection
from reidblocks.data.samples import ReIDDataset, Sample

BOXES = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


@dataclass(frozen=True)
class Layout:
    """A set whose splits are folders and whose images' names tell identity and camera.

    Args:
        name: what to call the set; its reader is ``read_`` and this in small letters.
        homes: what its own folder is called, in any case, with any signs between.
        splits: the folder of each split, below its own.
        pattern: how a name begins: groups of digits named as the fields of `Sample`.
        example: a name.
        counts: how many images the published set has in each split.
        cameras: the camera of a split whose names tell none.
        nested: whether each person has a folder in that of the split.
    """

    name: str
    homes: tuple[str, ...]
    splits: Mapping[str, str]
    pattern: re.Pattern[str]
    example: str
    counts: Mapping[str, int] = field(default_factory=dict)
    cameras: Mapping[str, int] = field(default_factory=dict)
    nested: bool = False


def read_layout(layout: Layout, root: str | Path) -> ReIDDataset:
    """Read a set that is no more than its layout."""
    home, splits = read_splits(layout, root)
    check_counts(layout, home, splits)
    return ReIDDataset(layout.name, splits["train"], splits["query"], splits["gallery"])


def read_splits(layout: Layout, root: str | Path) -> tuple[Path, dict[str, tuple[Sample, ...]]]:
    """Return the set's own folder and the samples of train, query and gallery."""
    home = find_home(layout.name, layout.homes, root, tuple(layout.splits.values()))
    splits: dict[str, tuple[Sample, ...]] = {"train": (), "query": (), "gallery": ()}
    for split, folder in layout.splits.items():
        splits[split] = read_names(layout, home / folder, layout.cameras.get(split))
    return home, splits


def read_names(layout: Layout, folder: Path, camera: int | None = None) -> tuple[Sample, ...]:
    """Return the images of a folder in the order of their names; ``camera`` if these tell none.

    Raises:
        ValueError: there is none, or a name is not of the layout.
    """
    paths = list_images(layout.name, folder, nested=layout.nested)
    fields = tuple(layout.pattern.groupindex)
    others = {} if "camera" in fields else {"camera": camera}
    known: dict[tuple[str, ...], tuple[Any, ...]] = {}  # most names tell what others tell too
    samples = []
    with no_collection():
        for path in paths:
            match = layout.pattern.match(path.name)
            if match is None:
                raise ValueError(
                    f"{layout.name} cannot read the name of {path}: it expects names like "
                    f"{layout.example}. Rename the file or take it out of the folder, or read "
                    "another set: reidblocks check-data FOLDER finds which it is"
                )
            digits = match.groups()
            told = known.get(digits)
            if told is None:
                numbers = dict(zip(fields, map(int, digits), strict=True))
                told = known[digits] = Sample(path, **numbers, **others)[1:]  # type: ignore[arg-type]
            samples.append(Sample(path, *told))
    return tuple(samples)


def list_images(name: str, folder: Path, *, nested: bool = False) -> list[Path]:
    """List the images in a folder, or those in its folders, in the order of their names.

    Raises:
        ValueError: there is none.
    """
    with os.scandir(folder) as entries:  # which knows without another look what is a folder
        folders = {entry.name: entry.is_dir() for entry in entries}
    with no_collection():
        if nested:
            inner = [folder / below for below in sorted(folders) if folders[below]]
            paths = [path / file for path in inner for file in sorted(os.listdir(path))]
            paths = [path for path in paths if is_image(path.name)]
        else:
            names = sorted(file for file, other in folders.items() if is_image(file) and not other)
            paths = [folder / file for file in names]
    if not paths:
        raise ValueError(
            f"{name} finds no image in {folder}; unpack the whole archive "
            f"(images end in {', '.join(IMAGE_SUFFIXES)})"
        )
    return paths


def find_home(name: str, homes: Sequence[str], root: str | Path, folders: Sequence[str]) -> Path:
    """Return the folder that holds all of ``folders``: the root, or one in it that is named so.

    Args:
        name: of the set, for errors.
        homes: what the folder may be called; case and signs do not matter.
        root: where to look; its folders of these names are looked into too.
        folders: what is in there; "a|b" is one of two.

    Raises:
        FileNotFoundError: there is no such folder; the error lists what is there instead.
    """
    root = Path(root).expanduser()
    named = [path for path in _named(root, homes) for path in (path, *_named(path, homes))]
    for home in (root, *named):
        if all(inside(home, folder) for folder in folders):
            return home
    home = named[0] if named else root
    told = " or ".join(homes)
    wanted = ", ".join(folder.replace("|", " or ") for folder in folders)
    if home.is_file():
        found = "is a file; unpack it and give the folder"
    elif not home.is_dir():
        found = "does not exist"
    else:
        names = sorted(path.name for path in home.iterdir())
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        found = f"holds {', '.join(names[:10]) or 'nothing'}{more}"
        others = [
            path
            for path in (home / name for name in names)
            if all(inside(path, folder) for folder in folders)
        ]
        if others:  # under a name that its authors did not give it
            raise FileNotFoundError(
                f"{name} looks for {wanted} in {home}, or in a folder in it that is called {told}; "
                f"it {found}. They are in {' and in '.join(map(str, others))}: give that folder"
            )
    missing = ", ".join(
        folder.replace("|", " or ") for folder in folders if not inside(home, folder)
    )
    raise FileNotFoundError(
        f"{name} misses {missing} in {home}, which {found}. Give the folder that holds {wanted}, "
        f"or the one above it if that folder is called {told}"
    )


def inside(home: Path, folder: str) -> Path | None:
    """Return the folder of this name, or of one of several names "a|b"; None if it is not there."""
    return next((home / name for name in folder.split("|") if (home / name).is_dir()), None)


def plain(name: str) -> str:
    """Return a name without case and signs.

    >>> plain("Market-1501-v15.09.15")
    'market1501v150915'
    """
    return re.sub("[^a-z0-9]", "", name.casefold())


def _named(folder: Path, homes: Iterable[str]) -> list[Path]:
    """The folders in a folder that have one of these names, in the order of the names."""
    order = {plain(home): place for place, home in enumerate(homes)}
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if plain(e.name) in order and e.is_dir()]
    return [folder / name for name in sorted(names, key=lambda name: (order[plain(name)], name))]


def check_counts(layout: Layout, home: Path, splits: Mapping[str, Sequence[Sample]]) -> None:
    """Warn where a folder has the set's own name but not its number of images."""
    found = {f"{split} images": len(splits[split]) for split in layout.counts}
    wanted = {f"{split} images": number for split, number in layout.counts.items()}
    warn_of_counts(layout.name, layout.homes, home, found, wanted)


def warn_of_counts(
    name: str,
    homes: Sequence[str],
    home: Path,
    found: Mapping[str, int],
    wanted: Mapping[str, int],
) -> None:
    """Warn where what is found is not what the published set has: it has another name or part."""
    official = {plain(home) for home in homes}
    if not official & {plain(part) for part in home.absolute().parts[-2:]}:
        return  # a set of one's own in this layout
    others = [
        f"{found[what]:,} {what} where the published set has {number:,}"
        for what, number in wanted.items()
        if found[what] != number
    ]
    if others:
        warnings.warn(
            f"{name} in {home} has {', '.join(others)}: results on it do not compare with "
            "published ones. Is the archive unpacked whole?",
            stacklevel=4,
        )


def expect_files(name: str, source: str, folder: Path, names: Iterable[str]) -> None:
    """Raise unless a list's images are all there, with one look at each of their folders.

    Raises:
        FileNotFoundError: some are not; how many, and the first.
    """
    there: dict[str, set[str]] = {}
    missing = []
    for image in names:
        below, _, own = image.rpartition("/")
        if below not in there:
            path = folder / below
            there[below] = {*os.listdir(path)} if path.is_dir() else set()
        if own not in there[below]:
            missing.append(image)
    if missing:
        raise FileNotFoundError(
            f"{name}: {source} names {len(missing):,} images that are not in {folder}, the first "
            f"{missing[0]}; unpack the whole archive"
        )
