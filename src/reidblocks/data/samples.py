"""What a data set is: three tuples of samples that are sound together."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from reidblocks.data.numbers import LIMIT, whole_number

JUNK = -1  # the identity of images that show no person, or none who is known

TWICE = (
    "keep one of the two: only a query may be given again, in the gallery, with the same identity "
    "and the same camera; a query without a camera cannot also be in the gallery, as it would "
    "find itself"
)


class Sample(NamedTuple):
    """One image: where it lies, whom it shows, and which camera took it (None: unknown)."""

    path: Path
    identity: int
    camera: int | None


@dataclass(frozen=True)
class ReIDDataset:
    """The training images, the queries, and the gallery in which each query is looked for.

    Identities and cameras may be of any integer type, also of NumPy and torch, or whole floats;
    they are kept as ints. The camera -1, as batches write an unknown one, becomes None.

    Images of identity -1 are junk. They are excluded from the training images, where they would
    become a class, and from the queries; ``summary`` says how many. In the gallery they stay, and
    evaluation ignores them.

    Args:
        name: what to call it in tables and errors.
        train: images to learn from.
        query: images of people to be found again.
        gallery: images among which they are looked for.

    Raises:
        TypeError: an identity or a camera is a boolean, a string or no number.
        ValueError: a split is empty; an identity or a camera is no whole number, or too large for
            int64; a training identity is also a test identity; an image is there twice. Two paths
            that lead to one file (links, other spellings where the file system takes them for the
            same) are one image. A query may lie in the gallery too, the same in identity and
            camera, where the camera is known: evaluation excludes what a query's own camera took.

    >>> train = (Sample(Path("a.jpg"), 7, 1), Sample(Path("b.jpg"), 3, 2))
    >>> test = (Sample(Path("c.jpg"), 1, 1),), (Sample(Path("d.jpg"), 1, 2),)
    >>> data = ReIDDataset("people", train, *test)
    >>> data.num_identities, data.labels
    (2, {3: 0, 7: 1})
    """

    name: str
    train: tuple[Sample, ...]
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    _num_junk: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for split, samples in self._splits():
            read = [as_sample(sample, self.name) for sample in samples]
            kept = [s for s in read if s.identity != JUNK or split == "gallery"]
            object.__setattr__(self, split, tuple(kept))
            object.__setattr__(self, "_num_junk", self._num_junk + len(read) - len(kept))
            if not kept:
                junk = f" ({len(read)} of identity -1, which is junk)" if read else ""
                raise ValueError(
                    f"{self.name} has no {split} images{junk}; it needs train, query and gallery"
                )
        trained = {sample.identity: sample.path for sample in self.train}
        shared = {
            sample.identity: (trained[sample.identity], sample.path)
            for sample in (*self.query, *self.gallery)
            if sample.identity in trained
        }
        if shared:
            identity, (train_path, test_path) = next(iter(shared.items()))
            raise ValueError(
                f"{self.name} trains on {len(shared)} of its test identities: identity {identity} "
                f"is in train ({train_path}) and in the test ({test_path}). Take each of them out "
                f"of one of the two, or give two people two numbers"
            )
        placed = [(split, sample) for split, samples in self._splits() for sample in samples]
        if twice := find_twice(placed):
            (_, first), (_, second) = (placed[place] for place in twice)
            told = " and ".join(
                f"in {split} as identity {sample.identity} of camera {sample.camera}"
                for split, sample in (placed[place] for place in twice)
            )
            raise ValueError(
                f"{self.name} has the image {name_both(first, second)} twice: {told}; {TWICE}"
            )

    @cached_property
    def labels(self) -> dict[int, int]:
        """Training identity → label 0, 1, 2, … in the order of the identities: no rank differs."""
        identities = sorted({sample.identity for sample in self.train})
        return {identity: label for label, identity in enumerate(identities)}

    @property
    def num_identities(self) -> int:
        """How many people the training images show."""
        return len(self.labels)

    def summary(self) -> str:
        """Lay out how many images, identities and cameras each split has.

        >>> one, two, three = (Sample(Path(f"{i}.jpg"), min(i, 1), None) for i in range(3))
        >>> print(ReIDDataset("pair", (one,), (two,), (three,)).summary())
        pair          images   identities      cameras
        train              1            1            0
        query              1            1            0
        gallery            1            1            0
        """
        rows = [f"{self.name:<8}{'images':>12}{'identities':>13}{'cameras':>13}"]
        for split, samples in self._splits():
            identities = {sample.identity for sample in samples}
            cameras = {sample.camera for sample in samples} - {None}
            rows.append(f"{split:<8}{len(samples):>12,}{len(identities):>13,}{len(cameras):>13,}")
        if self._num_junk:
            rows.append(
                f"{self._num_junk:,} images of no person (junk) excluded from train and query"
            )
        return "\n".join(rows)

    def _splits(self) -> Iterable[tuple[str, tuple[Sample, ...]]]:
        return (("train", self.train), ("query", self.query), ("gallery", self.gallery))


def as_sample(sample: Sample, caller: str) -> Sample:
    """Return a sample with identity and camera as ints, the camera None where it is unknown."""
    path, identity, camera = sample
    plain = type(identity) is int and abs(identity) < LIMIT
    if plain and (camera is None or (type(camera) is int and camera != -1 and abs(camera) < LIMIT)):
        return sample  # nearly all, at no cost: a data set may have a million
    person = whole_number(
        identity,
        f"{caller} expects the identity of {path}",
        "number people from 0 on; from_csv reads names",
    )
    if camera is not None:
        camera = whole_number(
            camera,
            f"{caller} expects the camera of {path}",
            "number cameras from 0 on; None is an unknown one",
        )
    return sample._replace(identity=person, camera=None if camera == -1 else camera)


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


def find_twice(placed: Sequence[tuple[str, Sample]]) -> tuple[int, int] | None:
    """Find the first two of (split, sample) that hold one image, against the rule in ``TWICE``."""
    seen: dict[object, list[int]] = {}
    for place, (split, sample) in enumerate(placed):
        places = seen.setdefault(file_key(sample.path), [])
        for before in places:
            where, first = placed[before]
            both = {where, split} == {"query", "gallery"} and first[1:] == sample[1:]
            if not both or sample.camera in (None, -1):
                return before, place
        places.append(place)
    return None


def name_both(first: Sample, second: Sample) -> str:
    """Name an image that is there twice, by both its paths where they are not the same."""
    if os.path.abspath(first.path) == os.path.abspath(second.path):
        return f"{second.path}"
    return f"{second.path} (one file with {first.path})"
