"""What a data set is: three tuples of samples that are sound together."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

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

    Args:
        name: what to call it in tables and errors.
        train: images to learn from.
        query: images of people to be found again.
        gallery: images among which they are looked for.

    Raises:
        ValueError: a split is empty; a training identity is also a test identity; an image is
            there twice, however its path is written. A query may lie in the gallery too, the same
            in identity and camera, where the camera is known: evaluation leaves out what a query's
            own camera took.

    The camera -1, as batches write an unknown one, becomes None.

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

    def __post_init__(self) -> None:
        for split, samples in self._splits():
            known = (s._replace(camera=None) if s.camera == -1 else s for s in samples)
            object.__setattr__(self, split, tuple(known))
            if not samples:
                raise ValueError(
                    f"{self.name} has no {split} images; it needs train, query and gallery"
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
            told = " and ".join(
                f"in {split} as identity {sample.identity} of camera {sample.camera}"
                for split, sample in (placed[place] for place in twice)
            )
            raise ValueError(
                f"{self.name} has the image {placed[twice[1]][1].path} twice: {told}; {TWICE}"
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
        return "\n".join(rows)

    def _splits(self) -> Iterable[tuple[str, tuple[Sample, ...]]]:
        return (("train", self.train), ("query", self.query), ("gallery", self.gallery))


def find_twice(placed: Sequence[tuple[str, Sample]]) -> tuple[int, int] | None:
    """Find the first two of (split, sample) that hold one image, against the rule in ``TWICE``."""
    seen: dict[str, list[int]] = {}
    for place, (split, sample) in enumerate(placed):
        places = seen.setdefault(os.path.abspath(sample.path), [])
        for before in places:
            where, first = placed[before]
            both = {where, split} == {"query", "gallery"} and first[1:] == sample[1:]
            if not both or sample.camera in (None, -1):
                return before, place
        places.append(place)
    return None
