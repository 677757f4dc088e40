"""What a loader's data set knows of its images, beside their identity and camera."""

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor


def samples_of(loader: object) -> Sequence[Any] | None:
    """The samples behind a loader, as ``reidblocks.data.ImageDataset`` holds them, or None.

    Data sets that wrap another (``CachedImages``, torch's ``Subset``) are looked through, since a
    batch's ``position`` is a place among the innermost samples.
    """
    dataset = getattr(loader, "dataset", None)
    for _ in range(8):  # wrapped so often at most
        samples = getattr(dataset, "samples", None)
        if isinstance(samples, Sequence):
            return samples
        dataset = getattr(dataset, "dataset", None) or getattr(dataset, "images", None)
    return None


def known_of_samples(samples: Sequence[Any], positions: Tensor) -> dict[str, list[Any]]:
    """Paths, sequences, clothes and times at these positions: each field that any sample has."""
    chosen = [samples[place] for place in positions.tolist()]
    found: dict[str, list[Any]] = {}
    for name, (field, none) in _FIELDS.items():
        values = [getattr(sample, field, None) for sample in chosen]
        if any(value is not None for value in values):
            found[name] = [none if value is None else value for value in values]
    if "paths" in found:
        found["paths"] = [None if path is None else os.fspath(path) for path in found["paths"]]
    return found


_FIELDS = {  # of Features: the sample's attribute, and what stands for none
    "paths": ("path", None),
    "sequences": ("sequence", -1),
    "clothes": ("clothes", -1),
    "times": ("time", None),
}
