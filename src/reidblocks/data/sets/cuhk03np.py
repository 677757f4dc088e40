"""CUHK03 in its new protocol."""

import re
from pathlib import Path
from typing import Literal

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import BOXES, Layout, read_layout

_RAW = ("cuhk-03.mat", "*/cuhk-03.mat", "cuhk03_release.zip", "*/cuhk03_release.zip")


def read_cuhk03np(
    root: str | Path, *, boxes: Literal["labeled", "detected"] = "labeled"
) -> ReIDDataset:
    """Read CUHK03 in its new protocol, from the prepared folders ``labeled`` and ``detected``.

    ``0001_c1_1.png`` shows identity 1, taken by camera 1.

    Args:
        root: the set's own folder, the one above it, or one of the two in it.
        boxes: drawn by hand or found by a detector.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: ``boxes`` is neither; a name cannot be read, a split is empty, or a training
            identity is in the test; what lies there is the raw release, ``cuhk-03.mat``.

    Source: Li et al., "DeepReID", CVPR 2014; Zhong et al., arXiv 1701.08398.
    """
    if boxes not in ("labeled", "detected"):
        raise ValueError(f"read_cuhk03np expects boxes as labeled or detected, got {boxes!r}")
    train, gallery = {"labeled": (7_368, 5_328), "detected": (7_365, 5_332)}[boxes]
    layout = Layout(
        "CUHK03NP",
        ("cuhk03-np", "cuhk03", boxes),
        BOXES,
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_\d+\."),
        "0001_c1_1.png",
        counts={"train": train, "query": 1_400, "gallery": gallery},
    )
    try:
        return read_layout(layout, root)
    except FileNotFoundError:
        home = Path(root).expanduser()
        raw = next((path for below in _RAW for path in home.glob(below)), None)
        if raw is None:
            raise
        raise ValueError(
            f"CUHK03NP reads the ready-made folders labeled and detected, but {raw} is the raw "
            "release, which is not read. Get CUHK03-NP, whose authors published it with arXiv "
            "1701.08398, and give the folder that holds the two"
        ) from None
