"""A folder of one's own, read by what its paths tell."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from reidblocks.data.names import fold, number_values, read_time
from reidblocks.data.paths import IMAGE_SUFFIXES, is_image
from reidblocks.data.patterns import compile_pattern
from reidblocks.data.samples import ReIDDataset, Sample

SPLITS = ("train", "query", "gallery")
NUMBERED = {"person": "identity", "camera": "camera", "sequence": "sequence", "clothes": "clothes"}


def read_folder(
    root: str | Path, pattern: str = "{person}/**", *, skip_unmatched: bool = False
) -> ReIDDataset:
    """Read the images below a folder; a pattern extracts labels from their paths.

    The pattern is held to an image's whole path below ``root``, with / between folders:

    - ``{person}``, ``{camera}``, ``{sequence}``, ``{clothes}``, ``{modality}``, ``{time}`` and
      ``{split}`` are what they say. A field holds at least one character, and none of ``/`` and
      the character that follows the field in the pattern: ``{person}_*`` is what comes before
      the first ``_``.
    - ``*`` is anything but ``/``, ``**`` anything, ``**/`` any number of folders, ``#`` a number.
    - Everything else is itself, in upper or lower case.

    Some layouts: ``{person}/**`` (a folder for each person), ``{camera}/{person}/*`` (a folder
    for each camera, in it one for each person), ``{camera}/{person}_*``,
    ``{person}_c{camera}s#_#_*`` (names as in Market-1501), ``{split}/{person}_*``.

    People, cameras, sequences and clothes are numbered as by ``from_csv``: numbers stay as they
    are, names become numbers and are kept. The split is train, query or gallery; without it all
    images are training images, for ``split_people`` to split. Files that are not images are
    skipped.

    Args:
        root: the folder.
        pattern: what the paths tell.
        skip_unmatched: omit, with a warning, images whose path is not of the pattern.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the pattern cannot be read, no image is there, an image's path is not of the
            pattern, a name is written in two ways, a time cannot be read, or the splits are not
            consistent (see `ReIDDataset`).

    >>> for name in ("hall/anna_1.jpg", "yard/ben_7.jpg"):
    ...     Path(name).parent.mkdir(exist_ok=True)
    ...     Path(name).touch()
    >>> data = read_folder(".", "{camera}/{person}_*.jpg")
    >>> [data.identity_name(sample.identity) for sample in data.train], data.camera_names
    (['anna', 'ben'], {0: 'hall', 1: 'yard'})
    """
    root = Path(root).expanduser()
    compiled = compile_pattern(pattern)
    if not root.is_dir():
        what = "is a file" if root.exists() else "is not there"
        raise FileNotFoundError(f"read_folder expects a folder of images, but {root} {what}")
    paths = sorted(_images(f"{root}"))
    if not paths:
        raise ValueError(
            f"{root} holds no image; images end in {', '.join(IMAGE_SUFFIXES)}, and hidden files "
            "are none"
        )
    read: list[tuple[str, dict[str, str]]] = []
    strange = []
    for path in paths:
        found = compiled.match(path)
        if found is None:
            strange.append(path)
        else:
            read.append((path, found))
    if strange:
        told = (
            f"{len(strange):,} of {len(paths):,} images below {root} are not of the pattern "
            f"{pattern!r}: {', '.join(strange[:3])}{' …' if len(strange) > 3 else ''}"
        )
        if not skip_unmatched or not read:
            raise ValueError(
                f"{told}. Change the pattern, rename the images, or leave them out by "
                "skip_unmatched=True"
            )
        warnings.warn(f"{told}; they are left out", stacklevel=2)
    return _dataset(root, read)


def _images(root: str, below: str = "") -> Iterator[str]:
    """The paths of all images below a folder, relative to it, with / between folders."""
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                if not entry.name.startswith("."):
                    yield from _images(root, f"{below}{entry.name}/")
            elif is_image(entry.name):
                yield f"{below}{entry.name}"


def _dataset(root: Path, read: list[tuple[str, dict[str, str]]]) -> ReIDDataset:
    numbers = {}
    for field, column in NUMBERED.items():
        places: dict[str, str] = {}
        for path, found in read:
            if field in found:
                places.setdefault(found[field], f"image {path}")
        numbers[field] = number_values(f"{root}:", column, places)
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for path, found in read:
        split = fold(found.get("split", "train"))
        if split not in SPLITS:
            raise ValueError(
                f"{root}: image {path} has the split {found['split']!r}; use {', '.join(SPLITS)}"
            )
        try:
            time = read_time(found["time"]) if "time" in found else None
        except ValueError as error:
            raise ValueError(f"{root}: image {path} has {error}") from None
        told = {
            column: numbers[field].numbers.get(found.get(field, ""))
            for field, column in NUMBERED.items()
        }
        modality = found.get("modality")
        splits[split].append(Sample(root / path, **told, modality=modality, time=time))  # type: ignore[arg-type]
    train, query, gallery = (tuple(splits[split]) for split in SPLITS)
    return ReIDDataset(
        root.resolve().name,
        train,
        query,
        gallery,
        identity_names=numbers["person"].names,
        camera_names=numbers["camera"].names,
    )
