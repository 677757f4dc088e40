"""MSMT17, whose lists name the images of each split."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sets.layout import expect_files, find_home, inside, warn_of_counts

NAME = "MSMT17"
HOMES = ("MSMT17_V1", "MSMT17_V2", "MSMT17")
COUNTS = {"train": 30_248, "val": 2_373, "query": 11_659, "gallery": 82_161}
PART_OF_DAY = {"morning": 0, "noon": 1, "afternoon": 2}
_IMAGE = re.compile(r"(?:.*/)?\d+_\d+_(?P<camera>\d+)_(?P<date>\d*)(?P<part>[a-z]*)_")


def read_msmt17(root: str | Path, *, val: bool = False) -> ReIDDataset:
    """Read MSMT17, version 1 or 2: the images in ``list_train.txt`` and the other lists.

    ``0000/0000_000_01_0303morning_0008_0.jpg 0`` in a list is an image of identity 0, taken by
    camera 1 in the morning of 3 March; date and part of day are its ``time``. The people of
    ``list_train.txt`` and those of the test are different people under the same numbers: test
    identities are counted on after the last one of training.

    Args:
        root: the set's own folder, ``MSMT17_V1`` or ``MSMT17_V2``, or the one above it.
        val: train on the images of ``list_val.txt`` too.

    Raises:
        FileNotFoundError: a folder or a list is missing, or an image that a list names.
        ValueError: a line cannot be read, or a list is empty.

    Source: Wei et al., arXiv 1711.08565.
    """
    trained, tested = "train|mask_train_v2", "test|mask_test_v2"
    home = find_home(NAME, HOMES, root, (trained, tested))
    train_folder, test_folder = (inside(home, folder) or home for folder in (trained, tested))
    train = _read_list(home, "train", train_folder)
    if val:
        train += _read_list(home, "val", train_folder)
    first = 1 + max(sample.identity for sample in train)
    query, gallery = (_read_list(home, split, test_folder, first) for split in ("query", "gallery"))
    found = {"train": len(train), "query": len(query), "gallery": len(gallery)}
    wanted = {**COUNTS, "train": COUNTS["train"] + (COUNTS["val"] if val else 0)}
    warn_of_counts(
        NAME,
        HOMES,
        home,
        {f"{split} images": number for split, number in found.items()},
        {f"{split} images": wanted[split] for split in found},
    )
    return ReIDDataset(NAME, tuple(train), tuple(query), tuple(gallery))


def _read_list(home: Path, split: str, folder: Path, first: int = 0) -> list[Sample]:
    path = home / f"list_{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{NAME} misses {path.name} in {home}; the archive holds it next to the images"
        )
    samples, names = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, identity = line.rpartition(" ")
        told = _IMAGE.match(name)
        if told is None or not (identity.isascii() and identity.isdigit()):
            raise ValueError(
                f"{path} line {number} is {line!r}; expected an image and an identity, as "
                "0000/0000_000_01_0303morning_0008_0.jpg 0"
            )
        part = PART_OF_DAY.get(told["part"])
        time = None if part is None or not told["date"] else float(10 * int(told["date"]) + part)
        names.append(name)
        samples.append(Sample(folder / name, first + int(identity), int(told["camera"]), time=time))
    if not samples:
        raise ValueError(f"{path} names no image; unpack the whole archive")
    expect_files(NAME, path.name, folder, names)
    return samples
