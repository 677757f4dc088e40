"""What reidblocks.visualization draws, of synthetic people told apart by their colors alone."""

from matplotlib.figure import Figure

from pictures.attention import raw_maps
from pictures.people import side
from reidblocks.data import draw_person
from reidblocks.evaluation import Features, evaluate
from reidblocks.visualization import (
    attention_overlay,
    cmc_curves,
    embedding_map,
    pair_distances,
    precision_recall_curves,
)

STRIPES = {"six stripes": 18, "upper two stripes": 6}  # how many of the numbers are used


def gallery_cmc() -> Figure:
    """The whole description against a part of it."""
    return cmc_curves({name: evaluate(*_sides(n)).cmc[:20] for name, n in STRIPES.items()})


def gallery_precision() -> Figure:
    """The same over all pairs."""
    return precision_recall_curves(
        {name: pair_distances(*_sides(n)) for name, n in STRIPES.items()}
    )


def gallery_attention() -> Figure:
    """Maps set by hand: one model's tell the parts apart, the other's do not."""
    maps = raw_maps()
    shares = maps.softmax(0)[None, :2]
    alike = (maps / 4).softmax(0)[None, :2]
    people = [draw_person(7, 1, 1, size=(192, 96))]
    return attention_overlay(people, {"one model": shares, "another": alike})


def gallery_map() -> Figure:
    """Six people in the plane in which their descriptions vary most."""
    rows = [(n, camera, shot) for n in range(1, 7) for camera in (1, 2, 3) for shot in (1, 2)]
    values = side((1, 2), people=6).values
    names = [f"id {n}" for n, _, _ in rows]
    return embedding_map(values, names, [draw_person(*row) for row in rows])


def _sides(numbers: int) -> tuple[Features, Features]:
    query, gallery = (side(shots) for shots in ((1,), (2, 3, 4)))
    return tuple(Features(s.values[:, :numbers], s.ids, s.cameras) for s in (query, gallery))


ALL = (gallery_cmc, gallery_precision, gallery_attention, gallery_map)
