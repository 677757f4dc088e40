import pytest
import torch

from reidblocks.visualization import cmc_curves


def test_values_ranks_and_rank_1_are_drawn(texts):
    figure = cmc_curves({"MDPR": torch.tensor([0.5, 0.75, 1.0]), "other": [0.25]}, title="CMC")
    first, second = figure.axes[0].lines[:2]
    assert first.get_xdata().tolist() == [1, 2, 3]
    assert first.get_ydata().tolist() == [50, 75, 100]
    assert second.get_ydata().tolist() == [25]
    assert {"MDPR, rank-1 50.0", "other, rank-1 25.0", "CMC"} < set(texts(figure))
    assert figure.axes[0].get_ylim() == (20, 100)


def test_each_line_is_told_without_color():
    figure = cmc_curves({str(n): [0.1 * n, 0.9] for n in range(4)})
    assert len({line.get_linestyle() for line in figure.axes[0].lines[:4]}) == 4


@pytest.mark.parametrize(
    ("models", "ranks"), [(1, 1), (3, 10), (3, 13), (10, 50), (10, 300), (1, 3000)]
)
def test_no_text_overlaps(unreadable, long_name, models, ranks):
    values = 1 - 0.5 / torch.arange(1, ranks + 1)
    figure = cmc_curves({f"{n} {long_name}": values for n in range(models)}, title=long_name * 4)
    assert unreadable(figure) == []


def test_full_and_empty_curves_are_drawn(unreadable):
    assert unreadable(cmc_curves({"all": [1.0, 1.0], "none": [0.0, 0.0]})) == []
    assert unreadable(cmc_curves({"all": [1.0]})) == []


def test_inputs_are_unchanged():
    values = torch.tensor([0.5, 1.0], requires_grad=True)
    cmc_curves({"a": values})
    assert values.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("values", [[], [97.4], [-0.1], [float("nan")], torch.zeros(2, 2)])
def test_values_that_are_no_fractions_are_refused(values):
    with pytest.raises(ValueError, match=r"curves\['a'\] \(ranks,\), not empty, in \[0, 1\]"):
        cmc_curves({"a": values})


def test_curves_that_fall_are_refused():
    with pytest.raises(ValueError, match=r"curves\['a'\] not to fall"):
        cmc_curves({"a": [0.9, 0.8]})


@pytest.mark.parametrize("count", [0, 11])
def test_other_numbers_of_curves_are_refused(count):
    with pytest.raises(ValueError, match=f"cmc_curves draws 1 to 10 curves, got {count}"):
        cmc_curves({str(n): [0.5] for n in range(count)})
