"""The rows of a gallery: what is known of each embedding, checked, and tracks merged."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from reidblocks._checks import at_least_float32, expect_shape, expect_size
from reidblocks._vectors import unit_vectors

TEXTS = ("person", "camera", "track", "source")

#: One name for all, or one for each embedding; None is unknown.
Names: TypeAlias = str | int | Sequence[str | int | None] | Tensor | None
Times: TypeAlias = float | Sequence[float | None] | Tensor | None


class GalleryMatch(NamedTuple):
    """A row of the gallery and its distance, 1 − cos, from a query; None is unknown."""

    person: str | None
    distance: float
    camera: str | None
    time: float | None
    track: str | None
    source: str | None  # of the image, or the first of the track
    images: int  # 1, or how many images the track's embedding is of


class GalleryPerson(NamedTuple):
    """The contents of a gallery for one person; the name None is for all rows without a name."""

    name: str | None
    rows: int
    images: int  # more than rows where there are tracks
    cameras: tuple[str, ...]
    first: float | None  # the earliest time that is known
    last: float | None


@dataclass(frozen=True)
class Row:
    """One embedding with what is known of it."""

    vector: "np.ndarray[tuple[int], np.dtype[np.float32]]"  # L2-normalized
    person: str | None
    camera: str | None
    track: str | None
    time: float | None
    source: str | None
    images: int = 1
    agreement: float = 1.0  # the length of the mean of the images' L2-normalized vectors


def unit_rows(caller: str, embeddings: Any, dimension: int) -> Tensor:
    """Return embeddings (N, D) L2-normalized, in float32 on the CPU, or say what is wrong."""
    vectors = torch.from_numpy(embeddings) if isinstance(embeddings, np.ndarray) else embeddings
    expect_shape(caller, "embeddings", vectors, "N D")
    expect_size(caller, "embeddings", vectors, 1, dimension)
    vectors = at_least_float32(vectors.detach().cpu())
    for wrong, what in (
        (~vectors.isfinite().all(1), "NaN or infinity"),
        ((vectors == 0).all(1), "zeros alone, which have no direction,"),
    ):
        if found := wrong.nonzero().flatten().tolist():
            raise ValueError(
                f"{caller} expects finite embeddings that are not zero, got {what} in "
                f"{len(found)} of {len(vectors)} rows, first in row {found[0]}; leave them out"
            )
    return unit_vectors(vectors).float()


def make_rows(
    vectors: Tensor, person: Names, camera: Names, time: Times, track: Names, source: Names
) -> list[Row]:
    """Return a row for each embedding; what is given once is of all of them."""
    number = len(vectors)
    given = {"person": person, "camera": camera, "track": track, "source": source}
    texts = [_texts(name, value, number) for name, value in given.items()]
    times = [_time(each) for each in _each("time", time, number)]
    rows = [
        Row(vector, who, where, which, when, origin)
        for vector, who, where, which, origin, when in zip(
            vectors.numpy(), *texts, times, strict=True
        )
    ]
    for place, row in enumerate(rows):
        if row.track is not None and row.camera is None:
            raise ValueError(
                f"add expects the camera of each track, got none for track {row.track} in row "
                f"{place}: the trackers of two cameras count the same numbers; give camera="
            )
    return rows


def merge_tracks(rows: Sequence[Row], kept: Sequence[Row]) -> list[Row]:
    """Return the rows with those of one track as one, merged with what is kept of it already.

    Raises:
        ValueError: a track's images name two people, or cancel each other.
    """
    tracks: dict[tuple[str | None, str], list[Row]] = {}
    alone = []
    for row in (*kept, *rows):
        if row.track is None:
            alone.append(row)
        else:
            tracks.setdefault((row.camera, row.track), []).append(row)
    return alone + [_merged(track) for track in tracks.values()]


def _merged(track: Sequence[Row]) -> Row:
    first = track[0]
    name = f"track {first.track} of camera {first.camera}"
    people = list(dict.fromkeys(row.person for row in track if row.person is not None))
    if len(people) > 1:
        raise ValueError(
            f"add expects one person for {name}, got {people[0]} and {people[1]}; give the track "
            "another name, or remove it first"
        )
    images = sum(row.images for row in track)
    sums = [row.vector.astype(np.float64) * (row.agreement * row.images) for row in track]
    total = np.sum(sums, axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-6 * images:
        raise ValueError(f"add expects images that do not cancel each other, as those of {name} do")
    known = [row.time for row in track if row.time is not None]
    return replace(
        first,
        vector=(total / length).astype(np.float32),
        person=people[0] if people else None,
        time=min(known, default=None),
        source=next((row.source for row in track if row.source is not None), None),
        images=images,
        agreement=length / images,
    )


def as_name(name: str, value: Any) -> str:
    """Return a name, or an integer, as the text that is kept."""
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError(f"{name} expects a name, or None where it is unknown, got {value!r}")
        return unicodedata.normalize("NFC", value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{int(value)}"
    raise TypeError(f"{name} expects a name or a whole number, got {value!r:.80}")


def _texts(name: str, value: Names, number: int) -> list[str | None]:
    if name == "source" and hasattr(value, "__fspath__"):
        value = str(value)
    return [
        None if each is None else as_name(name, str(each) if hasattr(each, "__fspath__") else each)
        for each in _each(name, value, number)
    ]


def _each(name: str, value: Any, number: int) -> Sequence[Any]:
    value = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    if value is None or isinstance(value, str | Real):
        return [value] * number
    if not isinstance(value, Sequence):
        raise TypeError(f"add expects {name} once or for each embedding, got {value!r:.80}")
    if len(value) != number:
        raise ValueError(
            f"add expects {name} once or for each of {number} embeddings, got {len(value)}"
        )
    return value


def _time(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            f"time expects a number of seconds, got {value!r:.80}; a datetime has .timestamp()"
        )
    if math.isinf(value):
        raise ValueError(f"time expects a finite number of seconds, got {value}")
    return None if math.isnan(value) else float(value)
