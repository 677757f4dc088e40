"""Occluded-REID and Partial-REID: parts of people look for whole ones."""

import re
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.layout import Layout, read_layout


def read_occluded_reid(root: str | Path) -> ReIDDataset:
    """Read Occluded-REID, a set to test on: ``occluded_body_images`` and ``whole_body_images``.

    ``001/001_01.tif`` shows identity 1. Queries are occluded images, the gallery whole ones. Names
    have no camera: queries count as camera 0 and the gallery as camera 1, so that excluding a
    query's own camera excludes nothing.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, or there is no image.

    Source: Zhuo et al., "Occluded Person Re-identification", ICME 2018.
    """
    layout = Layout(
        "Occluded_REID",
        ("Occluded_REID",),
        {"query": "occluded_body_images", "gallery": "whole_body_images"},
        re.compile(r"(?P<identity>\d+)_\d+\."),
        "001_01.tif",
        counts={"query": 1_000, "gallery": 1_000},
        cameras={"query": 0, "gallery": 1},
        nested=True,
    )
    return read_layout(layout, root)


def read_partial_reid(root: str | Path) -> ReIDDataset:
    """Read Partial-REID, a set to test on: ``partial_body_images`` and ``whole_body_images``.

    ``001_01.jpg`` shows identity 1. Queries are partial images, the gallery whole ones. Cameras are
    as in ``read_occluded_reid``.

    Args:
        root: the set's own folder, or the one above it.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a name cannot be read, or there is no image.

    Source: Zheng et al., "Partial Person Re-identification", ICCV 2015.
    """
    layout = Layout(
        "Partial_REID",
        ("Partial_REID", "Partial-REID_Dataset"),
        {"query": "partial_body_images", "gallery": "whole_body_images"},
        re.compile(r"(?P<identity>\d+)_\d+\."),
        "001_01.jpg",
        cameras={"query": 0, "gallery": 1},
    )
    return read_layout(layout, root)
