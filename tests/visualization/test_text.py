from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from reidblocks.visualization._lines import spread
from reidblocks.visualization._text import (
    MEDIUM,
    SMALL,
    literal,
    shorten,
    text_width,
    wrap,
)

words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(text=words, width=st.floats(0.15, 2))
def test_shortened_text_fits_and_keeps_both_ends(text, width):
    short = shorten(text, width, SMALL)
    assert text_width(short, SMALL) <= width or short == "…"
    if short != text:
        start, end = short.split("…")
        assert text.startswith(start)
        assert text.endswith(end)
        assert len(start) - len(end) in (0, 1)


def test_text_that_fits_is_kept():
    assert shorten("camera 3", 2, SMALL) == "camera 3"


@given(text=st.lists(words, max_size=8).map(" ".join), width=st.floats(0.3, 3))
def test_wrapped_lines_fit(text, width):
    lines = wrap(text, width, MEDIUM)
    assert all(text_width(line, MEDIUM) <= width or line == "…" for line in lines)
    if all(text_width(word, MEDIUM) <= width for word in text.split()):
        assert " ".join(lines).split() == text.split()


def test_wrapping_loses_no_word():
    text = "the ten worst of three thousand three hundred and sixty-eight queries"
    lines = wrap(text, 1.5, MEDIUM)
    assert len(lines) > 2
    assert " ".join(lines) == text


@pytest.mark.parametrize("text", ["cost $5", "$x$ and $y$", r"a\$b", "one\ntwo", "$"])
def test_text_is_drawn_as_given(text):
    drawn = Figure().text(0, 0, literal(text))
    shown, mathematics = drawn._preprocess_math(drawn.get_text())
    assert not mathematics
    assert shown == text.replace("\n", " ")


@given(places=st.lists(st.floats(0, 1), max_size=10).map(sorted), gap=st.floats(0.01, 0.1))
def test_spread_places_are_apart_and_in_order(places, gap):
    moved = spread(places, gap)
    assert len(moved) == len(places)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(moved))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)


def test_spread_leaves_what_is_apart():
    assert spread([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
