import gc
import os
import unicodedata
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reidblocks.data import ImageDataset, ReIDDataset, Sample
from reidblocks.data.paths import file_key, file_keys

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


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_a_test_without_queries_or_gallery_is_an_error(split: str) -> None:
    with pytest.raises(ValueError, match=f"people has no {split} images; it needs train, or query"):
        replace(DATA, **{split: ()})


def test_a_set_may_be_for_testing_or_for_training_alone() -> None:
    test = replace(DATA, train=())
    assert (test.labels, test.num_identities) == ({}, 0)
    assert "train" not in test.summary()
    assert "gallery" not in replace(DATA, query=(), gallery=()).summary()
    with pytest.raises(ValueError, match="no train and no query and no gallery images"):
        ReIDDataset("people", (), (), ())


def test_people_and_cameras_keep_their_names() -> None:
    data = replace(DATA, identity_names={30: "anna"}, camera_names={1: "hall"})
    assert [data.identity_name(30), data.identity_name(4)] == ["anna", "4"]
    assert [data.camera_name(n) for n in (1, 2, None)] == ["hall", "2", "unknown"]
    leak = Sample(Path("leak.jpg"), 30, 3)
    with pytest.raises(ValueError, match=r"identity anna is in train"):
        replace(data, gallery=(*GALLERY, leak))
    twice = Sample(Path("a.jpg"), 5, 2)
    with pytest.raises(ValueError, match=r"in train as identity anna of camera hall and in gall"):
        replace(data, gallery=(*GALLERY, twice))
    assert hash(data) == hash(DATA)
    assert data != DATA


def test_a_sample_may_tell_more() -> None:
    told = Sample(Path("q.jpg"), 5, 1, torch.tensor(3), 2.0, "infrared", 7)  # type: ignore[arg-type]
    (kept,) = replace(DATA, query=(told,)).query
    assert kept == Sample(Path("q.jpg"), 5, 1, 3, 2, "infrared", 7.0)
    assert [type(value) for value in kept[3:]] == [int, int, str, float]
    again = replace(DATA, query=(told._replace(camera=-1),)).query[0]
    assert (again.camera, again.sequence) == (None, 3)


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("sequence", "a", TypeError, "the sequence of q.jpg as a whole number, got 'a'"),
        ("clothes", 1.5, ValueError, "the clothes of q.jpg as a whole number, got 1.5"),
        ("modality", 3, TypeError, "the modality of q.jpg as a string, got 3"),
        ("time", "noon", TypeError, "the time of q.jpg as a number, got 'noon'"),
        ("time", True, TypeError, "the time of q.jpg as a number, got True"),
        ("time", float("nan"), ValueError, "the time of q.jpg as a finite number, got nan"),
    ],
)
def test_what_else_a_sample_tells_is_checked(
    field: str, value: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=f"people expects {message}"):
        replace(DATA, query=(QUERY[0]._replace(**{field: value}),))


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
    told = r"q\.jpg twice: in query .* camera unknown and in gallery .* a camera cannot also"
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


@pytest.mark.parametrize(
    ("link", "folder"),
    [(Path.symlink_to, False), (Path.symlink_to, True), (Path.hardlink_to, False)],
)
def test_two_paths_to_one_file_are_one_image(
    folder: bool, link: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "q.jpg").touch()
    if folder:
        link(tmp_path / "b", tmp_path / "a")
    else:
        (tmp_path / "b").mkdir()
        link(tmp_path / "b" / "q.jpg", tmp_path / "a" / "q.jpg")
    first, second = (Sample(tmp_path / name / "q.jpg", 5, 1) for name in "ab")
    told = r"b.q\.jpg \(one file with .*a.q\.jpg\) twice: in train .* and in gallery"
    with pytest.raises(ValueError, match=told):
        ReIDDataset("people", (first._replace(identity=3),), QUERY, (*GALLERY, second))
    assert ReIDDataset("people", TRAIN, (first,), (*GALLERY, second)).gallery[-1] == second


def test_files_in_two_unicode_forms_are_as_the_system_has_them(tmp_path: Path) -> None:
    paths = [tmp_path / unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")]
    for path in paths:
        path.touch()
    samples = tuple(Sample(path, 5, 1) for path in paths)
    if len(list(tmp_path.iterdir())) == 2:
        assert len(replace(DATA, gallery=samples).gallery) == 2
    else:
        with pytest.raises(ValueError, match="one file with"):
            replace(DATA, gallery=samples)


def test_a_system_without_numbers_for_files(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "q.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("q.jpg")
    (tmp_path / "other.jpg").touch()
    stat = os.stat

    def unnumbered(path: Any, **options: Any) -> os.stat_result:
        return os.stat_result((0, 0, *stat(path, **options)[2:]))

    monkeypatch.setattr(os, "stat", unnumbered)
    query, *others = (Sample(tmp_path / f"{name}.jpg", 5, 1) for name in ("q", "link", "other"))
    replace(DATA, query=(query,), gallery=(*GALLERY, others[1]))
    with pytest.raises(ValueError, match="one file with"):
        replace(DATA, gallery=(*GALLERY, query, others[0]))


@pytest.mark.parametrize(
    "number",
    [
        *(torch.tensor(5, dtype=t) for t in (torch.uint8, torch.int16, torch.int64, torch.uint64)),
        torch.tensor([5]).int().numpy()[0],
        torch.tensor([5]).to(torch.uint64).numpy()[0],
        5.0,
        torch.tensor(5.0).numpy(),
    ],
)
def test_identities_and_cameras_of_any_integer_type_are_ints(number: Any) -> None:
    data = replace(DATA, query=(Sample(Path("q.jpg"), number, number),))
    assert data.query == (Sample(Path("q.jpg"), 5, 5),)
    assert [type(value) for value in data.query[0][1:3]] == [int, int]
    item = ImageDataset([Sample(Path("q.jpg"), number, number)]).samples[0]
    assert item == Sample(Path("q.jpg"), 5, 5)


@pytest.mark.parametrize(
    ("value", "error", "got"),
    [
        ("anna", TypeError, "got 'anna'"),
        (True, TypeError, "got True"),
        (torch.tensor([True]).numpy()[0], TypeError, r"got .*True"),
        (1.5, ValueError, r"got 1\.5"),
        (float("nan"), ValueError, "got nan"),
        (
            2**63,
            ValueError,
            r"from -2\*\*63 to 2\*\*63 - 1, as int64 holds, got 9223372036854775808",
        ),
        (-(2**63) - 1, ValueError, r"from -2\*\*63"),
    ],
)
@pytest.mark.parametrize("field", ["identity", "camera"])
@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_what_is_no_number_is_refused_by_name(
    split: str, field: str, value: Any, error: Any, got: str
) -> None:
    bad = Sample(Path("bad.jpg"), 77, 1)._replace(**{field: value})
    message = rf"people expects the {field} of bad\.jpg .*{got}.*; number .* from 0 on"
    with pytest.raises(error, match=message):
        replace(DATA, **{split: (*getattr(DATA, split), bad)})
    with pytest.raises(error, match=rf"ImageDataset expects the {field} of bad\.jpg"):
        ImageDataset([bad])


def test_an_identity_that_is_missing_is_refused() -> None:
    with pytest.raises(TypeError, match=r"the identity of bad\.jpg as a whole number, got None"):
        replace(DATA, gallery=(Sample(Path("bad.jpg"), None, 1),))  # type: ignore[arg-type]


def test_junk_is_no_class_and_no_query_and_stays_in_the_gallery() -> None:
    junk = [Sample(Path(f"junk{number}.jpg"), -1, 1) for number in range(4)]
    data = ReIDDataset("people", (junk[0], *TRAIN, junk[1]), (*QUERY, junk[2]), (*GALLERY, junk[3]))
    assert (data.train, data.query) == (TRAIN, QUERY)
    assert data.gallery == (*GALLERY, junk[3])
    assert data.labels == DATA.labels
    assert data.summary() == replace(DATA, gallery=data.gallery).summary() + (
        "\n3 images of no person (junk) excluded from train and query"
    )


@pytest.mark.parametrize("split", ["train", "query"])
def test_a_split_of_junk_alone_is_empty(split: str) -> None:
    with pytest.raises(ValueError, match=rf"no {split} images but 1 of identity -1, which is junk"):
        replace(DATA, **{split: (Sample(Path("junk.jpg"), -1, 1),)})


def test_a_listing_that_is_not_to_be_trusted_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").touch()
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "gone.jpg"]
    assert file_keys(paths) == [file_key(path) for path in paths]
    monkeypatch.chdir(tmp_path)
    assert file_keys([Path("a.jpg"), "b.jpg"]) == [file_key(path) for path in paths[:2]]
    stat = os.stat

    def other_numbers(path: Any, **options: Any) -> os.stat_result:  # as of some file systems
        found = stat(path, **options)
        return os.stat_result((found[0], found[1] + 1000, *found[2:]))

    monkeypatch.setattr(os, "stat", other_numbers)
    (tmp_path / "d.jpg").hardlink_to(paths[0])
    keys = file_keys([*paths, tmp_path / "d.jpg"])
    assert keys[0] == keys[-1] == file_key(paths[0])


def test_the_garbage_collector_is_as_it_was() -> None:
    gc.disable()
    try:
        replace(DATA)
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ValueError, match="no query images"):
        replace(DATA, query=())
    assert gc.isenabled()
