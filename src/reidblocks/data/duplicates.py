"""Images that a data set holds twice, whatever their paths."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reidblocks.data.paths import file_key, file_keys

if TYPE_CHECKING:
    from reidblocks.data.samples import Sample

TWICE = (
    "keep one of the two: only a query may be given again, in the gallery, with the same identity "
    "and the same camera; a query without a camera cannot also be in the gallery, as it would "
    "find itself"
)


def find_twice(placed: Sequence[tuple[str, "Sample"]]) -> tuple[int, int] | None:
    """Find the first two of (split, sample) that hold one image, against the rule in ``TWICE``."""
    keys = file_keys([sample.path for _, sample in placed])
    if len({*keys}) == len(keys):
        return None  # nearly always
    seen: dict[object, int] = {}
    again: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        if (original := seen.setdefault(key, place)) == place:
            continue  # nearly all
        split, sample = placed[place]
        for before in (original, *again.get(original, ())):
            where, first = placed[before]
            both = {where, split} == {"query", "gallery"} and first[1:] == sample[1:]
            if both and sample.camera not in (None, -1):
                continue
            if file_key(first.path) == file_key(sample.path):
                return before, place
        again.setdefault(original, []).append(place)
    return None


def name_both(first: "Sample", second: "Sample") -> str:
    """Name an image that is there twice, by both its paths where they are not the same."""
    if os.path.abspath(first.path) == os.path.abspath(second.path):
        return f"{second.path}"
    return f"{second.path} (one file with {first.path})"
