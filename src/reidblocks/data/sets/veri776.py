"""VeRi-776, of vehicles."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import Layout, read_layout


def read_veri776(root: str | Path) -> ReIDDataset:
    """Read VeRi-776, of vehicles: ``image_train``, ``image_query`` and ``image_test``.

    ``0001_c001_00016450_0.jpg`` shows vehicle 1, taken by camera 1 in frame 16450.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Liu et al., "A Deep Learning-Based Approach to Progressive Vehicle Re-identification
    for Urban Surveillance", ECCV 2016.
    """
    layout = Layout(
        "VeRi776",
        ("VeRi", "VeRi-776"),
        {"train": "image_train", "query": "image_query", "gallery": "image_test"},
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_(?P<time>\d+)_\d+\."),
        "0001_c001_00016450_0.jpg",
        counts={"train": 37_778, "query": 1_678, "gallery": 11_579},
    )
    return read_layout(layout, root)
