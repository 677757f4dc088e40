"""Re-ranking against the paper's procedure in plain loops and dense float64 matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import Features, KReciprocal, evaluate, rerank, top_matches


def naive_rerank(query, gallery, k1, k2, lam, distance, count_self=False):
    """Dense, by loops. ``count_self``: the variant whose k1 neighbors include the image."""
    every = np.concatenate([query, gallery]).astype(np.float64)
    if distance == "cosine":
        every /= np.linalg.norm(every, axis=1, keepdims=True)
    squares = ((every[:, None] - every[None]) ** 2).sum(2)
    original = squares / squares.max(1, keepdims=True)
    order = np.argsort(squares, axis=1, kind="stable")
    number = len(every)
    size = k1 if count_self else k1 + 1

    lists = order.tolist()

    def reciprocal(image, size):
        return [j for j in lists[image][:size] if image in lists[j][:size]]

    weights = np.zeros((number, number))
    half = int(np.around((size - 1) / 2)) + 1
    for i in range(number):
        core = reciprocal(i, size)
        members = set(core)
        for candidate in core:
            theirs = reciprocal(candidate, half)
            if len(set(theirs) & set(core)) > 2 / 3 * len(theirs):
                members |= set(theirs)
        for j in members:
            weights[i, j] = np.exp(-original[i, j])
        weights[i] /= weights[i].sum()
    if k2 > 1:
        weights = np.stack([weights[order[i, :k2]].mean(0) for i in range(number)])
    jaccard = np.zeros((len(query), len(gallery)))
    for i in range(len(query)):
        for j in range(len(gallery)):
            one, other = weights[i], weights[len(query) + j]
            jaccard[i, j] = 1 - np.minimum(one, other).sum() / np.maximum(one, other).sum()
    return (1 - lam) * jaccard + lam * original[: len(query), len(query) :]


def problem(seed, num_query=5, num_gallery=25, size=4):
    torch.manual_seed(seed)
    people = torch.randn(8, size)
    ids = torch.arange(num_query + num_gallery) % 8
    values = people[ids] + 0.5 * torch.randn(len(ids), size)
    cameras = torch.randint(0, 2, (len(ids),))
    query = Features(values[:num_query], ids[:num_query], cameras[:num_query])
    return query, Features(values[num_query:], ids[num_query:], cameras[num_query:])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(
    seed=st.integers(0, 10_000),
    k1=st.integers(1, 35),
    k2=st.integers(1, 8),
    lam=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_dense_procedure(distance, seed, k1, k2, lam):
    query, gallery = problem(seed)
    expected = naive_rerank(query.values.numpy(), gallery.values.numpy(), k1, k2, lam, distance)
    found = rerank(query, gallery, KReciprocal(k1, k2, lam), distance=distance)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("k1", [2, 7, 20])
def test_a_program_that_counts_the_image_itself_has_one_neighbor_less(k1):
    query, gallery = problem(3)
    values = query.values.numpy(), gallery.values.numpy()
    expected = naive_rerank(*values, k1, 3, 0.3, "cosine", count_self=True)
    found = rerank(query, gallery, KReciprocal(k1 - 1, 3))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_evaluation_ranks_by_the_reranked_distance(naive, distance):
    for seed in range(5):
        query, gallery = problem(seed, num_query=12, num_gallery=60)
        how = KReciprocal(8, 3)
        matrix = naive_rerank(query.values.numpy(), gallery.values.numpy(), 8, 3, 0.3, distance)
        found = evaluate(query, gallery, reranking=how, distance=distance)
        for i, row in enumerate(torch.from_numpy(matrix)):  # images on a line, seen from 0
            origin, camera = torch.zeros(1, 1), query.cameras[[i]]
            labels = query.ids[[i]], row[:, None], gallery.ids, camera, gallery.cameras
            (each,), _ = naive(origin, *labels, distance="euclidean")
            assert float(found.average_precision[i]) == pytest.approx(each[0], abs=1e-12)
        assert found.mAP > evaluate(query, gallery, distance=distance).mAP - 0.1


def test_top_matches_are_those_of_the_reranked_distance():
    query, gallery = problem(1)
    how = KReciprocal(6, 2)
    matrix = rerank(query, gallery, how)
    found = top_matches(query, gallery, 5, reranking=how, keep_excluded=True)
    for row, matches in zip(matrix, found, strict=True):
        assert [match.index for match in matches] == row.argsort(stable=True)[:5].tolist()
        got = [match.distance for match in matches]
        assert got == pytest.approx(row.sort().values[:5].tolist(), abs=2e-6)


def test_more_neighbors_than_images_are_all_images():
    query, gallery = problem(2, 2, 6)
    values = query.values.numpy(), gallery.values.numpy()
    found = rerank(query, gallery, KReciprocal(100, 6))
    np.testing.assert_allclose(found, naive_rerank(*values, 100, 6, 0.3, "cosine"), atol=2e-6)


def test_chunks_give_what_one_gives(monkeypatch):
    query, gallery = problem(4)
    whole = rerank(query, gallery, KReciprocal(7, 3))
    for name in ("_BLOCK_BYTES", "_LARGE_BLOCK_BYTES"):
        monkeypatch.setattr(f"reidblocks.evaluation.blocks.{name}", 1000)
    monkeypatch.setattr("reidblocks.evaluation.reranking._CHUNK", 7)
    torch.testing.assert_close(rerank(query, gallery, KReciprocal(7, 3)), whole)


def test_equal_images_get_finite_distances():
    query = Features(torch.ones(2, 3), [0, 1])
    gallery = Features(torch.ones(30, 3), torch.arange(30) % 2)
    assert rerank(query, gallery).isfinite().all()  # some lists lack the image itself
    assert rerank(query, gallery, KReciprocal(k1=99)).abs().max() < 1e-6
    other = Features(2 * query.values, query.ids)
    expected = naive_rerank(other.values.numpy(), gallery.values.numpy(), 99, 6, 0.3, "euclidean")
    found = rerank(other, gallery, KReciprocal(k1=99), distance="euclidean")
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert evaluate(query, gallery, reranking=KReciprocal()).first_match_rank.tolist() == [1, 2]


def test_features_far_from_the_origin_keep_their_neighbors():
    query, gallery = problem(6)
    near = rerank(query, gallery, KReciprocal(8, 3), distance="euclidean")
    far = [Features(side.values.double() + 1e5, side.ids) for side in (query, gallery)]
    torch.testing.assert_close(
        rerank(*far, KReciprocal(8, 3), distance="euclidean"), near, atol=2e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 0}, "k1 of at least 1, got 0"),
        ({"k2": 0}, "k2 of at least 1, got 0"),
        ({"lambda_value": 1.5}, "lambda_value from 0 to 1, got 1.5"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        KReciprocal(**settings)


@pytest.mark.parametrize("settings", [{"k1": 2.5}, {"k2": 6.0}, {"k1": "20"}])
def test_sizes_are_whole_numbers(settings):
    with pytest.raises(TypeError, match=r"KReciprocal expects k[12] as a whole number, got "):
        KReciprocal(**settings)
