"""DukeMTMC-reID and Occluded-Duke, which is made of it."""

import re
from dataclasses import replace
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import BOXES, Layout, read_layout

_DUKE = Layout(
    "DukeMTMC",
    ("DukeMTMC-reID", "dukemtmc"),
    BOXES,
    re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_f\d+\."),
    "0001_c2_f0046182.jpg",
    counts={"train": 16_522, "query": 2_228, "gallery": 17_661},
)


def read_dukemtmc(root: str | Path) -> ReIDDataset:
    """Read DukeMTMC-reID: ``bounding_box_train``, ``query`` and ``bounding_box_test``.

    ``0001_c2_f0046182.jpg`` shows identity 1, taken by camera 2. The authors withdrew this data
    set in 2019. The reader serves comparison with results published before that, for those who
    hold it; there is no link to it here.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Ristani et al., arXiv 1609.01775; Zheng et al., arXiv 1701.07717.
    """
    return read_layout(_DUKE, root)


def read_occluded_duke(root: str | Path) -> ReIDDataset:
    """Read Occluded-Duke, whose queries are all occluded: folders and names of DukeMTMC-reID.

    It is made of the withdrawn DukeMTMC-reID.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Miao et al., "Pose-Guided Feature Alignment for Occluded Person Re-identification",
    ICCV 2019.
    """
    layout = replace(
        _DUKE,
        name="Occluded_Duke",
        homes=("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-DukeMTMC"),
        counts={"train": 15_618, "query": 2_210, "gallery": 17_661},
    )
    return read_layout(layout, root)
