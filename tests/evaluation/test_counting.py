import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import counting


@pytest.mark.parametrize("most_sorted", [0, 10**6])
@pytest.mark.parametrize("way", ["by row", "at once"])
@given(seed=st.integers(0, 1000), number=st.integers(1, 20))
def test_counts_and_finds_what_a_loop_does(way, most_sorted, seed, number):
    by_row = way == "by row"
    count = counting._count_by_row if by_row else counting._count_at_once
    find = counting._find_by_row if by_row else counting._find_at_once
    torch.manual_seed(seed)
    scores = torch.randint(-3, 4, (5, 30)).float()
    scores[torch.rand(5, 30) < 0.2] = -torch.inf
    row = torch.randint(0, 5, (number,)).sort().values
    low = torch.randint(-4, 5, (number,)).float()
    high = low + torch.randint(0, 3, (number,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_SORTED", most_sorted)
        above, reach = count(scores, row, low, high)
    which, column = find(scores, row, low, high)
    expected = []
    for i in range(number):
        line = scores[row[i]].tolist()
        assert above[i] == sum(value > high[i] for value in line)
        assert reach[i] == sum(value >= low[i] for value in line)
        expected += [(i, j) for j, value in enumerate(line) if low[i] <= value <= high[i]]
    assert list(zip(which.tolist(), column.tolist(), strict=True)) == expected
