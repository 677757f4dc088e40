"""Readers of public data sets, each in the layout in which its authors published it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reidblocks.data.samples import JUNK, ReIDDataset, Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
DISTRACTOR = 0  # Market-1501's number for boxes of the background


def read_market1501(root: str | Path, *, keep_junk: bool = False) -> ReIDDataset:
    """Read Market-1501: ``bounding_box_train``, ``query`` and ``bounding_box_test``.

    ``0001_c1s1_000151_01.jpg`` shows identity 1, taken by camera 1. Identity 0 is a distractor,
    wrong for every query; it stays in the gallery. Identity −1 is junk, which the authors'
    protocol neither rewards nor punishes; it is excluded. Neither is a person: among the training
    images or the queries both are junk, though the published set has none there.

    Args:
        root: the folder ``Market-1501-v15.09.15``, or the folder that holds it.
        keep_junk: keep the gallery's junk, for an evaluation that skips identity −1 by itself.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
    """
    train, query, gallery = (tuple(_samples(_MARKET, f)) for f in _folders(_MARKET, root))
    if not keep_junk:
        gallery = tuple(sample for sample in gallery if sample.identity != JUNK)
    train, query = (
        tuple(s._replace(identity=JUNK) if s.identity == DISTRACTOR else s for s in samples)
        for samples in (train, query)
    )
    return ReIDDataset(_MARKET.name, train, query, gallery)


def read_dukemtmc(root: str | Path) -> ReIDDataset:
    """Read DukeMTMC-reID: ``bounding_box_train``, ``query`` and ``bounding_box_test``.

    ``0001_c2_f0046182.jpg`` shows identity 1, taken by camera 2. The authors withdrew this data
    set in 2019. The reader serves comparison with results published before that, for those who
    hold it; there is no link to it here.

    Args:
        root: the folder ``DukeMTMC-reID``, or the folder that holds it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Ristani et al., arXiv 1609.01775; Zheng et al., arXiv 1701.07717.
    """
    train, query, gallery = (tuple(_samples(_DUKE, f)) for f in _folders(_DUKE, root))
    return ReIDDataset(_DUKE.name, train, query, gallery)


def read_synergyreid(root: str | Path) -> ReIDDataset:
    """Read SynergyReID: ``reid_training``, ``reid_test/query`` and ``reid_test/gallery``.

    A name begins with the identity and the number of the sequence: ``0001_02_….jpeg``. It tells
    no camera: queries count as camera 0 and the gallery as camera 1, so that leaving out a
    query's own camera leaves out nothing.

    Args:
        root: the unpacked folder (``synergyreid_data``, or ``data_reid`` as the authors' archive
            calls it), or the folder that holds it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Van Zandycke et al., arXiv 2208.08190.
    """
    train, query, gallery = (
        tuple(_samples(_SYNERGY, folder, camera))
        for folder, camera in zip(_folders(_SYNERGY, root), (None, 0, 1), strict=True)
    )
    return ReIDDataset(_SYNERGY.name, train, query, gallery)


@dataclass(frozen=True)
class _Layout:
    name: str
    homes: tuple[str, ...]  # what the data set's own folder may be called
    splits: tuple[str, str, str]  # its folders of training, query and gallery images
    pattern: re.Pattern[str]  # how a file's name begins
    example: str


_MARKET = _Layout(
    "Market1501",
    ("Market-1501-v15.09.15",),
    ("bounding_box_train", "query", "bounding_box_test"),
    re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_\d+_\d+\."),
    "0001_c1s1_000151_01.jpg",
)
_DUKE = _Layout(
    "DukeMTMC",
    ("DukeMTMC-reID",),
    ("bounding_box_train", "query", "bounding_box_test"),
    re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_f\d+\."),
    "0001_c2_f0046182.jpg",
)
_SYNERGY = _Layout(
    "SynergyReID",
    ("synergyreid_data", "data_reid"),
    ("reid_training", "reid_test/query", "reid_test/gallery"),
    re.compile(r"(?P<identity>\d+)_\d+"),
    "0001_02_0003.jpeg",
)
_LAYOUTS = (_MARKET, _DUKE)  # not SynergyReID, whose pattern matches nearly any name


def _folders(layout: _Layout, root: str | Path) -> list[Path]:
    """The folders of the three splits; an error that lists what is there if one is missing."""
    root = Path(root).expanduser()
    home = next((root / name for name in layout.homes if (root / name).is_dir()), root)
    missing = [split for split in layout.splits if not (home / split).is_dir()]
    if missing:
        if home.is_file():
            found = "is a file; unpack it and give the folder"
        elif not home.is_dir():
            found = "does not exist"
        else:
            names = sorted(path.name for path in home.iterdir())
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            found = f"holds {', '.join(names[:10]) or 'nothing'}{more}"
            inside = [
                home / name
                for name in names
                if all((home / name / split).is_dir() for split in layout.splits)
            ]
            if inside:  # under a name that its authors did not give it
                raise FileNotFoundError(
                    f"{layout.name} looks for {', '.join(layout.splits)} in {home}, or in a folder "
                    f"in it that is called {' or '.join(layout.homes)}; it {found}. They are in "
                    f"{' and in '.join(map(str, inside))}: give that folder"
                )
        raise FileNotFoundError(
            f"{layout.name} misses {', '.join(missing)} in {home}, which {found}. Give the folder "
            f"that holds {', '.join(layout.splits)}, or the one above it if that folder is called "
            f"{' or '.join(layout.homes)}"
        )
    return [home / split for split in layout.splits]


def _samples(layout: _Layout, folder: Path, camera: int | None = None) -> Iterator[Sample]:
    """The images of a folder in the order of their names; ``camera`` if the name tells none."""
    with os.scandir(folder) as entries:  # which knows without another look what is a folder
        names = sorted(e.name for e in entries if is_image(e.name) and not e.is_dir())
    if not names:
        raise ValueError(
            f"{layout.name} finds no image in {folder}; unpack the whole archive "
            f"(images end in {', '.join(IMAGE_SUFFIXES)})"
        )
    for name in names:
        match = layout.pattern.match(name)
        if match is None:
            fitting = [
                f"read_{other.name.lower()}" for other in _LAYOUTS if other.pattern.match(name)
            ]
            hint = f"; {' or '.join(fitting)} reads such a name" if fitting else ""
            raise ValueError(
                f"{layout.name} cannot read the name of {folder / name}: it expects names like "
                f"{layout.example}{hint}. Rename the file or take it out of the folder"
            )
        told = match.groupdict().get("camera")
        yield Sample(folder / name, int(match["identity"]), camera if told is None else int(told))


def is_image(name: str) -> bool:
    """Whether a file's name is an image's: Thumbs.db is not, nor is a hidden file."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
