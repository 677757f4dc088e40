"""SynergyReID, of basketball players."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import Layout, read_layout


def read_synergyreid(root: str | Path) -> ReIDDataset:
    """Read SynergyReID: ``reid_training``, ``reid_test/query`` and ``reid_test/gallery``.

    ``0001_02_0003.jpeg`` shows identity 1 in sequence 2, in frame 3, which is its ``time``; queries
    are of a sequence's first frame. Names have no camera: queries count as camera 0 and the gallery
    as camera 1, so that excluding a query's own camera excludes nothing.

    Args:
        root: the set's own folder (``synergyreid_data``, or ``data_reid`` as the authors' archive
            calls it), or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Van Zandycke et al., arXiv 2208.08190.
    """
    layout = Layout(
        "SynergyReID",
        ("synergyreid_data", "data_reid", "synergyreid"),
        {"train": "reid_training", "query": "reid_test/query", "gallery": "reid_test/gallery"},
        re.compile(r"(?P<identity>\d+)_(?P<sequence>\d+)_(?P<time>\d+)\."),
        "0001_02_0003.jpeg",
        counts={"train": 8_569, "query": 50, "gallery": 910},
        cameras={"query": 0, "gallery": 1},
    )
    return read_layout(layout, root)
