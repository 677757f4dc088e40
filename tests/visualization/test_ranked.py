import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from reidblocks.visualization import RankedImage, RankedQuery, ranked_list, worst_queries

GREEN, RED, GRAY, BLACK = "#009e73", "#d55e00", "#595959", "#000000"


@pytest.fixture
def query(person):
    def make(count, gallery="2", **fields):
        outcomes = [True, False, None]
        matches = [
            RankedImage(person(n % 7), outcomes[n % 3], 0.1 * n, f"{gallery}{n % 6}")
            for n in range(count)
        ]
        return RankedQuery(person(1), matches, **fields)

    return make


def frames(figure):
    patches = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return [(to_hex(p.get_edgecolor()), p.get_linestyle()) for p in patches]


def test_outcome_shows_in_frame_mark_and_rank(query, texts):
    figure = ranked_list([query(5)])
    right, wrong, junk = (GREEN, "-"), (RED, "--"), (GRAY, ":")
    assert frames(figure) == [(BLACK, "-"), right, wrong, junk, right, wrong]
    shown = texts(figure)
    assert [text for text in shown if text[0] in "✓✗–" and "·" not in text] == [
        "✓ 1",
        "✗ 2",
        "–",
        "✓ 3",
        "✗ 4",
    ]


def test_camera_and_distance_stand_below(person, texts):
    matches = [RankedImage(person(1), True, 0.12345, 3), RankedImage(person(2), False, 7, "gate")]
    shown = texts(ranked_list([RankedQuery(person(1), matches, "id 7", "hall", 0.5)]))
    for text in ("camera 3", "0.123", "gate", "7.000", "hall", "id 7 · AP 50.0%", "query"):
        assert text in shown


def test_unknown_camera_leaves_no_text(person, texts):
    shown = texts(ranked_list([RankedQuery(person(1), [RankedImage(person(1), True, 0.5)])]))
    assert shown[-3:] == ["query", "✓ 1", "0.500"]
    assert "None" not in " ".join(shown)


def test_junk_is_gray_and_pale(person):
    image = person(2)
    figure = ranked_list(
        [RankedQuery(image, [RankedImage(image, None, 0.1), RankedImage(image, True, 0.2)])]
    )
    junk, right = (np.asarray(drawn.get_array(), float) for drawn in figure.axes[0].images[1:])
    assert (junk[..., 0] == junk[..., 1]).all()
    assert (junk[..., 1] == junk[..., 2]).all()
    assert 63 <= junk.min() < 127  # paler, and what it shows can still be seen
    assert np.array_equal(right, np.asarray(image))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 10), (8, 2), (8, 10)])
@pytest.mark.parametrize("long", [False, True])
def test_no_text_overlaps(query, unreadable, long_name, rows, columns, long):
    name = long_name if long else "camera "
    queries = [
        query(columns, name, label=name * 2, camera=name, average_precision=0.5)
        for _ in range(rows)
    ]
    figure = ranked_list(queries, title=f"The nearest gallery images of {rows} queries")
    assert len(figure.axes) == 1
    assert len(figure.axes[0].images) == rows * (columns + 1)
    assert unreadable(figure) == []


def test_rows_may_differ_in_length(query, unreadable):
    figure = ranked_list([query(4), query(0), query(2)])
    assert len(figure.axes[0].images) == 5 + 1 + 3
    assert unreadable(figure) == []


def test_images_of_any_shape_keep_their_proportions(person):
    wide, tall = person(1, 90, 30), person(2, 10, 90)
    figure = ranked_list(
        [RankedQuery(wide, [RankedImage(tall, True, 0.1), RankedImage(person(3), True, 1)])]
    )
    for drawn, image in zip(figure.axes[0].images, (wide, tall, person(3)), strict=True):
        left, right, bottom, top = drawn.get_extent()
        assert (right - left) / (bottom - top) == pytest.approx(image.width / image.height)


def test_large_lists_are_cut_and_say_so(query, texts):
    figure = ranked_list([query(2)] * 2999 + [query(25)])
    assert "The first 20 of 3,000 queries." in texts(figure)
    assert len(figure.axes[0].images) == 20 * 3
    figure = ranked_list([query(25)])
    assert "The first 20 of 25 matches." in texts(figure)
    assert len(figure.axes[0].images) == 21


def test_large_images_are_kept_small():
    image = torch.rand(3, 2000, 1000)
    figure = ranked_list([RankedQuery(image, [RankedImage(image, True, 0.1)])])
    assert max(drawn.get_array().nbytes for drawn in figure.axes[0].images) < 200_000


def test_inputs_are_unchanged(person):
    image, matches = person(1), []
    matches.append(RankedImage(image, None, 0.1))
    before = image.tobytes()
    ranked_list([RankedQuery(image, matches)])
    assert image.tobytes() == before
    assert len(matches) == 1


def test_no_query_is_an_error():
    with pytest.raises(ValueError, match="ranked_list expects at least one query, got none"):
        ranked_list([])


def test_unreadable_image_is_named(person):
    with pytest.raises(OSError, match=r"cannot read the image nowhere\.jpg"):
        ranked_list([RankedQuery(person(1), [RankedImage("nowhere.jpg", True, 0.1)])])


def test_worst_queries_come_in_order_of_precision(query, texts):
    scores = [0.9, 0.1, None, 0.5, math.nan, 0.0]
    queries = [query(1, label=f"q{n}", average_precision=s) for n, s in enumerate(scores)]
    shown = texts(worst_queries(queries, count=3))
    assert [text for text in shown if "AP" in text] == [
        "q5 · AP 0.0%, lowest here",
        "q1 · AP 10.0%",
        "q3 · AP 50.0%",
    ]
    assert "The 3 worst of 4 queries" in " ".join(shown)
    assert "Hard ones" in texts(worst_queries(queries, title="Hard ones"))


@pytest.mark.parametrize("count", [0, 21])
def test_worst_queries_refuses_other_counts(query, count):
    with pytest.raises(ValueError, match=f"expects count from 1 to 20, got {count}"):
        worst_queries([query(1, average_precision=0.5)], count=count)


def test_worst_queries_needs_scores(query):
    with pytest.raises(ValueError, match="queries with an average precision, got none"):
        worst_queries([query(1), query(1, average_precision=math.nan)])


def test_of_several_queries_the_worst_is_marked(query, texts):
    rows = [query(2)._replace(label=f"q{n}", average_precision=n / 10) for n in (3, 1, 2)]
    marked = [text for text in texts(ranked_list(rows)) if "lowest here" in text]
    assert marked == ["q1 · AP 10.0%, lowest here"]
    alone = texts(ranked_list(rows[:1])) + texts(ranked_list([rows[0], rows[0]]))
    assert not [text for text in alone if "lowest here" in text]
