"""A query that is itself in the gallery never counts as its own match."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reidblocks.evaluation import (
    CUHK03_SINGLE_SHOT,
    MARKET1501,
    NO_CAMERAS,
    FeatureAccumulator,
    Features,
    KReciprocal,
    Protocol,
    Reason,
    compare,
    evaluate,
    evaluate_model,
    expand_queries,
    rerank,
    top_matches,
    verify,
)

SEQUENCES = Protocol(exclude_same_sequence=True)
PROTOCOLS = [Protocol(), MARKET1501, NO_CAMERAS, CUHK03_SINGLE_SHOT, SEQUENCES]
RERANKED = KReciprocal(k1=4, k2=2)


def images(num=24, size=5, people=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num, size, generator=generator)
    ids = torch.randint(-1, people, (num,), generator=generator)
    cameras = torch.randint(-1, 3, (num,), generator=generator)
    sequences = torch.randint(-1, 5, (num,), generator=generator)
    return Features(values, ids, cameras, sequences, [f"{n}.jpg" for n in range(num)])


def without_paths(side):
    return replace(side, paths=None)


def without(side, row):
    return side[[n for n in range(len(side)) if n != row]]


def each_alone(query, gallery, **settings):
    """Figures of each query against the gallery without it, NaN where it is dropped."""
    found = []
    for row in range(len(query)):
        place = gallery.paths.index(query.paths[row])
        try:
            alone = evaluate(query[[row]], without_paths(without(gallery, place)), **settings)
            found.append((float(alone.average_precision), float(alone.first_match_rank)))
        except ValueError as error:
            assert "1 of 1 queries dropped" in str(error)  # noqa: PT017
            found.append((torch.nan, torch.nan))
    return torch.tensor(found, dtype=torch.float64).T


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_evaluation_is_that_without_the_query_itself(protocol, distance, seed):
    gallery = images(seed=seed)
    query = gallery[torch.randperm(24)[:6]]
    precision, rank = each_alone(query, gallery, protocol=protocol, distance=distance)
    settings = {"protocol": protocol, "distance": distance}
    if precision.isnan().all():
        with pytest.raises(ValueError, match="6 of 6 queries dropped"):
            evaluate(query, gallery, **settings)
        return
    found = evaluate(query, gallery, **settings)
    tolerance = {"rtol": 0, "atol": 1e-12, "equal_nan": True}
    torch.testing.assert_close(found.average_precision, precision, **tolerance)
    torch.testing.assert_close(found.first_match_rank, rank, **tolerance)
    assert found.report.num_self_matches == 6


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_one_object_on_both_sides_needs_no_paths(protocol):
    side = images()
    expected = evaluate(side, replace(side), protocol=protocol)
    found = evaluate(*[without_paths(side)] * 2, protocol=protocol)
    assert replace(found, report=expected.report) == expected  # whose examples are paths
    assert found.report.num_self_matches == 24


def test_features_of_chance_do_not_find_themselves():
    """It found each query in itself: rank-1 of 100% for features that mean nothing."""
    side = Features(torch.randn(200, 16), torch.arange(200) // 2)
    assert evaluate(side, side).rank(1) < 0.1
    assert evaluate(side, Features(side.values.clone(), side.ids)).rank(1) == 1


def test_other_images_of_the_gallery_may_still_be_found():
    """Person 1 has two images; those of person 2 are one image, twice in the gallery."""
    values = torch.tensor([[0.0], [1.0], [5.0], [5.0]])
    side = Features(values, [1, 1, 2, 2], paths=["a", "b", "c", "c"])
    result = evaluate(side, side, distance="euclidean")
    assert result.first_match_rank[:2].tolist() == [1, 1]
    assert result.valid.tolist() == [True, True, False, False]
    (dropped,) = result.report.dropped
    assert (dropped.reason, dropped.count) == (Reason.ITSELF_ONLY, 2)
    text = str(result)
    assert "no other image of its identity than the query itself: c (identity 2)" in text
    assert "4 of 4 queries are in the gallery themselves: excluded" in text


def test_an_image_of_another_identity_is_no_wrong_match_either():
    query = Features(torch.tensor([[0.0]]), [1], paths=["a"])
    gallery = Features(torch.tensor([[0.0], [1.0]]), [2, 1], paths=["a", "b"])
    assert evaluate(query, gallery, distance="euclidean").mAP == 1


@pytest.mark.parametrize(
    ("query", "gallery", "number"),
    [
        ("a/b.jpg", "a/./b.jpg", 1),
        ("a/b.jpg", "a//b.jpg", 1),
        ("caf\u00e9.jpg", "cafe\u0301.jpg", 1),
        ("a/b.jpg", "b.jpg", 0),
        (None, None, 0),
    ],
)
def test_a_path_is_one_in_any_spelling(query, gallery, number):
    sides = (
        Features(torch.eye(2), [1, 1], paths=[path, other])
        for path, other in ((query, "x"), (gallery, "y"))
    )
    assert evaluate(*sides).report.num_self_matches == number


def test_without_paths_on_both_sides_nothing_is_known():
    side = images()
    for pair in ((side, without_paths(side)), (without_paths(side), replace(side))):
        assert evaluate(*pair, protocol=NO_CAMERAS).report.num_self_matches == 0


def test_matches_do_not_list_the_query():
    side = images()
    found = top_matches(side, side, 30)
    assert all(n not in [match.index for match in each] for n, each in enumerate(found))
    assert [len(each) for each in found] == found.num_candidates
    shown = top_matches(side, side, 30, keep_excluded=True)
    for n, each in enumerate(shown):
        (own,) = [match for match in each if match.index == n]
        assert own.correct is None
    assert shown.num_candidates == found.num_candidates


def test_an_image_and_itself_are_no_pair():
    side = images()
    settings = {"distance": "euclidean", "max_false_match_rate": 1.0, "protocol": NO_CAMERAS}
    found = verify(side, side, **settings)
    known = side.ids != -1
    same = side.ids[:, None] == side.ids
    counted = known[:, None] & known & ~torch.eye(24, dtype=torch.bool)
    assert len(found.positive_distances) == int((same & counted).sum())
    assert found.num_negatives == int((~same & counted).sum())
    assert found.positive_distances.min() > 0
    assert found.num_self_matches == 24
    assert verify(side, without_paths(side), **settings).num_self_matches == 0
    wrong = replace(side, ids=torch.arange(24) + 100)  # a path with two identities: no pair
    both = Features(
        torch.cat([side.values, wrong.values]),
        torch.cat([side.ids, wrong.ids]),
        paths=side.paths + wrong.paths,
    )
    assert verify(without_cameras(side), both, **settings)._nearest.distance.min() > 0


def without_cameras(side):
    return replace(side, cameras=None)


def test_expansion_takes_other_images():
    side = images()
    found = expand_queries(side, side, k=3, alpha=1.0)
    for row in range(24):
        alone = expand_queries(side[[row]], without(side, row), k=3, alpha=1.0)
        torch.testing.assert_close(found.values[row], alone.values[0])
    assert found.paths == side.paths
    one = side[[0]]
    unit = torch.nn.functional.normalize(one.values)
    torch.testing.assert_close(expand_queries(one, one).values, unit)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_image_is_its_own_neighbor_once_in_reranking(distance):
    side = images()
    query, rest = side[range(5)], side[range(5, 24)]
    expected = rerank(query, rest, RERANKED, distance=distance)
    settings = {"distance": distance}
    found = rerank(query, side, RERANKED, **settings)
    torch.testing.assert_close(found[:, 5:], expected, rtol=0, atol=1e-6)
    several = side[[9, 2, 9]]
    found = rerank(several, side, RERANKED, **settings)
    torch.testing.assert_close(found, rerank(side, side, RERANKED, **settings)[[9, 2, 9]])
    apart = rerank(without_paths(query), side, RERANKED, **settings)  # as two images
    assert not torch.allclose(apart[:, 5:], expected, rtol=0, atol=1e-6)
    result = evaluate(query, side, reranking=RERANKED, protocol=NO_CAMERAS, **settings)
    alone = evaluate(query, rest, reranking=RERANKED, protocol=NO_CAMERAS, **settings)
    assert result.report.num_self_matches == 5
    assert alone.report.num_self_matches == 0


def test_another_vector_of_an_image_is_reranked_as_another_image():
    side = images()
    other = replace(side, values=side.values + 0.1)
    found = rerank(other, side, RERANKED)
    torch.testing.assert_close(found, rerank(without_paths(other), side, RERANKED))


def test_two_models_are_compared_by_one_rule():
    side = images()
    with_paths = evaluate(side, side, protocol=NO_CAMERAS)
    query = replace(side, ids=side.ids)
    without_any = evaluate(without_paths(query), side, protocol=NO_CAMERAS)
    with pytest.raises(ValueError, match="got 24 and 0 that are in the gallery themselves; give"):
        compare(with_paths, without_any)
    assert compare(with_paths, with_paths)["mAP"].value == 0


def test_paths_are_kept_over_batches():
    side, joined = images(), FeatureAccumulator()
    for rows in torch.arange(24).split(7):
        part = side[rows]
        joined.update(
            part.values, part.ids, part.cameras, part.sequences, 23 - rows, paths=part.paths
        )
    found = joined.compute()
    assert found == side[range(23, -1, -1)]
    with pytest.raises(
        ValueError, match=r"expects values, ids, .*paths in every batch, got values"
    ):
        joined.update(part.values, part.ids, part.cameras, part.sequences, rows)


def test_one_loader_for_both_sides_is_one_set():
    side = without_paths(images())
    batch = SimpleNamespace(image=side.values, label=side.ids, camera=torch.full((len(side),), -1))
    loader = [batch]
    found = evaluate_model(nn.Identity(), loader, loader)
    assert found.report.num_self_matches == len(side)
    assert found.mAP == evaluate(side, side, protocol=NO_CAMERAS).mAP


def test_a_set_that_stays_where_it_is_is_the_same_set():
    side = without_paths(images())
    assert side.to("cpu") is side


def test_an_empty_path_names_no_image():
    side = images()
    empty = replace(side, paths=[""] * len(side))
    assert empty.paths == [None] * len(side)
    copy = replace(empty, values=side.values.clone())
    assert evaluate(empty, copy, protocol=NO_CAMERAS).report.num_self_matches == 0


@pytest.mark.parametrize("paths", [{"a", "b"}, {"a": 1, "b": 2}])
def test_paths_have_an_order(paths):
    with pytest.raises(TypeError, match="Features expects paths as a list of strings"):
        Features(torch.rand(2, 3), [1, 2], paths=paths)
