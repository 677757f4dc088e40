"""LTCC, whose people change clothes."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import Layout, read_layout


def read_ltcc(root: str | Path) -> ReIDDataset:
    """Read LTCC, whose people change clothes: ``train``, ``query`` and ``test``.

    ``001_2_c5_015833.png`` shows identity 1 in outfit 2, taken by camera 5.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Qian et al., arXiv 2005.12633.
    """
    layout = Layout(
        "LTCC",
        ("LTCC_ReID", "ltcc"),
        {"train": "train", "query": "query", "gallery": "test"},
        re.compile(r"(?P<identity>\d+)_(?P<clothes>\d+)_c(?P<camera>\d+)_"),
        "001_2_c5_015833.png",
        counts={"train": 9_576, "query": 493, "gallery": 7_050},
    )
    return read_layout(layout, root)
