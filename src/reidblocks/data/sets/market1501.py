"""Market-1501, with its junk, distractors and queries of several images."""

import re
from pathlib import Path

from reidblocks.data.samples import JUNK, ReIDDataset, Sample
from reidblocks.data.sets.layout import (
    BOXES,
    Layout,
    check_counts,
    find_home,
    list_images,
    read_names,
    read_splits,
)

DISTRACTOR = 0  # its number for boxes of the background
DRAWN = "synthetic-people-"  # how the folders begin that synthetic_people draws in this layout


def read_market1501(
    root: str | Path,
    *,
    keep_junk: bool = False,
    distractors: bool = False,
    multi_query: bool = False,
) -> ReIDDataset:
    """Read Market-1501: ``bounding_box_train``, ``query`` and ``bounding_box_test``.

    ``0001_c1s1_000151_01.jpg`` shows identity 1, taken by camera 1. Identity 0 is a distractor,
    incorrect for every query; it stays in the gallery. Identity −1 is junk, which the authors'
    protocol ignores; it is excluded. Neither is a person: among the training
    images or the queries both are junk, though the published set has none there.

    Args:
        root: the set's own folder, or the one above it.
        keep_junk: keep the gallery's junk, for an evaluation that skips identity −1 by itself.
        distractors: add the 500,000 distractors, from the folder ``images``, to the gallery, all
            as identity 0.
        multi_query: as queries the images in ``gt_bbox`` of each query's identity and camera;
            those of one query have one ``sequence``, over which to average.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, a split is empty, or a training identity is in the test.

    Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
    """
    layout = Layout(
        "Market1501",
        ("Market-1501-v15.09.15", "market1501"),
        BOXES,
        re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_\d+_\d+\."),
        "0001_c1s1_000151_01.jpg",
        counts={"train": 12_936, "query": 3_368, "gallery": 15_913},
    )
    home, splits = read_splits(layout, root)
    gallery = splits["gallery"]
    known = tuple(sample for sample in gallery if sample.identity != JUNK)
    check_counts(layout, home, {**splits, "gallery": known})
    splits["gallery"] = gallery if keep_junk else known
    if multi_query:
        folder = find_home(layout.name, layout.homes, home, ("gt_bbox",)) / "gt_bbox"
        splits["query"] = _all_boxes(splits["query"], read_names(layout, folder))
    if distractors:
        folder = find_home(layout.name, layout.homes, home, ("images",)) / "images"
        splits["gallery"] += tuple(
            Sample(path, DISTRACTOR, int(told["camera"]) if told else None)
            for path in list_images(layout.name, folder)
            for told in [layout.pattern.match(path.name)]
        )
    for split in ("train", "query"):
        splits[split] = tuple(
            s._replace(identity=JUNK) if s.identity == DISTRACTOR else s for s in splits[split]
        )
    drawn = home.resolve().name.startswith(DRAWN)
    name = "synthetic people" if drawn else layout.name
    return ReIDDataset(name, splits["train"], splits["query"], splits["gallery"])


def _all_boxes(query: tuple[Sample, ...], boxes: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Each query's boxes, with its place as their sequence; the query itself if it has none."""
    places = {(sample.identity, sample.camera): place for place, sample in enumerate(query)}
    found = [
        box._replace(sequence=places[box.identity, box.camera])
        for box in boxes
        if (box.identity, box.camera) in places
    ]
    boxed = {box.sequence for box in found}
    alone = [s._replace(sequence=n) for n, s in enumerate(query) if n not in boxed]
    return tuple(sorted([*found, *alone], key=lambda box: box.sequence or 0))
