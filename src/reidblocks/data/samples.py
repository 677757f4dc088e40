"""What a data set is: three tuples of samples that are sound together."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from reidblocks.data.duplicates import TWICE, find_twice, name_both
from reidblocks.data.numbers import LIMIT, whole_number
from reidblocks.data.paths import no_collection

JUNK = -1  # the identity of images that show no person, or none who is known


class Sample(NamedTuple):
    """One image and its labels; None is unknown.

    >>> Sample(Path("a.jpg"), 7, 2, time=31.5)._replace(camera=None).time
    31.5
    """

    path: Path
    identity: int  # number of the person; -1 is junk, an image of nobody who is known
    camera: int | None  # its number
    sequence: int | None = None  # number of the tracklet, video or action that it belongs to
    clothes: int | None = None  # number of the outfit; it tells outfits of one person apart
    modality: str | None = None  # kind of the image, such as "infrared"
    time: float | None = None  # when it was taken, in any unit that grows; frames count


@dataclass(frozen=True)
class ReIDDataset:
    """The training images, the queries, and the gallery that they are searched in.

    A set to test on has no training images, one to train on neither queries nor a gallery.

    Identities and cameras may be of any integer type, also of NumPy and torch, or whole floats;
    they are kept as ints. The camera -1, as batches write an unknown one, becomes None.

    Images of identity -1 are junk. They are excluded from the training images, where they would
    become a class, and from the queries; ``summary`` says how many. In the gallery they stay, and
    evaluation ignores them.

    Args:
        name: what to call it in tables and errors.
        train: images to train on.
        query: images of people to be found again.
        gallery: images that they are searched in.
        identity_names, camera_names: what the people and cameras are called, by their numbers;
            those without a name are called by their number.

    Raises:
        TypeError: an identity, a camera, a sequence or clothes are a boolean, a string or no
            number; a modality is not a string; a time is not a number.
        ValueError: there are no images, queries without a gallery, or a gallery without queries;
            one of the numbers is not whole, or too large for int64; a time is not finite; a
            training identity is also a test identity; an image is there twice. Two paths that
            lead to one file (links, other spellings where the file system takes them for the
            same) are one image. A query may lie in the gallery too, the same in all that is
            known of it, where the camera is known: evaluation excludes what a query's own camera
            took.

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
    identity_names: Mapping[int, str] = field(default_factory=dict, repr=False, hash=False)
    camera_names: Mapping[int, str] = field(default_factory=dict, repr=False, hash=False)
    _num_junk: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        with no_collection():
            self._expect_sound()

    def _expect_sound(self) -> None:
        for split, samples in self._splits():
            read = [as_sample(sample, self.name) for sample in samples]
            kept = [s for s in read if s.identity != JUNK or split == "gallery"]
            object.__setattr__(self, split, tuple(kept))
            object.__setattr__(self, "_num_junk", self._num_junk + len(read) - len(kept))
            if read and not kept:
                raise ValueError(
                    f"{self.name} has no {split} images but {len(read)} of identity -1, which is "
                    "junk"
                )
        if bool(self.query) != bool(self.gallery) or not (self.train or self.query):
            missing = [split for split, samples in self._splits() if not samples]
            raise ValueError(
                f"{self.name} has no {' and no '.join(missing)} images; it needs train, or query "
                "and gallery, or all three"
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
                f"{self.name} trains on {len(shared)} of its test identities: identity "
                f"{self.identity_name(identity)} is in train ({train_path}) and in the test "
                f"({test_path}). Take each of them out of one of the two, or give two people two "
                "numbers"
            )
        placed = [(split, sample) for split, samples in self._splits() for sample in samples]
        if twice := find_twice(placed):
            (_, first), (_, second) = (placed[place] for place in twice)
            told = " and ".join(
                f"in {split} as identity {self.identity_name(sample.identity)} of camera "
                f"{self.camera_name(sample.camera)}"
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

    def identity_name(self, identity: int) -> str:
        """Return what a person is called: the name, or the number where there is none."""
        return self.identity_names.get(identity, f"{identity}")

    def camera_name(self, camera: int | None) -> str:
        """Return what a camera is called: the name, or the number where there is none."""
        return "unknown" if camera is None else self.camera_names.get(camera, f"{camera}")

    def summary(self) -> str:
        """Return a table of how many images, identities and cameras each split has.

        >>> one, two, three = (Sample(Path(f"{i}.jpg"), min(i, 1), None) for i in range(3))
        >>> print(ReIDDataset("pair", (one,), (two,), (three,)).summary())
        pair          images   identities      cameras
        train              1            1            0
        query              1            1            0
        gallery            1            1            0
        """
        width = max(8, len(self.name) - 5)
        rows = [f"{self.name:<{width + 5}}{'images':>7}{'identities':>13}{'cameras':>13}"]
        for split, samples in self._splits():
            if not samples:
                continue
            identities = {sample.identity for sample in samples}
            cameras = {sample.camera for sample in samples} - {None}
            rows.append(
                f"{split:<{width}}{len(samples):>12,}{len(identities):>13,}{len(cameras):>13,}"
            )
        if self._num_junk:
            rows.append(
                f"{self._num_junk:,} images of no person (junk) excluded from train and query"
            )
        return "\n".join(rows)

    def _splits(self) -> Iterable[tuple[str, tuple[Sample, ...]]]:
        return (("train", self.train), ("query", self.query), ("gallery", self.gallery))


def as_sample(sample: Sample, caller: str) -> Sample:
    """Return a sample with its numbers as ints, the camera None where it is unknown."""
    path, identity, camera, *others = sample
    plain = type(identity) is int and abs(identity) < LIMIT
    if plain and (camera is None or (type(camera) is int and camera != -1 and abs(camera) < LIMIT)):
        if others == _UNKNOWN:
            return sample  # nearly all, at no cost: a data set may have a million
    else:
        what = f"{caller} expects the {{}} of {path}"
        identity = whole_number(
            identity, what.format("identity"), "number people from 0 on; from_csv reads names"
        )
        if camera is not None:
            hint = "number cameras from 0 on; None is an unknown one"
            camera = whole_number(camera, what.format("camera"), hint)
    return Sample(path, identity, None if camera == -1 else camera, *_others(sample, caller))


_UNKNOWN = [None, None, None, None]


def _others(sample: Sample, caller: str) -> tuple[int | None, int | None, str | None, float | None]:
    """Check what a sample may tell besides identity and camera."""
    path, _, _, sequence, clothes, modality, time = sample
    what = f"{caller} expects the {{}} of {path}"
    if sequence is not None:
        sequence = whole_number(sequence, what.format("sequence"), "None is an unknown one")
    if clothes is not None:
        clothes = whole_number(clothes, what.format("clothes"), "None are unknown ones")
    if modality is not None and not isinstance(modality, str):
        raise TypeError(f"{what.format('modality')} as a string, got {modality!r}")
    if time is not None:
        if isinstance(time, bool | str) or not hasattr(time, "__float__"):
            raise TypeError(f"{what.format('time')} as a number, got {time!r}; count seconds")
        if not math.isfinite(time):
            raise ValueError(f"{what.format('time')} as a finite number, got {time}")
    return sequence, clothes, modality, None if time is None else float(time)
