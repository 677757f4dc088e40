"""PersonX and RandPerson, of people rendered by a game engine."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sets.layout import BOXES, Layout, find_home, read_layout, read_splits


def read_personx(root: str | Path) -> ReIDDataset:
    """Read PersonX, of synthetic people: folders ``1`` to ``6``, in each the three of Market-1501.

    ``0001_c1s1_33.jpg`` shows identity 1. Each of the six folders is a camera of its own; where
    the three lie in the set's own folder, names tell the camera.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Sun and Zheng, arXiv 1812.02162.
    """
    layout = Layout(
        "PersonX",
        ("PersonX_v1", "PersonX"),
        BOXES,
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)s\d+_\d+\."),
        "0001_c1s1_33.jpg",
    )
    numbers = [f"{number}" for number in range(1, 7)]
    try:
        home = find_home(layout.name, layout.homes, root, ["|".join(numbers)])
    except FileNotFoundError:
        return read_layout(layout, root)
    splits: dict[str, tuple[Sample, ...]] = {"train": (), "query": (), "gallery": ()}
    for number in numbers:
        if (home / number).is_dir():
            for split, samples in read_splits(layout, home / number)[1].items():
                splits[split] += tuple(s._replace(camera=int(number)) for s in samples)
    return ReIDDataset(layout.name, splits["train"], splits["query"], splits["gallery"])


def read_randperson(root: str | Path) -> ReIDDataset:
    """Read RandPerson, of synthetic people to train on: one folder of images.

    ``000000_s00_c00_f000264.jpg`` shows identity 0 in scene 0, taken by camera 0 in frame 264.
    Camera 3 of scene 2 is numbered 203.

    Args:
        root: the folder of images, or the one above it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a name cannot be read, or there is no image.

    Source: Wang et al., arXiv 2006.12774.
    """
    layout = Layout(
        "RandPerson",
        ("randperson", "randperson_subset"),
        {"train": "."},
        re.compile(r"(?P<identity>\d+)_s(?P<sequence>\d+)_c(?P<camera>\d+)_f(?P<time>\d+)\."),
        "000000_s00_c00_f000264.jpg",
    )
    above = [home for home in layout.homes if (Path(root).expanduser() / home).is_dir()]
    _, splits = read_splits(layout, Path(root).expanduser() / (above[0] if above else "."))
    train = tuple(
        s._replace(camera=100 * (s.sequence or 0) + (s.camera or 0), sequence=None)
        for s in splits["train"]
    )
    return ReIDDataset(layout.name, train, (), ())
