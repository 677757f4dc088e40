import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import MARKET1501, Features, top_matches


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(seed=st.integers(0, 1000), k=st.integers(1, 12), keep_excluded=st.booleans())
def test_lists_the_first_of_a_stable_sort(ranking, distance, seed, k, keep_excluded):
    torch.manual_seed(seed)
    values = torch.randint(-2, 3, (14, 3)).float()
    values[(values == 0).all(1)] = 1
    ids, cameras = torch.randint(-1, 3, (14,)), torch.randint(-1, 2, (14,))
    query = Features(values[:4], ids[:4], cameras[:4])
    gallery = Features(values[4:], ids[4:], cameras[4:])
    found = top_matches(query, gallery, k, distance=distance, keep_excluded=keep_excluded)
    for i in range(4):
        expected = []
        order = ranking(query.values[i].tolist(), gallery.values.tolist(), distance)
        for j in order:
            same = bool(gallery.ids[j] == query.ids[i])
            own_camera = query.cameras[i] != -1 and gallery.cameras[j] == query.cameras[i]
            junk = gallery.ids[j] == -1 or (same and own_camera)
            if keep_excluded or not junk:
                expected.append((j, None if junk else same))
        assert [(match.index, match.correct) for match in found[i]] == expected[:k]
        x = query.values[i].double()
        for match in found[i]:
            y = gallery.values[match.index].double()
            right = (x - y).norm() if distance == "euclidean" else 1 - x @ y / x.norm() / y.norm()
            assert match.distance == pytest.approx(float(right), abs=1e-12)


def test_a_query_of_a_distractor_identity_finds_nothing_right():
    query, gallery = (Features(torch.eye(2), [0, 1]) for _ in range(2))
    first, second = top_matches(query, gallery, 2, protocol=MARKET1501, keep_excluded=True)
    assert [match.correct for match in first] == [None, False]
    assert [match.correct for match in second] == [True, False]


def test_equal_images_are_listed_in_gallery_order_with_their_distance():
    query, gallery = Features(torch.zeros(1, 2), [0]), Features(torch.ones(30, 2), [0] * 30)
    (found,) = top_matches(query, gallery, 4, distance="euclidean")
    assert [match.index for match in found] == [0, 1, 2, 3]
    assert [match.distance for match in found] == pytest.approx([2**0.5] * 4)


def test_k_below_one_is_refused():
    side = Features(torch.eye(2), [0, 1])
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        top_matches(side, side, 0)


def test_a_gallery_without_identities_is_told_and_search_named():
    query, gallery = Features(torch.eye(3), [0, 1, 2]), Features(torch.eye(3), [-1, -1, -1])
    with pytest.raises(ValueError, match=r"of 3 gallery images none counts for any of 3 queries"):
        top_matches(query, gallery)
    with pytest.raises(ValueError, match=r"3 are of a junk identity \(-1\).*use search\(query"):
        top_matches(query, gallery)
    shown = top_matches(query, gallery, keep_excluded=True)
    assert [len(each) for each in shown] == [3, 3, 3]
    assert shown.num_candidates == [0, 0, 0]


def test_how_many_images_are_left_to_each_query():
    query = Features(torch.eye(3), [1, 2, 3], [0, 0, 1])
    gallery = Features(torch.eye(3)[[0, 0, 1, 2]], [1, 1, 2, -1], [0, 1, 0, 0])
    found = top_matches(query, gallery, k=1)
    assert found.num_candidates == [2, 2, 3]
    assert [len(each) for each in found] == [1, 1, 1]
    own_camera = gallery[[0]]
    found = top_matches(query, own_camera)
    assert found.num_candidates == [0, 1, 1]
    assert found[0] == []
    with pytest.raises(ValueError, match="1 are the query itself or of its own camera"):
        top_matches(query[[0]], own_camera)
