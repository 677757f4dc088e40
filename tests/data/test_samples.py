from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from reidblocks.data import ReIDDataset, Sample

TRAIN = (
    Sample(Path("a.jpg"), 30, 1),
    Sample(Path("b.jpg"), 4, 2),
    Sample(Path("c.jpg"), 30, None),
    Sample(Path("d.jpg"), 1002, 2),
)
QUERY = (Sample(Path("q.jpg"), 5, 1),)
GALLERY = (Sample(Path("g.jpg"), 5, 2), Sample(Path("h.jpg"), 0, 6))
DATA = ReIDDataset("people", TRAIN, QUERY, GALLERY)


def test_labels_are_contiguous_and_sorted_by_identity() -> None:
    assert DATA.labels == {4: 0, 30: 1, 1002: 2}
    assert DATA.num_identities == 3


def test_labels_do_not_depend_on_the_order_of_the_images() -> None:
    assert replace(DATA, train=TRAIN[::-1]).labels == DATA.labels


def test_the_summary_counts_images_identities_and_known_cameras() -> None:
    rows = [row.split() for row in DATA.summary().splitlines()]
    assert rows == [
        ["people", "images", "identities", "cameras"],
        ["train", "4", "3", "2"],
        ["query", "1", "1", "1"],
        ["gallery", "2", "2", "2"],
    ]


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_an_empty_split_is_an_error(split: str) -> None:
    with pytest.raises(ValueError, match=f"people has no {split} images; it needs train"):
        replace(DATA, **{split: ()})


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_a_training_identity_in_the_test_is_an_error_naming_both_files(split: str) -> None:
    leak = Sample(Path("leak.jpg"), 30, 3)
    with pytest.raises(ValueError, match=r"identity 30 is in train \(c.jpg\).*\(leak.jpg\)"):
        replace(DATA, **{split: (*GALLERY, leak)})


@pytest.mark.parametrize(
    ("split", "sample", "told"),
    [
        ("train", Sample(Path("x/../a.jpg"), 30, 1), r"in train as identity 30 of camera 1 and"),
        ("train", Sample(Path("b.jpg"), 30, 1), r"in train as identity 4 .* identity 30 of cam"),
        ("query", Sample(Path("q.jpg"), 5, 1), r"in query as identity 5 of camera 1 and in query"),
        ("gallery", Sample(Path("h.jpg"), 0, 6), r"and in gallery as identity 0 of camera 6; keep"),
        (
            "query",
            Sample(Path("a.jpg"), 5, 1),
            r"in train as identity 30 .* in query as identity 5",
        ),
        (
            "gallery",
            Sample(Path("q.jpg"), 5, 3),
            r"in query .* camera 1 and in gallery .* camera 3",
        ),
        ("gallery", Sample(Path("q.jpg"), 0, 1), r"identity 5 .* and in gallery as identity 0"),
    ],
)
def test_an_image_that_is_there_twice_is_named(split: str, sample: Sample, told: str) -> None:
    with pytest.raises(ValueError, match=rf"people has the image {sample.path} twice: .*{told}"):
        replace(DATA, **{split: (*getattr(DATA, split), sample)})


def test_a_query_may_lie_in_the_gallery_where_its_camera_is_known() -> None:
    assert len(replace(DATA, gallery=(*GALLERY, *QUERY)).gallery) == 3
    absolute = Sample(Path("q.jpg").absolute(), 5, 1)
    assert len(replace(DATA, gallery=(*GALLERY, absolute)).gallery) == 3
    with pytest.raises(ValueError, match=r"q\.jpg twice: in gallery .* and in gallery"):
        replace(DATA, gallery=(*GALLERY, *QUERY, absolute))


@pytest.mark.parametrize("cameras", [(None, None), (-1, -1), (-1, None)])
def test_a_query_of_an_unknown_camera_cannot_lie_in_the_gallery(
    cameras: tuple[int | None, int | None],
) -> None:
    query, again = (Sample(Path("q.jpg"), 5, camera) for camera in cameras)
    told = r"q\.jpg twice: in query .* camera None and in gallery .* without a camera cannot also"
    with pytest.raises(ValueError, match=told):
        replace(DATA, query=(query,), gallery=(*GALLERY, again))


def test_an_absolute_and_a_relative_path_are_one_image() -> None:
    absolute = Sample(Path("q.jpg").absolute(), 5, 2)
    with pytest.raises(ValueError, match=r"q\.jpg twice: in query .* 1 and in gallery .* 2"):
        replace(DATA, gallery=(*GALLERY, absolute))


def test_the_camera_minus_one_is_unknown() -> None:
    data = replace(DATA, query=(Sample(Path("q.jpg"), 5, -1),))
    assert data.query == (Sample(Path("q.jpg"), 5, None),)
    assert data.summary().splitlines()[2].split() == ["query", "1", "1", "0"]


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DATA.name = "other"  # type: ignore[misc]
