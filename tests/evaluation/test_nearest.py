import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import Features, SearchResult, search


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(seed=st.integers(0, 1000), k=st.integers(1, 12))
def test_finds_the_first_of_a_stable_sort(ranking, distance, seed, k):
    torch.manual_seed(seed)
    values = torch.randint(-2, 3, (14, 3)).float()
    values[(values == 0).all(1)] = 1
    query, gallery = values[:4], values[4:]
    found = search(query, gallery, k, distance=distance)
    assert isinstance(found, SearchResult)
    assert found.indices.shape == found.distances.shape == (4, min(k, 10))
    for x, indices, distances in zip(query, *found, strict=True):
        assert indices.tolist() == ranking(x.tolist(), gallery.tolist(), distance)[:k]
        x, y = x.double(), gallery[indices].double()
        expected = (x - y).norm(dim=1) if distance == "euclidean" else 1 - unit(y) @ unit(x)
        torch.testing.assert_close(distances, expected, atol=1e-12, rtol=1e-12)


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1)


def test_blocks_give_what_one_gives(monkeypatch):
    query, gallery = torch.randn(30, 8), torch.randn(300, 8)
    whole = search(query, gallery, 7)
    for name in ("_BLOCK_BYTES", "_LARGE_BLOCK_BYTES"):
        monkeypatch.setattr(f"reidblocks.evaluation.blocks.{name}", 2000)
    assert all(map(torch.equal, whole, search(query, gallery, 7)))


def test_equal_embeddings_keep_the_order_of_the_gallery():
    found = search(torch.ones(1, 4), torch.ones(500, 4), 9)
    assert found.indices.tolist() == [list(range(9))]
    assert found.distances.abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_searched_as_its_float32_values(dtype):
    query, gallery = (60 * torch.randn(n, 512) for n in (5, 90))  # squares beyond float16
    query, gallery = query.to(dtype), gallery.to(dtype)
    for distance in ("cosine", "euclidean"):
        found = search(query, gallery, 6, distance=distance)
        expected = search(query.float(), gallery.float(), 6, distance=distance)
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"query": torch.ones(4)}, ValueError, r"search expects query \(N, D\), got \(4,\)"),
        ({"gallery": [[1.0]]}, TypeError, "search expects gallery as a tensor, got list"),
        (
            {"query": Features(torch.ones(1, 4), [0])},
            TypeError,
            "query as a tensor, got Features; give query.values",
        ),
        ({"query": torch.ones(1, 4).int()}, TypeError, r"got torch.int32; give query.float\(\)"),
        ({"query": torch.ones(1, 5)}, ValueError, "of one size, got 5 and 4"),
        ({"gallery": torch.ones(0, 4)}, ValueError, "at least one row and one column in gallery"),
        ({"gallery": torch.zeros(3, 4)}, ValueError, "no zero vector .* got 3 in gallery"),
        ({"query": torch.full((1, 4), torch.nan)}, ValueError, "finite query features"),
        ({"query": torch.ones(1, 4).to("meta")}, ValueError, "one device, got meta and cpu"),
        ({"k": 0}, ValueError, "k of at least 1, got 0"),
        ({"k": 2.0}, TypeError, "k as a whole number, got 2.0"),
        ({"distance": "l2"}, ValueError, "'cosine' or 'euclidean', got 'l2'"),
    ],
)
def test_bad_input_is_refused_by_name(changes, error, message):
    given = {"query": torch.ones(1, 4), "gallery": torch.ones(3, 4), "k": 2} | changes
    with pytest.raises(error, match=message):
        search(**given)
