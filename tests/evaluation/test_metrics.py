import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import MARKET1501, NO_CAMERAS, Features, Protocol, evaluate
from reidblocks.evaluation.scores import Scorer


def random_sides(num_query, num_gallery, size=16):
    query_ids, gallery_ids = torch.arange(num_query) % 3, torch.arange(num_gallery) % 3
    values = torch.randn(num_query, size), torch.randn(num_gallery, size)
    return Features(values[0], query_ids), Features(values[1], gallery_ids)


def assert_as_naive(result, each, cmc):
    for i, values in enumerate(each):
        got = (
            float(result.average_precision[i]),
            float(result.inverse_negative_penalty[i]),
            float(result.first_match_rank[i]),
        )
        if values is None:
            assert all(map(math.isnan, got))
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
    (query, query_ids, gallery, gallery_ids), cameras = problem
    each, cmc = naive(*problem[0], *cameras, distance=distance, max_rank=7, **rules)
    sides = Features(query, query_ids, cameras[0]), Features(gallery, gallery_ids, cameras[1])
    settings = {"protocol": protocol or Protocol(), "distance": distance, "max_rank": 7}
    if all(values is None for values in each):
        with pytest.raises(ValueError, match="queries dropped"):
            evaluate(*sides, **settings)
    else:
        assert_as_naive(evaluate(*sides, **settings), each, cmc)


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


@pytest.mark.parametrize("factor", [2.0**exponent for exponent in (-66, -10, 50, 63, 120)])  # exact
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_scaled_features_give_the_same_ranking(distance, factor):
    query, gallery = random_sides(20, 80)
    expected = evaluate(query, gallery, distance=distance)
    query, gallery = (replace(side, values=side.values * factor) for side in (query, gallery))
    got = evaluate(query, gallery, distance=distance)
    assert got.mAP == pytest.approx(expected.mAP, abs=1e-9)


@given(problem=problems(whole_numbers=False))
def test_same_sequence_is_left_out_whatever_its_identity(naive, problem):
    (query, query_ids, gallery, gallery_ids), (query_sequences, gallery_sequences) = problem
    each, cmc = naive(
        *problem[0], query_sequences=query_sequences, gallery_sequences=gallery_sequences
    )
    sides = (
        Features(query, query_ids, sequences=query_sequences),
        Features(gallery, gallery_ids, sequences=gallery_sequences),
    )
    protocol = Protocol(exclude_same_sequence=True)
    if all(values is None for values in each):
        with pytest.raises(ValueError, match="queries dropped"):
            evaluate(*sides, protocol=protocol)
    else:
        assert_as_naive(evaluate(*sides, protocol=protocol), each, cmc)


def test_a_ranking_worked_out_by_hand():
    """Query at 0; gallery at 1, 2, 3, 4 is right, wrong, right, of the same camera."""
    result = evaluate(
        Features(torch.tensor([[0.0]]), [7], [1]),
        Features(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), [7, 8, 7, 7], [2, 1, 2, 1]),
        distance="euclidean",
    )
    assert result.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)
    assert result.first_match_rank.tolist() == [1]


def test_same_camera_counts_where_the_protocol_says_so():
    sides = [Features(torch.eye(2), [1, 2], [1, 1]) for _ in range(2)]
    assert evaluate(*sides, protocol=NO_CAMERAS).mAP == 1
    with pytest.raises(ValueError, match="only in its own camera"):
        evaluate(*sides)


def test_an_image_without_a_camera_shares_it_with_none():
    sides = [Features(torch.eye(2), [1, 2], [-1, -1]) for _ in range(2)]
    assert evaluate(*sides).mAP == 1


def test_gallery_order_does_not_matter_to_duplicates_of_the_same_identity():
    """A peer's rank-1 was 0.20 or 0.395 according to the order of duplicated images."""
    generator = torch.Generator().manual_seed(1)
    people = torch.randn(100, 37, generator=generator)
    gallery = Features(people.repeat(20, 1), torch.arange(100).repeat(20))
    query = Features(torch.randn(200, 37, generator=generator), torch.arange(200) % 100)
    shuffled = gallery[torch.randperm(2000, generator=generator)]
    for distance in ("cosine", "euclidean"):
        first = evaluate(query, gallery, distance=distance)
        second = evaluate(query, shuffled, distance=distance)
        assert torch.equal(first.average_precision, second.average_precision)
        assert torch.equal(first.cmc, second.cmc)


def test_cmc_never_falls_where_a_query_keeps_fewer_images_than_ranks():
    query, gallery = random_sides(30, 6)
    result = evaluate(query, gallery, max_rank=40)
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
    gallery = Features(torch.cat(images[1:]), ids.repeat(2))
    result = evaluate(Features(images[0], ids), gallery, distance=distance)
    assert result.rank(1) == 1
    assert result.mAP == 1


def test_a_dead_network_is_scored_by_gallery_order():
    query = Features(torch.ones(4, 8), torch.arange(4))
    gallery = Features(torch.ones(40, 8), torch.arange(40) % 4)
    for distance in ("cosine", "euclidean"):
        result = evaluate(query, gallery, distance=distance)
        assert result.first_match_rank.tolist() == [1, 2, 3, 4]


def test_a_dead_network_needs_no_exact_score(monkeypatch):
    """Every right image ties with the whole gallery: all pairs would have to be compared."""
    compared = []
    exact = Scorer.exact
    monkeypatch.setattr(
        Scorer, "exact", lambda self, *pairs: compared.append(len(pairs[0])) or exact(self, *pairs)
    )
    side = Features(torch.ones(100, 8), torch.arange(100) % 5)
    evaluate(side, side)
    assert sum(compared) == 0
    evaluate(side, replace(side, values=torch.ones(100, 8) + torch.eye(100)[:, :8]))
    assert sum(compared) > 0  # here ties are looked at


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_rank_by_their_own_values(naive, dtype):
    query, gallery = torch.randn(10, 16).to(dtype), torch.randn(60, 16).to(dtype)
    ids = torch.arange(10), torch.arange(60) % 10
    each, cmc = naive(query, ids[0], gallery, ids[1])
    result = evaluate(Features(query, ids[0]), Features(gallery, ids[1]))
    assert_as_naive(result, each, cmc)


def test_reduced_precision_settings_do_not_reach_the_ranking():
    query, gallery = random_sides(50, 500)
    expected = evaluate(query, gallery)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = evaluate(query, gallery)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(result.average_precision, expected.average_precision)


@pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"),
    reason="needs torch 2.9 or later",
)
def test_nor_do_those_of_single_backends():
    query, gallery = random_sides(50, 500)
    expected = evaluate(query, gallery)
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    try:
        for backend, value in zip(backends, ("tf32", "bf16"), strict=True):
            backend.fp32_precision = value
        result = evaluate(query, gallery)
        assert [backend.fp32_precision for backend in backends] == ["tf32", "bf16"]
    finally:
        for backend in backends:
            backend.fp32_precision = "ieee"
    assert torch.equal(result.average_precision, expected.average_precision)


def test_features_are_left_as_they_were():
    query, gallery = (replace(side, values=side.values + 100) for side in random_sides(5, 9))
    before = query.values.clone(), gallery.values.clone()
    evaluate(query, gallery)
    assert torch.equal(query.values, before[0])
    assert torch.equal(gallery.values, before[1])


def test_many_blocks_give_what_one_gives(monkeypatch):
    sides = random_sides(30, 90)
    whole = evaluate(*sides)
    for name in ("_BLOCK_BYTES", "_LARGE_BLOCK_BYTES"):
        monkeypatch.setattr(f"reidblocks.evaluation.blocks.{name}", 2000)
    monkeypatch.setattr("reidblocks.evaluation.ranking._PART_BYTES", 1)
    parts = evaluate(*sides)
    assert torch.equal(whole.average_precision, parts.average_precision)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_gpu_gives_what_the_cpu_gives(distance):
    query, gallery = random_sides(60, 3000)
    gallery = gallery[torch.arange(3000) // 3]  # each image three times
    expected = evaluate(query, gallery, distance=distance)
    found = evaluate(query.to("cuda"), gallery.to("cuda"), distance=distance)
    assert torch.equal(found.first_match_rank, expected.first_match_rank)
    for name in ("average_precision", "inverse_negative_penalty", "cmc"):  # sums, in any order
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-14, atol=1e-15
        )


def test_worst_lists_the_lowest_precision_first():
    query = Features(torch.randn(12, 4), torch.arange(12))
    result = evaluate(query, Features(torch.randn(40, 4), torch.arange(40) % 10))
    worst = result.worst(10)
    assert set(worst.tolist()) == set(range(10))  # identities 10 and 11 were dropped
    assert (result.average_precision[worst].diff() >= 0).all()
    assert len(result.worst(100)) == 10


def test_the_table_shows_the_figures_and_the_report():
    text = str(evaluate(Features(torch.eye(3), [1, 2, 3]), Features(torch.eye(3), [1, 2, 4])))
    assert "mAP" in text
    assert "100.00%" in text
    assert "1 of 3 queries dropped" in text


def sides_with(query=None, gallery=None, **both):
    query = {"values": torch.ones(3, 4), "ids": [0, 1, 2]} | both | (query or {})
    gallery = {"values": torch.ones(5, 4), "ids": [0, 1, 2, 0, 1]} | both | (gallery or {})
    return Features(**query), Features(**gallery)


BAD_ROW = torch.tensor([[1.0] * 4, [1, 1, 1, torch.nan], [1] * 4])
NONE = {"values": torch.ones(0, 4), "ids": torch.zeros(0).long()}


@pytest.mark.parametrize(
    ("sides", "settings", "message"),
    [
        ({"query": {"values": torch.ones(3, 5)}}, {}, "one size, got 5 and 4"),
        ({"query": NONE}, {}, "one row and one column in query features, got .0, 4"),
        ({"gallery": NONE}, {}, "one row and one column in gallery features, got .0, 4"),
        ({"query": {"cameras": [0, 0, 0]}}, {}, "cameras of both query and gallery"),
        ({"query": {"values": BAD_ROW}}, {}, "finite query features.*1 rows.*row 1"),
        (
            {"gallery": {"values": torch.full((5, 4), torch.inf)}},
            {},
            "finite gallery features.*5 rows.*row 0",
        ),
        ({"gallery": {"values": torch.zeros(5, 4)}}, {}, "zero vector.*got 5.*row 0"),
        ({}, {"distance": "manhattan"}, "'cosine' or 'euclidean', got 'manhattan'"),
        ({}, {"max_rank": 0}, "max_rank of at least 1, got 0"),
        ({}, {"protocol": Protocol(exclude_same_sequence=True)}, "expects sequences of query"),
        (
            {"query": {"sequences": [0] * 3}},
            {"protocol": Protocol(exclude_same_sequence=True)},
            "expects sequences of query and gallery, since the protocol",
        ),
        (
            {"gallery": {"sequences": [0] * 5}},
            {"protocol": Protocol(exclude_same_sequence=True)},
            "expects sequences of query and gallery, since the protocol",
        ),
    ],
)
def test_bad_input_is_refused_by_name(sides, settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*sides_with(**sides), **settings)


@pytest.mark.parametrize("side", ["query", "gallery"])
def test_labels_that_the_protocol_does_not_use_may_be_on_one_side(side):
    labels = [0] * (3 if side == "query" else 5)
    values = {
        "query": {"values": torch.eye(3)},
        "gallery": {"values": torch.eye(3)[[0, 1, 2, 0, 0]]},
    }
    expected = evaluate(*sides_with(**values), protocol=NO_CAMERAS)
    values[side] |= {"cameras": labels, "sequences": labels}
    found = evaluate(*sides_with(**values), protocol=NO_CAMERAS)
    assert torch.equal(found.average_precision, expected.average_precision)


def test_rank_beyond_the_curve_is_refused():
    with pytest.raises(ValueError, match="between 1 and max_rank=50, got 51"):
        evaluate(*sides_with()).rank(51)


def test_zero_vectors_have_euclidean_distances():
    sides = sides_with(query={"values": torch.zeros(3, 4)})
    assert evaluate(*sides, distance="euclidean").num_valid_queries == 3


@given(seed=st.integers(0, 1000), size=st.integers(2, 8))
def test_images_of_one_direction_keep_the_order_of_the_gallery(seed, size):
    generator = torch.Generator().manual_seed(seed)
    lengths = 0.1 + 9 * torch.rand(6, 1, generator=generator)
    gallery = lengths * torch.randn(size, generator=generator, dtype=torch.float64)
    query = Features(torch.randn(1, size, generator=generator).double(), [3])
    for place in range(6):
        ids = torch.zeros(6, dtype=torch.long)
        ids[place] = 3
        assert evaluate(query, Features(gallery, ids)).first_match_rank.tolist() == [place + 1]
