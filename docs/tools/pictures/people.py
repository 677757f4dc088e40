"""People drawn by the program: the data set, a training batch, distances of pairs."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pictures.style import new_figure, show
from reidblocks.data import IMAGENET_MEAN, IMAGENET_STD, draw_person, train_transform
from reidblocks.evaluation import Features, verify
from reidblocks.visualization import distance_histogram, pair_distances, unnormalize


def people() -> Figure:
    """Eight identities, each seen by three cameras."""
    figure = new_figure(3.5)
    grid = figure.subplots(3, 8)
    for row, camera in enumerate((1, 2, 4)):
        for column, identity in enumerate((1, 3, 5, 7, 20, 22, 27, 32)):
            show(grid[row, column], draw_person(identity, camera, 1))
        grid[row, 0].set_ylabel(f"camera {camera}", size=8)
    return figure


def batch() -> Figure:
    """Four identities of four images each, as the network is shown them in training."""
    transform = train_transform((128, 64), patch=0.9)
    shots = [(n, camera, shot) for n in (5, 7, 18, 34) for camera in (1, 2) for shot in (1, 2)]
    for n in range(40, 140):  # fills the pool that patches are cut from
        transform(draw_person(n, 1 + n % 4, 1))
    images = unnormalize(
        torch.stack([transform(draw_person(*shot)) for shot in shots]), IMAGENET_MEAN, IMAGENET_STD
    )
    figure = new_figure(2.55)
    for axes, image in zip(figure.subplots(2, 8).flat, images, strict=True):
        show(axes, image.permute(1, 2, 0))
    return figure


def threshold() -> Figure:
    """Distances of pairs of synthetic people, told apart by the colors of six stripes alone."""
    query, gallery = (side(shots) for shots in ((1,), (2, 3, 4)))
    found = verify(query, gallery, max_false_match_rate=0.05)
    chosen = found.threshold_at(0.01)
    return distance_histogram(pair_distances(query, gallery), chosen.distance)


def side(shots: tuple[int, ...], people: int = 40) -> Features:
    """Describe these shots of some people by three cameras, by the colors of six stripes."""
    rows = [
        (n, camera, shot) for n in range(1, people + 1) for camera in (1, 2, 3) for shot in shots
    ]
    values = torch.stack([_colors(*row) for row in rows])
    ids, cameras, _ = zip(*rows, strict=True)
    return Features(values - values.mean(0), ids, cameras)


def _colors(identity: int, camera: int, shot: int) -> Tensor:
    """The mean color of the middle of each of six stripes, its own mean taken off."""
    small = draw_person(identity, camera, shot).crop((20, 8, 44, 120)).resize((1, 6))
    colors = torch.from_numpy(np.array(small, dtype=np.float32)) / 255
    return (colors - colors.mean((0, 1))).flatten()


ALL = (people, batch, threshold)
