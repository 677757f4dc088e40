import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.visualization import (
    PairDistances,
    distance_histogram,
    precision_recall_curves,
)
from reidblocks.visualization.precision import precision_recall

distances = st.lists(
    st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12
).map(torch.tensor)


def naive(positive, negative):
    """Count the pairs at or below each positive pair's distance, in plain loops."""
    points = []
    for threshold in sorted(positive.tolist()):
        true = sum(1 for p in positive.tolist() if p <= threshold)
        false = sum(1 for n in negative.tolist() if n <= threshold)
        points.append((true / len(positive), true / (true + false)))
    return points


@given(positive=distances, negative=distances)
def test_precision_recall_is_the_naive_count(positive, negative):
    recall, precision = precision_recall(PairDistances(positive, negative))
    for n, (r, p) in enumerate(naive(positive, negative)):
        assert float(recall[n]) == pytest.approx(r)
        assert float(precision[n]) == pytest.approx(p)


def test_chunks_add_up(monkeypatch):
    pairs = PairDistances(torch.rand(50), torch.rand(400))
    whole = precision_recall(pairs)
    monkeypatch.setattr("reidblocks.visualization.precision.CHUNK", 7)
    for part, expected in zip(precision_recall(pairs), whole, strict=True):
        assert torch.equal(part, expected)


def test_separated_pairs_give_full_precision():
    recall, precision = precision_recall(PairDistances(torch.rand(3, 4), 1 + torch.rand(9)))
    assert recall.tolist()[-1] == 1
    assert (precision == 1).all()


def test_curves_carry_the_average_precision(unreadable, texts, long_name):
    pairs = {
        "MDPR": PairDistances(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.9])),
        long_name: PairDistances(torch.rand(5000), torch.rand(20_000) + 0.3),
    }
    figure = precision_recall_curves(pairs, title="Pairs of the test set")
    assert "MDPR, average precision 83.3" in texts(figure)
    assert len(figure.axes) == 1
    assert len(figure.axes[0].lines[1].get_xdata()) == 1000
    assert unreadable(figure) == []


def test_histogram_shows_shares_and_threshold(unreadable, texts):
    pairs = PairDistances(torch.tensor([0.0, 0.2, 0.4, 0.6]), torch.linspace(0.5, 1, 100))
    figure = distance_histogram(pairs, threshold=0.55, title="Distances")
    heights = [patch.get_data().values.sum() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([100, 100])
    assert figure.axes[0].patches[0].get_data().values[0] == pytest.approx(25)
    shown = texts(figure)
    assert "positive: 4 pairs, 75.0% at or below the threshold" in shown
    assert "negative: 100 pairs, 10.0% at or below the threshold" in shown
    assert "threshold 0.55" in shown
    assert figure.axes[0].lines[0].get_xdata() == [0.55, 0.55]
    assert unreadable(figure) == []


def test_distributions_differ_without_color():
    figure = distance_histogram(PairDistances(torch.rand(9), torch.rand(9)))
    positive, negative = figure.axes[0].patches
    assert positive.get_fill()
    assert not negative.get_fill()
    assert negative.get_hatch()
    assert len(figure.axes[0].lines) == 0


@pytest.mark.parametrize("value", [0.0, -3.0, 1e20, 1e-20])
def test_equal_distances_are_drawn(unreadable, value):
    pairs = PairDistances(torch.full((3,), value), torch.full((2, 2), value))
    assert unreadable(distance_histogram(pairs, threshold=value)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_drawn(dtype):
    pairs = PairDistances(torch.rand(5).to(dtype), torch.rand(5).to(dtype))
    distance_histogram(pairs)
    recall, _ = precision_recall(pairs)
    assert recall[-1] == 1


def test_inputs_are_unchanged():
    pairs = PairDistances(torch.rand(5), torch.rand(2, 3))
    kept = [tensor.clone() for tensor in pairs]
    distance_histogram(pairs, 0.5)
    precision_recall(pairs)
    assert all(torch.equal(a, b) for a, b in zip(pairs, kept, strict=True))


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("distance_histogram", distance_histogram),
        ("precision_recall_curves", lambda pairs: precision_recall_curves({"a": pairs})),
    ],
)
def test_empty_and_broken_distances_are_refused(name, draw):
    fine = torch.rand(3)
    with pytest.raises(ValueError, match=f"{name} expects positive with at least one"):
        draw(PairDistances(torch.rand(0), fine))
    with pytest.raises(ValueError, match=r"expects negative .* all finite, got \(1,\)"):
        draw(PairDistances(fine, torch.tensor([torch.nan])))


@pytest.mark.parametrize("count", [0, 11])
def test_other_numbers_of_curves_are_refused(count):
    pairs = {str(n): PairDistances(torch.rand(2), torch.rand(2)) for n in range(count)}
    with pytest.raises(
        ValueError, match=f"precision_recall_curves draws 1 to 10 curves, got {count}"
    ):
        precision_recall_curves(pairs)
