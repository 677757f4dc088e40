"""The drawn people: the same person everywhere, told apart by every part of their looks."""

import math
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import combinations
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageStat
from torchvision.transforms.v2.functional import pil_to_tensor

from reidblocks.data import draw_person
from reidblocks.data.drawing import contact_sheet
from reidblocks.data.drawing.cameras import CAMERAS
from reidblocks.data.drawing.figures import draw_figure
from reidblocks.data.drawing.poses import Pose
from reidblocks.data.drawing.wardrobe import Bag, Hair, Legwear, Pattern, Person, dress

SOMEBODY = Person(
    build=1.0,
    leg_length=0.48,
    skin=(214, 166, 128),
    hair="short",
    hair_color=(84, 54, 34),
    hat_color=(72, 112, 74),
    pattern="plain",
    top=(164, 44, 46),
    accent=(222, 220, 214),
    hem=0.0,
    long_sleeves=True,
    legwear="trousers",
    bottom=(34, 36, 44),
    shoes=(226, 224, 220),
    bag="none",
    bag_color=(196, 176, 70),
)


def figure(person: Person, heading: float = 0.0, phase: float = 1.0) -> torch.Tensor:
    """Draw a person alone, on gray, 128×64 before any averaging."""
    canvas = Image.new("RGB", (64, 128), (127, 127, 127))
    pose = Pose(
        x=32,
        ground=124,
        height=118,
        heading=heading,
        phase=phase,
        stride=0.4,
        elevation=0.1,
        roll=0,
    )
    draw_figure(canvas, person, pose)
    return pil_to_tensor(canvas)


def share_changed(first: torch.Tensor, second: torch.Tensor) -> float:
    """Give the share of pixels that differ."""
    return (first != second).any(dim=0).float().mean().item()


@given(
    identity=st.integers(0, 9999),
    camera=st.integers(1, len(CAMERAS)),
    shot=st.integers(0, 999),
    size=st.tuples(st.integers(16, 140), st.integers(16, 140)),
)
def test_any_picture_is_drawn_in_its_size_and_the_same_again(
    identity: int, camera: int, shot: int, size: tuple[int, int]
) -> None:
    image = draw_person(identity, camera, shot, size=size)
    assert image.mode == "RGB"
    assert image.size == (size[1], size[0])
    assert image.tobytes() == draw_person(identity, camera, shot, size=size).tobytes()


def test_each_argument_changes_the_picture() -> None:
    pictures = [
        draw_person(1, 1, 1),
        draw_person(2, 1, 1),
        draw_person(1, 2, 1),
        draw_person(1, 1, 2),
        draw_person(1, 1, 1, seed=1),
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_a_picture_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = (
        "import zlib; from reidblocks.data.drawing import draw_person; "
        "print(zlib.crc32(draw_person(3, 2, 1).tobytes()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert int(printed) == zlib.crc32(draw_person(3, 2, 1).tobytes())


@pytest.mark.parametrize("camera", [0, 7])
def test_an_unknown_camera_is_refused(camera: int) -> None:
    with pytest.raises(ValueError, match=f"draw_person expects camera from 1 to 6, got {camera}"):
        draw_person(1, camera, 1)


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expects size \(height, width\) of 16 or more"):
        draw_person(1, 1, 1, size=(128, 8))


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("pattern", get_args(Pattern)),
        ("hair", get_args(Hair)),
        ("legwear", get_args(Legwear)),
        ("bag", get_args(Bag)),
        ("build", (0.85, 1.25)),
        ("leg_length", (0.46, 0.51)),
        ("hem", (0.0, 0.12)),
        ("long_sleeves", (True, False)),
        ("skin", ((238, 198, 168), (104, 70, 50))),
        ("hair_color", ((28, 24, 24), (188, 148, 88))),
        ("top", ((38, 40, 46), (222, 220, 214))),
        ("bottom", ((34, 36, 44), (62, 84, 124))),
        ("shoes", ((28, 26, 28), (226, 224, 220))),
    ],
)
def test_every_part_of_the_looks_can_be_seen(field: str, choices: tuple[object, ...]) -> None:
    views = {
        choice: torch.cat(
            [figure(replace(SOMEBODY, **{field: choice}), heading) for heading in (0.5, 2.5)], dim=2
        )
        for choice in choices
    }
    for first, second in combinations(choices, 2):
        assert share_changed(views[first], views[second]) > 0.003, (first, second)


@pytest.mark.parametrize(
    ("worn", "field"),
    [
        ({"pattern": "checks"}, "accent"),
        ({"hair": "cap"}, "hat_color"),
        ({"hair": "beanie"}, "hat_color"),
        ({"bag": "backpack"}, "bag_color"),
        ({"bag": "handbag"}, "bag_color"),
        ({"bag": "satchel"}, "bag_color"),
    ],
)
def test_a_second_color_shows_only_where_it_is_worn(worn: dict[str, str], field: str) -> None:
    other = (58, 90, 130)
    assert share_changed(figure(SOMEBODY), figure(replace(SOMEBODY, **{field: other}))) == 0
    dressed = replace(SOMEBODY, **worn)
    assert share_changed(figure(dressed), figure(replace(dressed, **{field: other}))) > 0.003


def test_people_turn_and_walk() -> None:
    front, back = figure(SOMEBODY), figure(SOMEBODY, math.pi)
    stepped = figure(SOMEBODY, phase=4.0)
    skin = torch.tensor(SOMEBODY.skin)[:, None, None]
    assert share_changed(front, stepped) > 0.01
    head = slice(0, 22)  # a face in front, hair behind
    assert (front == skin).all(0)[head].sum() > 20
    assert (back == skin).all(0)[head].sum() == 0


def test_no_two_of_many_people_look_alike() -> None:
    crowd = [figure(dress(f"person 0 {identity}")) for identity in range(1, 61)]
    for first, second in combinations(crowd, 2):
        assert share_changed(first, second) > 0.05


def test_many_people_share_the_color_of_their_top() -> None:
    tops = [dress(f"person 0 {identity}").top for identity in range(60)]
    assert len(set(tops)) < 15


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_cameras_render_the_same_people_in_other_colors(seed: int) -> None:
    means = []
    for camera in range(1, len(CAMERAS) + 1):
        people = [draw_person(i, camera, 1, size=(64, 32), seed=seed) for i in range(16)]
        colors = torch.tensor([ImageStat.Stat(person).mean for person in people])
        means.append(colors.mean(dim=0))
    for first, second in combinations(means, 2):
        assert (first - second).abs().max() > 5


def test_a_contact_sheet_holds_the_pictures_of_draw_person() -> None:
    sheet = contact_sheet(num_identities=3, shots=2, size=(32, 16), seed=4)
    assert sheet.size == (6 * 2 * 16, 3 * 32)
    cut = sheet.crop((3 * 16, 2 * 32, 4 * 16, 3 * 32))  # third row, second shot of camera 2
    assert cut.tobytes() == draw_person(3, 2, 2, size=(32, 16), seed=4).tobytes()
