"""Queries that are in the gallery themselves: finding such an image again proves nothing."""

import os
import unicodedata

import torch

from reidblocks.evaluation._spans import SharedLabels
from reidblocks.evaluation.features import Features


def self_matches(query: Features, gallery: Features) -> SharedLabels | None:
    """Return the pairs that are one image, or None where there is none.

    An image is known by its path. Where both sides are one object, row i is row i as well.
    """
    same = query is gallery
    if same and query.paths is None:
        rows = torch.arange(len(query), device=query.values.device)
        return SharedLabels(rows, rows)
    if query.paths is None or gallery.paths is None:
        return None
    numbers: dict[str, int] = {}  # a path's is its first query row
    queries = [
        (row if same else -1) if path is None else numbers.setdefault(_normal(path), row)
        for row, path in enumerate(query.paths)
    ]
    images = (
        queries
        if same
        else [-1 if path is None else numbers.get(_normal(path), -1) for path in gallery.paths]
    )
    if max(images, default=-1) < 0:
        return None
    device = query.values.device
    return SharedLabels(torch.tensor(queries, device=device), torch.tensor(images, device=device))


def _normal(path: str) -> str:
    """Return one spelling of a path, as ``a/./b`` and ``a/b`` are; no file is looked at."""
    return unicodedata.normalize("NFC", os.path.normcase(os.path.normpath(path)))
