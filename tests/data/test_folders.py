from collections.abc import Callable
from pathlib import Path

import pytest

from reidblocks.data import from_csv, read_folder, write_csv
from reidblocks.data.patterns import compile_pattern

Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Make empty files, which no reader of names opens, and return their folder."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "photos"

    return make


@pytest.mark.parametrize(
    ("pattern", "path", "told"),
    [
        ("{person}/**", "anna/2021/a.jpg", {"person": "anna"}),
        ("{camera}/{person}/*", "hall/anna/1.png", {"camera": "hall", "person": "anna"}),
        ("{camera}/{person}/*", "hall/anna/new/1.png", None),
        ("{camera}/{person}_*.jpg", "hall/anna_maria_1.JPG", {"camera": "hall", "person": "anna"}),
        ("{camera}/{person}_*.jpg", "hall/anna_1.png", None),
        ("{person}_#.jpg", "anna_12.jpg", {"person": "anna"}),
        ("{person}_#.jpg", "anna_x.jpg", None),
        ("{person}#.jpg", "anna12.jpg", {"person": "anna"}),
        ("**/{person}.jpg", "anna.jpg", {"person": "anna"}),
        ("**/{person}.jpg", "a/b/anna.jpg", {"person": "anna"}),
        ("{person}_c{camera}s#_#_*", "0002_c1s1_000451_03.jpg", {"person": "0002", "camera": "1"}),
        ("{person}_c{camera}.png", "till_b_c1.png", None),
        ("{person}+({time}).png", "a+(3.5).png", {"person": "a", "time": "3.5"}),
        ("{split}/{person}.*", "query/é.png", {"split": "query", "person": "é"}),
        ("{person}/*", "/a.png", None),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, told: dict[str, str] | None) -> None:
    assert compile_pattern(pattern).match(path) == told


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{camera}/*", r"has no \{person\}: it must tell whom an image shows"),
        ("{who}/*", r"has \{who\}, which is none of person, camera"),
        ("{person}/{person}_*", r"has \{person\}, twice"),
        ("{person}{camera}", r"does not say where \{person\} ends: after it comes \{camera\}"),
        ("{person}*.jpg", r"does not say where \{person\} ends: after it comes \*; put what"),
        ("{person/*", "has a brace that is not closed or not opened"),
        ("person}/*", "has a brace that is not closed or not opened"),
        ("", r"has no \{person\}"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_told(pattern: str, message: str, touch: Touch) -> None:
    with pytest.raises(ValueError, match=message):
        read_folder(touch("a.png"), pattern)


def test_names_and_all_fields(touch: Touch) -> None:
    root = touch("hall/anna-s1-red-night-7.jpg", "yard/ben-s2-red-day-2026-01-31.jpg", "list.txt")
    data = read_folder(root, "{camera}/{person}-{sequence}-{clothes}-{modality}-{time}.jpg")
    assert data.name == "photos"
    assert (data.query, data.gallery) == ((), ())
    assert data.train[0] == (root / "hall/anna-s1-red-night-7.jpg", 0, 0, 0, 0, "night", 7.0)
    assert data.train[1][1:6] == (1, 1, 1, 0, "day")
    assert data.identity_names == {0: "anna", 1: "ben"}
    assert data.camera_names == {0: "hall", 1: "yard"}


def test_numbers_stay_and_minus_one_is_junk_and_no_camera(touch: Touch) -> None:
    root = touch("0012_c3.jpg", "0700_c-1.jpg", "-1_c2.jpg")
    data = read_folder(root, "{person}_c{camera}.jpg")
    assert [sample[1:3] for sample in data.train] == [(12, 3), (700, None)]
    assert data.identity_names == {}
    assert "1 images of no person" in data.summary()


def test_splits_of_folders(touch: Touch) -> None:
    root = touch("Train/1_a.jpg", "query/2_a.jpg", "gallery/2_b.jpg")
    data = read_folder(root, "{split}/{person}_{camera}.*")
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"image test/3_a\.jpg has the split 'test'; use train, q"):
        read_folder(touch("test/3_a.jpg"), "{split}/{person}_{camera}.*")


def test_images_of_another_name_are_told_and_never_dropped_in_silence(touch: Touch) -> None:
    root = touch(
        "anna/1.jpg", "ben/2.jpg", "loose1.jpg", "loose2.jpg", "x/.hidden.jpg", "Thumbs.db"
    )
    message = r"2 of 4 images below .*photos are not of the pattern '{person}/\*': loose1\.jpg, loo"
    with pytest.raises(ValueError, match=message):
        read_folder(root, "{person}/*")
    with pytest.warns(UserWarning, match=f"{message}.*; they are left out"):
        data = read_folder(root, "{person}/*", skip_unmatched=True)
    assert len(data.train) == 2
    with pytest.raises(ValueError, match="4 of 4 images"):
        read_folder(root, "{person}/x/*", skip_unmatched=True)


def test_one_person_in_two_spellings_is_told(touch: Touch) -> None:
    root = touch("7/a.jpg", "007/a.jpg")
    message = r"photos: writes one identity as 007 \(image 007/a\.jpg\) and as 7 \(image 7/a\.jpg\)"
    with pytest.raises(ValueError, match=message):
        read_folder(root)


def test_a_time_that_cannot_be_read_is_told(touch: Touch) -> None:
    with pytest.raises(ValueError, match=r"photos: image a_noon\.jpg has the time noon, which is"):
        read_folder(touch("a_noon.jpg"), "{person}_{time}.jpg")


def test_a_root_that_is_no_folder_of_images(touch: Touch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        read_folder(tmp_path / "nowhere")
    root = touch("readme.txt")
    with pytest.raises(FileNotFoundError, match=r"readme\.txt is a file"):
        read_folder(root / "readme.txt")
    with pytest.raises(ValueError, match="photos holds no image; images end in"):
        read_folder(root)


def test_what_is_read_can_be_written_as_a_table(touch: Touch, tmp_path: Path) -> None:
    data = read_folder(touch("anna/1.jpg", "ben/2.jpg"))
    table = from_csv(write_csv(data, tmp_path / "photos.csv"))
    assert (table.train, table.identity_names) == (data.train, data.identity_names)
