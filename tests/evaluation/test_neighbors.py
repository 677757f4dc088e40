"""The quick ways to the best and the least of long rows, against plain sorts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation.neighbors import _top, best_of_rows, lowest_of_rows
from reidblocks.evaluation.scores import Scorer


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["plain", "whole numbers", "copies", "nearly tied"])
@given(seed=st.integers(0, 10_000), num_images=st.integers(1, 1500), k=st.integers(1, 9))
def test_best_are_those_of_a_stable_sort(distance, kind, seed, num_images, k):
    torch.manual_seed(seed)
    values = torch.randn(num_images, 6)
    if kind == "whole numbers":  # many exact ties
        values = values.mul(2).round() + torch.tensor([0.0, 0, 0, 0, 0, 9])
    if kind == "copies":  # more equal images than candidates
        values = values[torch.arange(num_images) % 3 % num_images].contiguous()
    query = torch.randn(3, 6)
    if kind == "nearly tied":
        values = (values[:1] + 1e-9 * values).double()
        query = query.double()
    scorer = Scorer("test", query, values, distance)
    rows = torch.arange(3)
    scores = scorer.block(rows, torch.empty(3, num_images))
    exact = scorer.exact(rows.repeat_interleave(num_images), torch.arange(num_images).repeat(3))
    expected = exact.view(3, -1).argsort(dim=1, descending=True, stable=True)[:, :k]
    row, column = best_of_rows(scorer, rows, scores, k)
    assert torch.equal(column.view(3, -1), expected)
    assert torch.equal(row, rows.repeat_interleave(expected.shape[1]))


@given(seed=st.integers(0, 10_000), k=st.integers(1, 30), num_columns=st.integers(1, 2500))
def test_top_is_topk(seed, k, num_columns):
    torch.manual_seed(seed)
    scores = torch.randn(5, num_columns).mul(3).round()  # many ties
    scores[torch.rand(5, num_columns) < 0.1] = -torch.inf
    k = min(k, num_columns)
    values, columns = _top(scores, k)
    assert torch.equal(values, scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row.tolist())) == k for row in columns)


@given(seed=st.integers(0, 10_000), num_columns=st.integers(1, 100))
def test_least_is_a_least(seed, num_columns):
    torch.manual_seed(seed)
    scores = torch.randn(20, num_columns).mul(3).round()
    place = lowest_of_rows(scores)
    assert torch.equal(scores.gather(1, place[:, None]).squeeze(1), scores.amin(1))
