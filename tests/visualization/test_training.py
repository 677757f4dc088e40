import math
from itertools import pairwise

import numpy as np
import pytest

from reidblocks.visualization import TrainingRecord, training_curves
from reidblocks.visualization.training import MAX_POINTS


def history(terms, metrics, epochs=12, every=4):
    """A falling curve for each term, of any size and sign, and rising metrics now and then."""
    return [
        TrainingRecord(
            epoch,
            {f"circle_branch_{n}": 10.0 ** (n % 5 - 2) / epoch - n % 2 for n in range(terms)},
            {f"rank-{n}": 1 - 1 / (epoch + n) for n in range(metrics)} if not epoch % every else {},
        )
        for epoch in range(1, epochs + 1)
    ]


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


@pytest.mark.parametrize(
    ("terms", "metrics"), [(0, 10), (1, 0), (1, 1), (2, 2), (5, 5), (25, 0), (25, 5)]
)
def test_panels_and_no_overlap(unreadable, terms, metrics):
    figure = training_curves(history(terms, metrics), title="MDPR on the synthetic set")
    assert len(panels(figure)) == terms + bool(metrics)
    assert unreadable(figure) == []


def test_long_names_do_not_touch(unreadable, long_name):
    losses = {f"{n}-{long_name}": -1234.5678 for n in range(5)}
    metrics = {f"{n}-{long_name}": 0.5 for n in range(5)}
    records = [TrainingRecord(1, losses, metrics), TrainingRecord(2, losses, metrics)]
    assert unreadable(training_curves(records, title=long_name * 5)) == []


def test_curves_hold_the_records():
    records = history(2, 1)
    top, first, second = panels(training_curves(records))
    x, y = first.lines[0].get_data()
    assert x.tolist() == list(range(1, 13))
    assert y.tolist() == [record.losses["circle_branch_0"] for record in records]
    x, y = top.lines[0].get_data()
    assert x.tolist() == [4, 8, 12]  # where metrics were measured
    assert y.tolist() == pytest.approx([75, 87.5, 100 - 100 / 12])
    assert second.get_title(loc="left") == "circle_branch_1"
    assert top.get_xlim() == first.get_xlim() == second.get_xlim()


def test_last_and_best_values_are_written(texts):
    records = [
        TrainingRecord(n, {"total": 0.5 / n}, {"mAP": value, "rank-1": n / 4})
        for n, value in enumerate((0.2, 0.7, 0.6), 1)
    ]
    shown = texts(training_curves(records))
    assert "mAP 60.0, best 70.0 at 2" in shown
    assert "rank-1 75.0" in shown
    assert "0.167" in shown


def test_neighboring_metrics_differ_in_color_and_dashes():
    top = training_curves(history(0, 7, epochs=40)).axes[0]
    looks = [(line.get_color(), line.get_linestyle()) for line in top.lines[:7]]
    assert len(set(looks)) == 7
    for (color, dashes), (next_color, next_dashes) in pairwise(looks):
        assert color != next_color
        assert dashes != next_dashes


def test_long_trainings_are_averaged():
    records = [TrainingRecord(n, {"total": float(n)}) for n in range(50_000)]
    line = panels(training_curves(records))[0].lines[0]
    assert len(line.get_xdata()) == MAX_POINTS
    assert line.get_ydata()[0] == np.mean(range(50))


def test_a_loss_that_broke_off_is_shown(unreadable, texts):
    records = [TrainingRecord(n, {"total": math.nan if n > 2 else 1.0}) for n in range(5)]
    figure = training_curves(records)
    assert "nan" in texts(figure)
    assert unreadable(figure) == []


@pytest.mark.parametrize("value", [1.0, math.nan, math.inf, -1e30])
def test_one_record_is_drawn(unreadable, value):
    assert unreadable(training_curves([TrainingRecord(1, {"total": value}, {"mAP": 0.5})])) == []


def test_records_are_unchanged():
    records = history(3, 2)
    training_curves(records)
    assert records == history(3, 2)


@pytest.mark.parametrize("records", [[], [TrainingRecord(1)]])
def test_nothing_to_draw_is_an_error(records):
    with pytest.raises(ValueError, match="at least one loss or metric, got none"):
        training_curves(records)


def test_epochs_that_go_back_are_refused():
    with pytest.raises(ValueError, match="got epochs that go back"):
        training_curves([TrainingRecord(2, {"a": 1}), TrainingRecord(1, {"a": 1})])


def test_too_many_terms_are_refused():
    with pytest.raises(ValueError, match="at most 48 loss terms, got 49: omit some"):
        training_curves(history(49, 0))
    with pytest.raises(ValueError, match="at most 10 metrics, got 11"):
        training_curves(history(0, 11))


@pytest.mark.parametrize("value", [74.3, -0.1, math.nan])
def test_metrics_that_are_no_fractions_are_refused(value):
    with pytest.raises(ValueError, match=r"metrics in \[0, 1\], 'mAP' leaves it"):
        training_curves([TrainingRecord(1, {}, {"mAP": value})])


def test_the_total_comes_first_and_the_others_keep_their_order():
    records = [TrainingRecord(n, {"circle": 2.0, "triplet": 1.0, "total": 3.0}) for n in range(3)]
    named = [axes.get_title(loc="left") for axes in panels(training_curves(records))]
    assert named[:3] == ["total", "circle", "triplet"]
