"""Crops from the videos of MOT17, DanceTrack, SportsMOT and others of their layout."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reidblocks._files import atomic_path, make_folder
from reidblocks._images import read_image
from reidblocks._progress import counted
from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sets.layout import find_home, list_images

NAME = "MOT"
HOMES = ("MOT17", "MOT20", "DanceTrack", "SportsMOT")
PEDESTRIAN = 1
_CROP = re.compile(r"(?P<person>\d+)_(?P<time>\d+)\.")
_DETECTOR = re.compile(r"-(DPM|FRCNN|SDP)$")  # MOT17 has each video once for each of the three


class _Box(NamedTuple):
    frame: int
    person: int
    edges: tuple[float, float, float, float]  # left, top, right, bottom


def crop_mot(
    root: str | Path,
    out: str | Path,
    *,
    every: int = 10,
    min_visibility: float = 0.3,
    progress: bool = False,
) -> Path:
    """Crop the people from videos in the layout of MOTChallenge once; ``read_mot`` reads them.

    ``SET/train/VIDEO/img1/000001.jpg`` are frames, and lines of ``gt/gt.txt`` there say
    ``frame,id,x,y,w,h,flag,class,visibility``. Lines of another class than 1, or of flag 0, are
    none of people to be found. Crops are written as ``OUT/train/VIDEO/ID_FRAME.jpg``; those that
    are there are kept. Of MOT17, which has each video three times, one is taken.

    Args:
        root: the set's own folder, with ``train`` and, where there is one, ``val`` in it.
        out: where to write.
        every: take each this-many-th frame.
        min_visibility: fraction of a person that must be visible, where the lines tell it.
        progress: show on standard error how far it is.

    Returns:
        The folder to give to ``read_mot``.

    Raises:
        FileNotFoundError: a folder, a ``gt.txt`` or a frame is missing.
        ValueError: every is below 1, a line cannot be read, or no person is visible enough.
        OSError: a frame cannot be read, or a crop not be written.
    """
    if every < 1:
        raise ValueError(f"crop_mot expects every from 1 on, got {every}")
    home, out = find_home(NAME, HOMES, root, ("train",)), Path(out).expanduser()
    tasks = [
        (video, out / split / _DETECTOR.sub("", video.name), frame, boxes)
        for split in ("train", "val")
        if (home / split).is_dir()
        for video in _videos(home / split)
        for frame, boxes in _boxes(video, min_visibility).items()
        if (frame - 1) % every == 0
    ]
    if not tasks:
        raise ValueError(f"crop_mot finds no person in every {every}th frame of {home}")
    for video, folder, frame, boxes in counted(tasks, "frames cut:", len(tasks), shown=progress):
        _cut(video / "img1", folder, frame, boxes)
    return out


def _videos(split: Path) -> Iterator[Path]:
    """The videos of a split, each once."""
    seen = set()
    for video in sorted(path for path in split.iterdir() if (path / "img1").is_dir()):
        name = _DETECTOR.sub("", video.name)
        if name not in seen:
            seen.add(name)
            yield video


def _boxes(video: Path, min_visibility: float) -> dict[int, list[_Box]]:
    """The boxes of each frame."""
    path = video / "gt" / "gt.txt"
    if not path.is_file():
        raise FileNotFoundError(f"crop_mot misses {path}; only videos with a ground truth are cut")
    frames: dict[int, list[_Box]] = defaultdict(list)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, person, x, y, width, height, flag, kind, *more = map(float, line.split(","))
        except ValueError:
            raise ValueError(
                f"{path} line {number} is {line!r}; expected frame,id,x,y,w,h,flag,class,visibility"
            ) from None
        visible = not more or more[0] < 0 or more[0] >= min_visibility  # −1 is unknown
        if flag and kind == PEDESTRIAN and visible:
            edges = (x, y, x + width, y + height)
            frames[int(frame)].append(_Box(int(frame), int(person), edges))
    return frames


def _cut(images: Path, folder: Path, frame: int, boxes: list[_Box]) -> None:
    missing = [
        (box, path)
        for box in boxes
        if not (path := folder / f"{box.person:06d}_{frame:06d}.jpg").exists()
    ]
    if not missing:
        return
    found = sorted(images.glob(f"{frame:06d}.*")) or sorted(images.glob(f"{frame:08d}.*"))
    if not found:
        raise FileNotFoundError(f"crop_mot misses frame {frame} in {images}")
    whole = read_image(found[0])
    make_folder(folder)
    for box, path in missing:
        left, top = (max(0, round(edge)) for edge in box.edges[:2])
        right, bottom = (
            min(round(edge), limit) for edge, limit in zip(box.edges[2:], whole.size, strict=True)
        )
        if right > left and bottom > top:  # else it lies outside of the frame
            with atomic_path(path) as partial:
                whole.crop((left, top, right, bottom)).save(partial, quality=95)


def read_mot(root: str | Path) -> ReIDDataset:
    """Read the crops that ``crop_mot`` wrote: ``train/VIDEO/ID_FRAME.jpg``, and ``val`` likewise.

    Numbers of people start again in each video, so an identity is a person of a video; the video
    is the ``sequence`` and the frame the ``time``. Of ``val`` each person's first crop is a query
    and the later ones are the gallery, for re-association within a video; without ``val`` there
    is only training. Each video counts as a camera of its own for the gallery and another for
    the queries, so that excluding a query's own camera excludes nothing.

    Args:
        root: the folder of crops.

    Raises:
        FileNotFoundError: there are no crops, or videos in their place.
        ValueError: a name cannot be read.
    """
    home = find_home(NAME, HOMES, root, ("train",))
    raw = [path for path in sorted((home / "train").iterdir()) if (path / "img1").is_dir()]
    if raw:
        raise FileNotFoundError(
            f"read_mot reads crops, but {raw[0]} is a video: write them first, by "
            "reidblocks crop-videos FOLDER --out CROPS"
        )
    people: dict[tuple[str, str, int], int] = {}
    videos: dict[tuple[str, str], int] = {}
    splits: dict[str, list[Sample]] = {"train": [], "val": []}
    for split, samples in splits.items():
        if not (home / split).is_dir():
            continue
        for path in list_images(NAME, home / split, nested=True):
            video, told = path.parent.name, _CROP.match(path.name)
            if told is None:
                raise ValueError(
                    f"{NAME} cannot read the name of {path}: it expects names like "
                    "000012_000101.jpg, as crop_mot writes them"
                )
            person = people.setdefault((split, video, int(told["person"])), len(people))
            number = videos.setdefault((split, video), len(videos))
            time = float(told["time"])
            samples.append(Sample(path, person, 2 * number, sequence=number, time=time))
    first = {sample.identity: sample for sample in reversed(splits["val"])}  # names are in order
    queries = {*first.values()}
    return ReIDDataset(
        NAME,
        tuple(splits["train"]),
        tuple(s._replace(camera=2 * (s.sequence or 0) + 1) for s in splits["val"] if s in queries),
        tuple(s for s in splits["val"] if s not in queries),
    )
