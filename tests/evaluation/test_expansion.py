import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import Features, evaluate, expand_queries


@given(seed=st.integers(0, 1000), k=st.integers(1, 12), alpha=st.sampled_from([0.0, 0.5, 3.0]))
def test_is_the_weighted_mean_of_the_nearest(ranking, seed, k, alpha):
    torch.manual_seed(seed)
    query, gallery = torch.randn(3, 4), torch.randn(10, 4)
    sides = Features(query, torch.arange(3)), Features(gallery, torch.arange(10))
    found = expand_queries(*sides, k, alpha=alpha)
    for x, got in zip(query.double(), found.values, strict=True):
        x = x / x.norm()
        total = x.clone()
        for j in ranking(x.tolist(), gallery.tolist(), "cosine")[:k]:
            y = gallery[j].double() / gallery[j].double().norm()
            total += max(0.0, float(x @ y)) ** alpha * y
        torch.testing.assert_close(got.double(), total / total.norm(), atol=1e-6, rtol=0)
    assert torch.equal(found.ids, sides[0].ids)


def test_it_helps_where_a_query_lies_at_the_edge_of_its_identity():
    people = torch.randn(20, 8)
    ids = torch.arange(20)
    query = Features(people + 0.7 * torch.randn(20, 8), ids)
    gallery = Features(people.repeat(8, 1) + 0.4 * torch.randn(160, 8), ids.repeat(8))
    plain, expanded = evaluate(query, gallery), evaluate(expand_queries(query, gallery), gallery)
    assert expanded.mAP > plain.mAP


def test_bad_input_is_refused_by_name():
    side = Features(torch.eye(2), [0, 1])
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        expand_queries(side, side, 0)
    with pytest.raises(ValueError, match="alpha from 0 on, got -1"):
        expand_queries(side, side, 1, alpha=-1)


@pytest.mark.parametrize("values", [[[1.0, 0.0]], [[0.3, 0.7]]])  # the second cancels but for 1e-17
def test_a_query_that_its_neighbors_cancel_is_refused(values):
    gallery = Features(torch.tensor(values) * -3.3, [0])
    query = Features(torch.tensor([[0.3, -0.7], *values]), [1, 0])
    with pytest.raises(ValueError, match="got 1 whose mean is zero, first in row 1; an alpha abov"):
        expand_queries(query, gallery, k=1)
    found = expand_queries(query, gallery, k=1, alpha=0.1).values[1]
    torch.testing.assert_close(found, torch.nn.functional.normalize(torch.tensor(values[0]), dim=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_float32_answer(dtype):
    values = (60 * torch.randn(n, 256) for n in (4, 30))  # squares beyond float16
    sides = [Features(v.to(dtype), torch.arange(len(v))) for v in values]
    full = [Features(side.values.float(), side.ids) for side in sides]
    found = expand_queries(*sides, alpha=1.0)
    assert found == expand_queries(*full, alpha=1.0)
    assert found.values.dtype == torch.float32
