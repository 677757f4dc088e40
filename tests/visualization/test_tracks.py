import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from reidblocks.visualization import track_strip

GREEN, RED, GRAY, BLUE = "#009e73", "#d55e00", "#595959", "#0072b2"


def rectangles(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize("columns", [1, 3, 12])
def test_everything_is_readable(person, unreadable, columns):
    figure = track_strip(
        [person(n) for n in range(7)],
        times=[123456.789, 0, None, 1e-7, 31.5, 2**40, 4],
        qualities=[1, 0.5, 0, 0.2, 1, 1, 0.7],
        correct=[True, False, None, True, True, True, True],
        columns=columns,
        title="A track with a long title that is wrapped to the width of the strip",
    )
    assert len(figure.axes[0].images) == 7
    assert unreadable(figure) == []


def test_crops_are_in_the_order_of_their_times(texts):
    crops = torch.stack([torch.full((3, 8, 4), n / 4) for n in range(4)])
    figure = track_strip(crops, times=[3, math.nan, 1.5, 0], qualities=[1, 1, 2, 0])
    drawn = [float(np.asarray(image.get_array()).mean()) / 255 for image in figure.axes[0].images]
    assert drawn == pytest.approx([0.75, 0.5, 0, 0.25], abs=0.01)
    assert texts(figure)[-3:] == ["0", "1.5", "3"]
    bars = [r.get_width() for r in rectangles(figure) if to_hex(r.get_facecolor()) == BLUE]
    assert [bar / max(bars) for bar in bars] == pytest.approx([0, 1, 0.5, 0.5])


def test_outcomes_show_in_frame_and_mark(person, texts):
    figure = track_strip([person(n) for n in range(3)], correct=np.array([True, False, None]))
    frames = [(to_hex(r.get_edgecolor()), r.get_linestyle()) for r in rectangles(figure)]
    assert frames == [(GREEN, "-"), (RED, "--"), (GRAY, ":")]
    assert texts(figure)[-3:] == ["✓", "✗", "–"]


def test_what_is_not_given_is_not_drawn(person, texts):
    figure = track_strip([person(1), person(2)])
    assert texts(figure) == []
    assert rectangles(figure) == []


def test_long_tracks_are_truncated_and_say_so(texts):
    figure = track_strip(torch.rand(120, 3, 8, 4), times=range(120))
    assert len(figure.axes[0].images) == 96
    assert "The first 96 of 120 crops." in texts(figure)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"times": [1]}, ValueError, "times for each of 2 images, got 1"),
        ({"times": [1, "a"]}, TypeError, "times as a number, got str"),
        ({"times": 3}, TypeError, "a list of times, got int"),
        ({"qualities": [1, 2, 3]}, ValueError, "qualities for each of 2 images, got 3"),
        ({"qualities": [1, -0.5]}, ValueError, "qualities that are finite and from 0 on"),
        ({"qualities": [1, math.nan]}, ValueError, "qualities that are finite"),
        ({"qualities": [1, None]}, TypeError, "qualities as a number, got NoneType"),
        ({"correct": [True]}, ValueError, "correct for each of 2 images, got 1"),
        ({"correct": [True, "yes"]}, TypeError, "correct as True, False or None"),
        ({"columns": 0}, ValueError, "columns from 1 to 32, got 0"),
        ({"columns": 1.5}, TypeError, "columns as a whole number"),
    ],
)
def test_bad_input_is_refused_by_name(person, given, error, message):
    with pytest.raises(error, match=f"track_strip expects {message}"):
        track_strip([person(1), person(2)], **given)


def test_images_are_several(person):
    with pytest.raises(TypeError, match="a list of images"):
        track_strip(person(1))
    with pytest.raises(ValueError, match="at least one image"):
        track_strip([])
