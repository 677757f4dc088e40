"""A test's figures taken apart: by feature, and by the cameras of query and gallery."""

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import groupby

import torch
from torch import Tensor

from evaluate import Score
from reidblocks.evaluation import Evaluation, Features, evaluate
from reidblocks.visualization import ReportPart, ReportTable

CAMERAS = 12  # in the tables of pairs


def by_feature(scored: Score, sizes: Mapping[str, int]) -> ReportTable:
    """Search with each feature alone, with each branch, and with all."""
    features, widths = list(sizes), list(sizes.values())
    sides = [torch.split(side.values, widths, 1) for side in (scored.query, scored.gallery)]
    subsets = {name: [n] for n, name in enumerate(features)}
    for branch, found in groupby(range(len(features)), lambda n: features[n].split("_")[0]):
        if len(places := list(found)) > 1:
            subsets[f"{branch}, together"] = places
    subsets["all"] = list(range(len(features)))
    rows = []
    for name, places in subsets.items():
        query, gallery = (
            dataclasses.replace(side, values=torch.cat([parts[n] for n in places], 1))
            for side, parts in zip((scored.query, scored.gallery), sides, strict=True)
        )
        rows.append([name, query.values.shape[1], *row_of(evaluated(query, gallery))])
    return ReportTable(["feature", "numbers", "mAP", "rank-1", "rank-5", "mINP"], rows)


def by_cameras(scored: Score) -> Iterable[ReportPart]:
    """Search from each camera in each other."""
    query, gallery = scored.query, scored.gallery
    if query.cameras is None or gallery.cameras is None:
        yield "The cameras are not known."
        return
    images = torch.cat([query.cameras, gallery.cameras])
    seen, count = torch.unique(images[images != -1], return_counts=True)
    cameras = sorted(seen[count.argsort(descending=True)[:CAMERAS]].tolist())
    if len(cameras) < len(seen):
        yield f"The {CAMERAS} cameras of most images, out of {len(seen)}."
    grid = []
    for camera in cameras:
        asked = query[query.cameras == camera]
        sides = [gallery[gallery.cameras == other] for other in cameras]
        grid.append([row_of(evaluated(asked, side)) for side in (*sides, gallery)])
    header = ["query in", *(f"camera {camera}" for camera in cameras), "all"]
    for place, name in enumerate(("mAP", "rank-1")):
        rows = [
            [f"camera {camera}", *(cell[place] for cell in cells)]
            for camera, cells in zip(cameras, grid, strict=True)
        ]
        yield ReportTable(header, rows, f"{name}; the gallery is the images of the column's camera")
    yield (
        "– where no query has a right match: images of a person by the query's own camera "
        "do not count."
    )


def evaluated(query: Features, gallery: Features) -> Evaluation | None:
    """Evaluate, or give None where nothing can be: no right match, a feature that is zero."""
    try:
        return evaluate(query, gallery)
    except ValueError:
        return None


def row_of(result: Evaluation | None) -> list[str]:
    if result is None:
        return ["–"] * 4
    return [percent(v) for v in (result.mAP, result.rank(1), result.rank(5), result.mINP)]


def percent(value: float | Tensor) -> str:
    return f"{100 * float(value):.1f}%"
