import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import MARKET1501, NO_CAMERAS, Protocol, evaluate


def assert_as_naive(result, each, cmc):
    for i, values in enumerate(each):
        got = (
            float(result.average_precision[i]),
            float(result.inverse_negative_penalty[i]),
            int(result.first_match_rank[i]),
        )
        if values is None:
            assert math.isnan(got[0])
            assert math.isnan(got[1])
            assert got[2] == 0
        else:
            assert got == pytest.approx(values, abs=1e-12)
    kept = [values for values in each if values is not None]
    assert result.num_valid_queries == len(kept)
    assert result.mAP == pytest.approx(sum(v[0] for v in kept) / len(kept), abs=1e-12)
    assert result.mINP == pytest.approx(sum(v[1] for v in kept) / len(kept), abs=1e-12)
    assert result.cmc.tolist() == pytest.approx(cmc, abs=1e-12)


@st.composite
def problems(draw, whole_numbers):
    """Query and gallery of any sizes, with duplicated images, junk and cameras."""
    num_query, num_gallery = draw(st.integers(1, 6)), draw(st.integers(1, 25))
    size = draw(st.sampled_from([1, 2, 3, 8, 33]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    total = num_query + num_gallery
    if whole_numbers:
        features = torch.randint(-2, 3, (total, size), generator=generator).float()
        features[(features == 0).all(1)] = 1.0
    else:
        features = torch.randn(total, size, generator=generator)
        source = torch.randint(0, total, (total,), generator=generator)
        again = torch.rand(total, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        features = torch.where(again[:, None], features[source], features)
    ids = torch.randint(-1, draw(st.integers(1, 6)), (total,), generator=generator)
    cameras = torch.randint(-1, 3, (total,), generator=generator)
    return (
        (features[:num_query], ids[:num_query], features[num_query:], ids[num_query:]),
        (cameras[:num_query], cameras[num_query:]),
    )


def check(problem, naive, distance, protocol=None, **rules):
    arguments, cameras = problem
    max_rank = 7
    each, cmc = naive(*arguments, *cameras, distance=distance, max_rank=max_rank, **rules)
    settings = {"protocol": protocol or Protocol(), "distance": distance, "max_rank": max_rank}
    settings |= {"query_cameras": cameras[0], "gallery_cameras": cameras[1]}
    if all(values is None for values in each):
        with pytest.raises(ValueError, match="queries dropped"):
            evaluate(*arguments, **settings)
    else:
        assert_as_naive(evaluate(*arguments, **settings), each, cmc)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(problem=problems(whole_numbers=True))
def test_equals_a_stable_sort_where_distances_tie(naive, distance, problem):
    check(problem, naive, distance)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(problem=problems(whole_numbers=False))
def test_equals_a_stable_sort_where_images_are_duplicated(naive, distance, problem):
    check(problem, naive, distance)


@given(problem=problems(whole_numbers=False))
def test_distractors_are_wrong_for_all_and_drop_as_queries(naive, problem):
    check(problem, naive, "cosine", MARKET1501, distractor_ids=(0,))


@given(problem=problems(whole_numbers=False), offset=st.sampled_from([0.0, 1e3, 1e6]))
def test_float64_features_far_from_the_origin(naive, problem, offset):
    (query, query_ids, gallery, gallery_ids), cameras = problem
    far = ((query.double() + offset, query_ids, gallery.double() + offset, gallery_ids), cameras)
    check(far, naive, "euclidean")


@pytest.mark.parametrize("factor", [1e-20, 1e-3, 1e15, 1e19, 1e36])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_scaled_features_give_the_same_ranking(distance, factor):
    query, gallery = torch.randn(20, 16), torch.randn(80, 16)
    ids = torch.arange(20), torch.arange(80) % 20
    expected = evaluate(query, ids[0], gallery, ids[1], distance=distance)
    got = evaluate(query * factor, ids[0], gallery * factor, ids[1], distance=distance)
    assert got.mAP == pytest.approx(expected.mAP, abs=1e-9)


@given(problem=problems(whole_numbers=False))
def test_same_sequence_is_left_out_whatever_its_identity(naive, problem):
    (query, query_ids, gallery, gallery_ids), (query_sequences, gallery_sequences) = problem
    arguments = query, query_ids, gallery, gallery_ids
    each, cmc = naive(
        *arguments, query_sequences=query_sequences, gallery_sequences=gallery_sequences
    )
    settings = {
        "query_sequences": query_sequences,
        "gallery_sequences": gallery_sequences,
        "protocol": Protocol(exclude_same_sequence=True),
    }
    if all(values is None for values in each):
        with pytest.raises(ValueError, match="queries dropped"):
            evaluate(*arguments, **settings)
    else:
        assert_as_naive(evaluate(*arguments, **settings), each, cmc)


def test_a_ranking_worked_out_by_hand():
    """Query at 0; gallery at 1, 2, 3, 4 is right, wrong, right, of the same camera."""
    result = evaluate(
        torch.tensor([[0.0]]),
        torch.tensor([7]),
        torch.tensor([[1.0], [2.0], [3.0], [4.0]]),
        torch.tensor([7, 8, 7, 7]),
        query_cameras=torch.tensor([1]),
        gallery_cameras=torch.tensor([2, 1, 2, 1]),
        distance="euclidean",
    )
    assert result.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)
    assert result.first_match_rank.tolist() == [1]


def test_same_camera_counts_where_the_protocol_says_so():
    features, ids, camera = torch.eye(2), torch.tensor([1, 2]), torch.tensor([1, 1])
    cameras = {"query_cameras": camera, "gallery_cameras": camera}
    assert evaluate(features, ids, features, ids, protocol=NO_CAMERAS, **cameras).mAP == 1
    with pytest.raises(ValueError, match="only in its own camera"):
        evaluate(features, ids, features, ids, **cameras)


def test_gallery_order_does_not_matter_to_duplicates_of_the_same_identity():
    """A peer's rank-1 was 0.20 or 0.395 according to the order of duplicated images."""
    generator = torch.Generator().manual_seed(1)
    gallery = torch.randn(100, 37, generator=generator).repeat(20, 1)
    ids = torch.arange(100).repeat(20)
    query = torch.randn(200, 37, generator=generator)
    query_ids = torch.arange(200) % 100
    shuffled = torch.randperm(2000, generator=generator)
    for distance in ("cosine", "euclidean"):
        first = evaluate(query, query_ids, gallery, ids, distance=distance)
        second = evaluate(query, query_ids, gallery[shuffled], ids[shuffled], distance=distance)
        assert torch.equal(first.average_precision, second.average_precision)
        assert torch.equal(first.cmc, second.cmc)


def test_cmc_never_falls_where_a_query_keeps_fewer_images_than_ranks():
    query, gallery = torch.randn(30, 4), torch.randn(6, 4)
    result = evaluate(query, torch.arange(30) % 3, gallery, torch.arange(6) % 3, max_rank=40)
    assert (result.cmc.diff() >= 0).all()
    assert result.cmc[5:].tolist() == [1.0] * 35


@pytest.mark.parametrize("spots", [1, 5])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_large_and_tightly_clustered_features_keep_their_order(distance, spots):
    """x²+y²−2xy in float32 gave a peer distances of −3 and rank-1 2% where 100% is right."""
    place = 1000 * torch.randn(spots, 1, 64, dtype=torch.float64)
    identity = 0.2 * torch.randn(spots, 40, 64, dtype=torch.float64)
    people = (place + identity).flatten(0, 1)
    images = [(people + 0.01 * torch.randn_like(people)).float() for _ in range(3)]
    ids = torch.arange(len(people))
    gallery, gallery_ids = torch.cat(images[1:]), ids.repeat(2)
    result = evaluate(images[0], ids, gallery, gallery_ids, distance=distance)
    assert result.rank(1) == 1
    assert result.mAP == 1


def test_a_dead_network_is_scored_by_gallery_order():
    features = torch.ones(4, 8), torch.ones(40, 8)
    ids = torch.arange(4), torch.arange(40) % 4
    for distance in ("cosine", "euclidean"):
        result = evaluate(features[0], ids[0], features[1], ids[1], distance=distance)
        assert result.first_match_rank.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_rank_by_their_own_values(naive, dtype):
    query, gallery = torch.randn(10, 16).to(dtype), torch.randn(60, 16).to(dtype)
    ids = torch.arange(10), torch.arange(60) % 10
    each, cmc = naive(query, ids[0], gallery, ids[1])
    assert_as_naive(evaluate(query, ids[0], gallery, ids[1]), each, cmc)


def test_reduced_precision_settings_do_not_reach_the_ranking():
    query, gallery = torch.randn(50, 64), torch.randn(500, 64)
    ids = torch.arange(50), torch.arange(500) % 50
    expected = evaluate(query, ids[0], gallery, ids[1])
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = evaluate(query, ids[0], gallery, ids[1])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(result.average_precision, expected.average_precision)


def test_features_are_left_as_they_were():
    query, gallery = torch.randn(5, 3) + 100, torch.randn(9, 3) + 100
    before = query.clone(), gallery.clone()
    evaluate(query, torch.arange(5) % 3, gallery, torch.arange(9) % 3)
    assert torch.equal(query, before[0])
    assert torch.equal(gallery, before[1])


def test_many_blocks_give_what_one_gives(monkeypatch):
    arguments = torch.randn(30, 8), torch.arange(30) % 7, torch.randn(90, 8), torch.arange(90) % 7
    whole = evaluate(*arguments)
    monkeypatch.setattr("reidblocks.evaluation.ranking._BLOCK_BYTES", 2000)
    monkeypatch.setattr("reidblocks.evaluation.ranking._SORT_BYTES", 1)
    parts = evaluate(*arguments)
    assert torch.equal(whole.average_precision, parts.average_precision)


def test_worst_lists_the_lowest_precision_first():
    query, gallery = torch.randn(12, 4), torch.randn(40, 4)
    result = evaluate(query, torch.arange(12), gallery, torch.arange(40) % 10)
    worst = result.worst(10)
    assert set(worst.tolist()) == set(range(10))  # identities 10 and 11 were dropped
    assert (result.average_precision[worst].diff() >= 0).all()
    assert len(result.worst(100)) == 10


def test_the_table_shows_the_figures_and_the_report():
    features = torch.eye(3)
    result = evaluate(features, torch.tensor([1, 2, 3]), features, torch.tensor([1, 2, 4]))
    text = str(result)
    assert "mAP" in text
    assert "100.00%" in text
    assert "1 of 3 queries dropped" in text


def good():
    return {
        "query_features": torch.randn(3, 4),
        "query_ids": torch.tensor([0, 1, 2]),
        "gallery_features": torch.randn(5, 4),
        "gallery_ids": torch.tensor([0, 1, 2, 0, 1]),
    }


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query_features": torch.randn(3, 5)}, ValueError, "one size, got 5 and 4"),
        ({"query_features": torch.randn(3, 4, 1)}, ValueError, r"query_features \(N, D\)"),
        (
            {"query_features": torch.randn(0, 4), "query_ids": torch.zeros(0).long()},
            ValueError,
            "at least one row and one column in query_features",
        ),
        (
            {"gallery_features": torch.randn(0, 4), "gallery_ids": torch.zeros(0).long()},
            ValueError,
            "at least one row and one column in gallery_features",
        ),
        ({"query_features": torch.ones(3, 4).long()}, TypeError, "floating-point"),
        ({"query_ids": torch.tensor([0, 1])}, ValueError, r"query_ids \(3,\).*got \(2,\)"),
        ({"gallery_ids": torch.rand(5)}, TypeError, "whole numbers in gallery_ids"),
        (
            {"query_cameras": torch.zeros(2).long(), "gallery_cameras": torch.zeros(5).long()},
            ValueError,
            "query_cameras",
        ),
        ({"query_cameras": torch.zeros(3).long()}, ValueError, "cameras of both"),
        (
            {"query_features": torch.tensor([[1.0] * 4, [1, 1, 1, torch.nan], [1] * 4])},
            ValueError,
            "finite query_features.*row 1",
        ),
        (
            {"gallery_features": torch.full((5, 4), torch.inf)},
            ValueError,
            "finite gallery_features.*row 0",
        ),
        ({"gallery_features": torch.zeros(5, 4)}, ValueError, "zero vector.*row 0"),
        ({"distance": "manhattan"}, ValueError, "'cosine' or 'euclidean', got 'manhattan'"),
        ({"max_rank": 0}, ValueError, "max_rank of at least 1"),
        ({"query_paths": ["a.jpg"]}, ValueError, "a path for each of 3 queries, got 1"),
        (
            {"protocol": Protocol(exclude_same_sequence=True)},
            ValueError,
            "query_sequences and gallery_sequences",
        ),
    ],
)
def test_bad_input_is_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        evaluate(**(good() | change))


def test_rank_beyond_the_curve_is_refused():
    with pytest.raises(ValueError, match="between 1 and max_rank=50, got 51"):
        evaluate(**good()).rank(51)


def test_zero_vectors_have_euclidean_distances():
    arguments = good() | {"query_features": torch.zeros(3, 4), "distance": "euclidean"}
    assert evaluate(**arguments).num_valid_queries == 3
