"""Each protocol: a query and four gallery images of synthetic people, and what it makes of each.

What stands under an image is what `top_matches` and `evaluate_open_set` say of it.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pictures.style import GRAY, GREEN, INK, VERMILLION, new_figure, show
from reidblocks.data import draw_person
from reidblocks.data.drawing.cameras import CAMERAS, expose
from reidblocks.data.drawing.figures import draw_figure
from reidblocks.data.drawing.people import SUPERSAMPLING
from reidblocks.data.drawing.scenes import draw_backdrop, draw_shadow, strike_pose
from reidblocks.data.drawing.wardrobe import dress
from reidblocks.evaluation import PROTOCOLS, Features, evaluate_open_set, top_matches

DISTANCES = (0.1, 0.2, 0.3, 0.4)
LOOKS = {True: (GREEN, "-"), False: (VERMILLION, "--"), None: (GRAY, ":")}


def protocol_market() -> Figure:
    return _by_cameras("market", "its own camera")


def protocol_market1501() -> Figure:
    box = draw_person(8, 2, 1, size=(256, 128)).crop((40, 150, 88, 246)).resize((64, 128))
    return _by_cameras("market1501", "its own camera", distractor=box)


def protocol_no_cameras() -> Figure:
    return _by_cameras("no-cameras")


def protocol_cuhk03_single_shot() -> Figure:
    return _by_cameras("cuhk03-single-shot", "its own camera", undrawn=3)


def protocol_own_sequence() -> Figure:
    gallery = {"ids": [8, 8, 7, 7], "sequences": [2, 1, 1, 2]}
    shots = [(8, 2, 3), (8, 1, 1), (7, 1, 3), (7, 2, 1)]
    labels = [
        "person 8, action 2",
        "person 8, action 1",
        "person 7, action 1",
        "person 7, action 2",
    ]
    return _draw(
        "own-sequence", {"ids": [7], "sequences": [1]}, gallery, (7, 1, 1), shots,
        ["person 7, action 1", *labels], ["another action", "", "", "another action"],
    )  # fmt: skip


def protocol_later_in_sequence() -> Figure:
    gallery = {"ids": [7, 8, 7, 9], "sequences": [1] * 4, "times": [9, 12, 15, 10]}
    shots = [(7, 1, 2), (8, 1, 1), (7, 1, 3), (9, 1, 1)]
    seen = zip([7, *gallery["ids"]], [10, *gallery["times"]], strict=True)
    labels = [f"person {person}, second {time}" for person, time in seen]
    return _draw(
        "later-in-sequence", {"ids": [7], "sequences": [1], "times": [10]}, gallery, (7, 1, 1),
        shots, labels, ["earlier", "", "", "of the same time"],
    )  # fmt: skip


def protocol_clothes_changing() -> Figure:
    return _by_clothes("clothes-changing", ["the same clothes", "", "", "its own camera"])


def protocol_same_clothes() -> Figure:
    return _by_clothes("same-clothes", ["", "", "other clothes", "other clothes"])


def protocol_open_set() -> Figure:
    """Four queries, each above the gallery image nearest to it."""
    places, shown = [0.5, 6.5, 3.0, 6.0], [1, 3, 9, 9]
    gallery = Features(torch.tensor([[0.0], [4.0], [8.0], [9.0]]), ids=[1, 2, 3, 3])
    query = Features(torch.tensor(places)[:, None], ids=shown)
    found = evaluate_open_set(query, gallery, distance="euclidean")
    nearest = top_matches(query, gallery, k=1, distance="euclidean")
    told = dict(zip(found.known.tolist(), found.rank.tolist(), strict=True))
    figure = new_figure(4.2)
    grid = figure.subplots(2, 4)
    for column, person in enumerate(shown):
        match = nearest[column][0]
        image = draw_person(person, 1, 1 + (column == 3))
        show(grid[0, column], image, f"query {'pqrs'[column]}", f"person {person}")
        below = f"person {int(gallery.ids[match.index])}, at {match.distance:g}"
        if column in told:
            reason, look = f"known: found\nat rank {told[column]}", LOOKS[True]
        else:
            reason, look = f"unknown: an alarm\nfrom {match.distance:g} on", LOOKS[False]
        one = draw_person(int(gallery.ids[match.index]), 2, 1)
        show(grid[1, column], one, "nearest image", f"{below}\n{reason}")
        _frame(grid[1, column], *look)
        _frame(grid[0, column], INK, "-")
    return figure


def _by_cameras(
    name: str, own: str = "", *, distractor: Image.Image | None = None, undrawn: int | None = None
) -> Figure:
    shots = [(7, 1, 2), (8, 2, 1), (7, 2, 1), (7, 3, 1)]
    images: list[Any] = [draw_person(*shot) for shot in shots]
    ids, labels = [7, 8, 7, 7], [f"person {n}, camera {camera}" for n, camera, _ in shots]
    if distractor is not None:
        ids[1], images[1], labels[1] = 0, distractor, "identity 0, camera 2"
    gallery = {"ids": ids, "cameras": [1, 2, 2, 3]}
    labels = ["person 7, camera 1", *labels]
    whys = [own, "", "", "not drawn, as\nc was"]
    query = {"ids": [7], "cameras": [1]}
    return _draw(name, query, gallery, (7, 1, 1), images, labels, whys, undrawn=undrawn)


def _by_clothes(name: str, whys: Sequence[str]) -> Figure:
    gallery = {"ids": [7, 8, 7, 7], "cameras": [2, 2, 2, 1], "clothes": [0, 0, 1, 1]}
    images = [draw_person(7, 2, 1), draw_person(8, 2, 1), _changed(7, 2, 2), _changed(7, 1, 3)]
    labels = [
        f"person {n}, camera {camera}, outfit {clothes}"
        for n, camera, clothes in zip(
            [7, *gallery["ids"]], [1, *gallery["cameras"]], [0, *gallery["clothes"]], strict=True
        )
    ]
    query = {"ids": [7], "cameras": [1], "clothes": [0]}
    return _draw(name, query, gallery, (7, 1, 1), images, labels, whys)


def _changed(person: int, camera: int, shot: int) -> Image.Image:
    """The person in other clothes: what `draw_person` draws, with another wardrobe."""
    rng, view, (height, width) = random.Random(shot), CAMERAS[camera - 1], (384, 192)
    canvas = Image.new("RGB", (width, height))
    draw_backdrop(canvas, view, height * rng.uniform(0.55, 0.72), rng)
    pose = strike_pose(view, width, height, rng)
    draw_shadow(canvas, pose, view)
    other = replace(
        dress(f"person 0 {person}"),
        pattern="plain", top=(208, 170, 56), legwear="trousers", bottom=(34, 36, 44),
    )  # fmt: skip
    draw_figure(canvas, other, pose)
    return expose(canvas.reduce(SUPERSAMPLING), view, rng)


def _draw(
    name: str,
    query: dict[str, Any],
    gallery: dict[str, Any],
    asked: tuple[int, int, int],
    images: Sequence[Any],
    labels: Sequence[str],
    whys: Sequence[str],
    *,
    undrawn: int | None = None,
) -> Figure:
    """Draw the query and the four images in the order of their distance."""
    found = top_matches(
        Features(torch.zeros(1, 1), **query),
        Features(torch.tensor(DISTANCES)[:, None], **gallery),
        k=4,
        protocol=replace(PROTOCOLS[name], single_shot=False),
        distance="euclidean",
        keep_excluded=True,
    )[0]
    figure = new_figure(2.55, 6.4)
    axes = figure.subplots(1, 5)
    show(axes[0], draw_person(*asked), "query", labels[0].replace(", ", "\n"))
    _frame(axes[0], INK, "-")
    rank = 0
    for place, match in enumerate(found):
        outcome = None if place == undrawn else match.correct
        rank += outcome is not None
        said = {True: f"correct, rank {rank}", False: f"incorrect, rank {rank}", None: "excluded:"}
        why = whys[place] if outcome is None else ""
        text = "\n".join(filter(None, (labels[1 + place].replace(", ", "\n"), said[outcome], why)))
        image = images[place]
        image = draw_person(*image) if isinstance(image, tuple) else image
        show(axes[1 + place], image, f"{'abcd'[place]}, at {match.distance:.1f}", text)
        _frame(axes[1 + place], *LOOKS[outcome])
        if outcome is None:
            axes[1 + place].images[0].set_alpha(0.45)
    return figure


def _frame(axes: Axes, color: str, dashes: str) -> None:
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linestyle=dashes, linewidth=2)


ALL = (
    protocol_market,
    protocol_market1501,
    protocol_no_cameras,
    protocol_cuhk03_single_shot,
    protocol_own_sequence,
    protocol_later_in_sequence,
    protocol_clothes_changing,
    protocol_same_clothes,
    protocol_open_set,
)
