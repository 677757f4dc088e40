"""MARS, of tracklets, which MATLAB files list."""

import re
from collections.abc import Sequence
from pathlib import Path

from reidblocks.data.samples import JUNK, ReIDDataset, Sample
from reidblocks.data.sets.layout import expect_files, find_home, warn_of_counts

NAME = "MARS"
HOMES = ("mars", "MARS-v160809")
COUNTS = {"train tracklets": 8_298, "query tracklets": 1_980, "gallery tracklets": 9_330}
_FRAME = re.compile(r".*F(\d+)\.")


def read_mars(root: str | Path, *, keep_junk: bool = False) -> ReIDDataset:
    """Read MARS: the frames of its tracklets, each with its tracklet as ``sequence``.

    ``0001/0001C1T0001F001.jpg`` is frame 1, which is its ``time``. The lists ``info/*.mat`` say
    which frames are a tracklet, whom it shows and which camera took it; reading them needs SciPy,
    the extra ``mars``. Identity 0 is a distractor and stays in the gallery. The official results
    average the features of a tracklet's frames, on both sides.

    Args:
        root: the set's own folder, with ``bbox_train``, ``bbox_test`` and ``info`` in it, or the
            one above it.
        keep_junk: keep the gallery's junk, for an evaluation that skips identity −1 by itself.

    Raises:
        ImportError: SciPy is not installed.
        FileNotFoundError: a folder, a list or an image that a list names is missing.
        ValueError: a list cannot be read.

    Source: Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-identification",
    ECCV 2016.
    """
    home = find_home(NAME, HOMES, root, ("bbox_train", "bbox_test", "info"))
    info = home / "info"
    train = _tracklets(home, "train", _matrix(info / "tracks_train_info.mat"))
    test = _tracklets(home, "test", _matrix(info / "tracks_test_info.mat"))
    asked = {int(number) - 1 for row in _matrix(info / "query_IDX.mat") for number in row}
    if bad := [number + 1 for number in asked if not 0 <= number < len(test)]:
        raise ValueError(f"{info / 'query_IDX.mat'} names tracklet {bad[0]} of {len(test)}")
    query = [test[number] for number in sorted(asked)]
    gallery = [tracklet for number, tracklet in enumerate(test) if number not in asked]
    known = [tracklet for tracklet in gallery if tracklet[0].identity != JUNK]
    found = [len(train), len(query), len(known)]
    warn_of_counts(NAME, HOMES, home, dict(zip(COUNTS, found, strict=True)), COUNTS)
    gallery = gallery if keep_junk else known
    return ReIDDataset(NAME, _frames(train), _frames(query), _frames(gallery))


def _frames(tracklets: Sequence[Sequence[Sample]]) -> tuple[Sample, ...]:
    return tuple(sample for tracklet in tracklets for sample in tracklet)


def _tracklets(home: Path, split: str, rows: Sequence[Sequence[int]]) -> list[list[Sample]]:
    """The samples of each tracklet: a row of first and last image (from 1), identity, camera."""
    path = home / "info" / f"{split}_name.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{NAME} misses {path}; unpack MARS-evaluation's info there")
    folder = home / f"bbox_{split}"
    names = [f"{name[:4]}/{name}" for name in path.read_text(encoding="utf-8").split()]
    expect_files(NAME, path.name, folder, names)
    tracklets = []
    for number, row in enumerate(rows):
        if len(row) != 4 or not 1 <= row[0] <= row[1] <= len(names):
            raise ValueError(
                f"{home / 'info' / f'tracks_{split}_info.mat'} row {number + 1} is {list(row)}; "
                f"expected first and last of {len(names)} images, identity and camera"
            )
        first, last, identity, camera = map(int, row)
        tracklet = []
        for name in names[first - 1 : last]:
            frame = _FRAME.match(name)
            if frame is None:
                raise ValueError(
                    f"{path} has the name {name}; expected names like 0001C1T0001F001.jpg"
                )
            time = float(frame[1])
            tracklet.append(Sample(folder / name, identity, camera, number, time=time))
        tracklets.append(tracklet)
    return tracklets


def _matrix(path: Path) -> Sequence[Sequence[int]]:
    """The one matrix in a MATLAB file, row by row."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            "read_mars reads MATLAB files with SciPy: pip install 'reidblocks[mars]'"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"{NAME} misses {path}; unpack MARS-evaluation's info there")
    try:
        values = [value for name, value in loadmat(path).items() if not name.startswith("_")]
    except Exception as error:  # damaged bytes make SciPy raise nearly anything
        raise ValueError(f"{path} is no MATLAB file, or a damaged one: {error}") from error
    if len(values) != 1 or getattr(values[0], "ndim", 0) != 2:
        raise ValueError(f"{path} holds {len(values)} variables; expected one matrix")
    rows: Sequence[Sequence[int]] = values[0].tolist()
    return rows
