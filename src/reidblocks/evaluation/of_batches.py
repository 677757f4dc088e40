"""What batches tell of their images, besides their identity and camera."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reidblocks.evaluation.labels import as_labels, as_times

_LABELS = {"sequences": "sequence", "clothes": "clothes"}  # of Features: of a batch


def known_of_batch(caller: str, batch: object, number: int) -> dict[str, Any]:
    """Paths, sequences, clothes and times of a batch; None, −1 and NaN where there is none."""
    paths = getattr(batch, "path", None)
    found: dict[str, Any] = {
        "paths": [None] * number if paths is None else _paths(caller, paths, number)
    }
    for name, field in _LABELS.items():
        given = getattr(batch, field, None)
        given = [-1] * number if given is None else given
        found[name] = as_labels(caller, field, given, number).cpu()
    given = getattr(batch, "time", None)
    given = [None] * number if given is None else given
    return found | {"times": as_times(caller, "time", given, number).cpu()}


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """These fields over all batches, without those in which nothing is known of any image."""
    paths = [path for part in parts for path in part["paths"]]
    times = torch.cat([part["times"] for part in parts])
    found: dict[str, list[str | None] | Tensor] = {}
    if any(paths):
        found["paths"] = paths
    for name in _LABELS:
        labels = torch.cat([part[name] for part in parts])
        if bool((labels != -1).any()):
            found[name] = labels
    if not bool(times.isnan().all()):
        found["times"] = times
    return found


def _paths(caller: str, given: Sequence[Any], number: int) -> list[str | None]:
    if isinstance(given, str | bytes) or len(given) != number:
        raise ValueError(
            f"{caller} expects path as a list of {number}, one for each image, got {given!r:.80}"
        )
    return [None if path in (None, "") else os.fspath(path) for path in given]
