"""Each public set on its own layout; what all readers do alike is in test_datasets.py too."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from official import NAMES, write_mars_lists, write_set
from PIL import Image

import reidblocks.data
from reidblocks.data import (
    READERS,
    ReIDDataset,
    Sample,
    crop_mot,
    read_cuhk03np,
    read_market1501,
    read_mars,
    read_mot,
    read_msmt17,
    read_personx,
    read_soccernet,
)

Reader = Callable[..., ReIDDataset]
SETS = sorted(NAMES)

# identity, camera, sequence, clothes, modality and time of the first image of each split
FIRST: dict[str, tuple[tuple[Any, ...] | None, ...]] = {
    "market1501": ((2, 1), (1, 1), (1, 6)),
    "cuhk03np": ((2, 1), (3, 1), (3, 2)),
    "msmt17": ((0, 1, None, None, None, 3030), (1, 1, None, None, None, 3032),
               (1, 5, None, None, None, 3031)),
    "dukemtmc": ((1, 2), (5, 2), (5, 8)),
    "occluded_duke": ((1, 2), (5, 2), (5, 8)),
    "occluded_reid": (None, (1, 0), (1, 1)),
    "partial_reid": (None, (1, 0), (1, 1)),
    "ltcc": ((0, 11, None, 1), (1, 5, None, 1), (1, 9, None, 2)),
    "veri776": ((1, 1, None, None, None, 16450), (2, 2, None, None, None, 30600),
                (2, 3, None, None, None, 30640)),
    "mars": ((1, 1, 0, None, None, 1), (2, 1, 0, None, None, 1), (2, 3, 1, None, None, 4)),
    "soccernet": ((0, None, 0, None, None, 0), (1, None, 1, None, None, 0),
                  (1, None, 1, None, None, 1)),
    "mot": ((0, 0, 0, None, None, 1), (1, 3, 1, None, None, 1), (1, 2, 1, None, None, 11)),
    "personx": ((1, 1), (2, 1), (2, 1)),
    "randperson": ((0, 0, None, None, None, 264), None, None),
    "synergyreid": ((12, None, 3, None, None, 19), (440, 0, 55, None, None, 0),
                    (440, 1, 55, None, None, 7)),
}  # fmt: skip


def written(name: str, folder: Path) -> Path:
    if name == "mars":
        pytest.importorskip("scipy", reason="the extra mars is not installed")
    return write_set(name, folder)


def test_every_reader_is_public_tested_and_in_the_table() -> None:
    public = {n.removeprefix("read_") for n in reidblocks.data.__all__ if n.startswith("read_")}
    assert (
        public - {"folder", "image", "masks"} == READERS.keys() - {"csv"} == {*SETS} == FIRST.keys()
    )
    for name, reader in READERS.items():
        assert reader.__name__ in (f"read_{name}", "from_csv")


@pytest.mark.parametrize("name", SETS)
def test_what_the_names_tell(name: str, tmp_path: Path) -> None:
    home = written(name, tmp_path)
    data = READERS[name](home)
    for samples, first in zip((data.train, data.query, data.gallery), FIRST[name], strict=True):
        assert bool(samples) == (first is not None)
        if first is not None:
            assert samples[0][1:] == (*first, *[None] * (6 - len(first)))
            assert samples[0].path.is_file()
    assert READERS[name](tmp_path) == READERS[name](f"{home}") == data


@pytest.mark.parametrize("name", SETS)
def test_a_name_that_cannot_be_read_and_a_folder_that_is_not_there(
    name: str, tmp_path: Path
) -> None:
    home = written(name, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere, which does not exist"):
        READERS[name](home / "nowhere")
    if name in ("msmt17", "mars"):
        return  # their lists name the images
    bad = (tmp_path / NAMES[name][-1]).with_name("photo.jpg")
    bad.touch()
    with pytest.raises(ValueError, match=r"cannot read the name of .*photo\.jpg: it expects names"):
        READERS[name](home)


def test_a_set_of_the_official_name_with_other_counts_is_warned_of(tmp_path: Path) -> None:
    home = written("market1501", tmp_path)
    message = (
        "Market1501 in .* has 1 train images where the published set has 12,936, 1 query images "
        "where .* 3,368, 1 gallery images where .* 15,913: results on it do not compare"
    )
    with pytest.warns(UserWarning, match=message):
        read_market1501(tmp_path)
    own = home.rename(tmp_path / "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_market1501(own)


@pytest.mark.parametrize("home", ["market1501", "Market-1501", "MARKET_1501"])
def test_names_that_people_give_a_set_are_found(home: str, tmp_path: Path) -> None:
    written("market1501", tmp_path).rename(tmp_path / home)
    (tmp_path / "Market-1501-v15.09.15").mkdir()  # of an archive, and empty
    assert len(read_market1501(tmp_path).train) == 1


class TestMarket1501:
    def test_distractors(self, tmp_path: Path) -> None:
        home = written("market1501", tmp_path)
        with pytest.raises(FileNotFoundError, match="misses images in"):
            read_market1501(home, distractors=True)
        (home / "images").mkdir()
        for name in ("0000_c3s1_000001_01.jpg", "d1234.jpg"):
            (home / "images" / name).touch()
        gallery = read_market1501(home, distractors=True).gallery
        assert gallery[1:] == (
            Sample(home / "images" / "0000_c3s1_000001_01.jpg", 0, 3),
            Sample(home / "images" / "d1234.jpg", 0, None),
        )
        assert len(read_market1501(home).gallery) == 1

    def test_queries_of_several_images(self, tmp_path: Path) -> None:
        home = written("market1501", tmp_path)
        (home / "query" / "0001_c2s1_001051_00.jpg").touch()
        with pytest.raises(FileNotFoundError, match="misses gt_bbox in"):
            read_market1501(home, multi_query=True)
        (home / "gt_bbox").mkdir()
        for name in (
            "0001_c1s1_001051_00",
            "0001_c1s1_001076_00",
            "0001_c3s1_0_00",
            "0002_c1s1_0_00",
        ):
            (home / "gt_bbox" / f"{name}.jpg").touch()
        query = read_market1501(home, multi_query=True).query
        told = [(s.path.parent.name, s.identity, s.camera, s.sequence) for s in query]
        assert told == [("gt_bbox", 1, 1, 0), ("gt_bbox", 1, 1, 0), ("query", 1, 2, 1)]


class TestMSMT17:
    def test_the_second_version_and_val(self, tmp_path: Path) -> None:
        home = written("msmt17", tmp_path)
        for part in ("train", "test"):
            (home / part).rename(home / f"mask_{part}_v2")
        home = home.rename(tmp_path / "MSMT17_V2")
        assert len(read_msmt17(tmp_path).train) == 1
        with pytest.raises(FileNotFoundError, match=r"misses list_val\.txt in"):
            read_msmt17(tmp_path, val=True)
        name = "0004/0004_000_01_0303morning_0008_0.jpg"
        (home / "mask_train_v2" / "0004").mkdir()
        (home / "mask_train_v2" / name).touch()
        (home / "list_val.txt").write_text(f"{name} 4\n")
        data = read_msmt17(tmp_path, val=True)
        assert [sample.identity for sample in data.train] == [0, 4]
        assert data.query[0].identity == 5  # counted on after the last of training

    @pytest.mark.parametrize(
        ("line", "error", "message"),
        [
            ("0000/gone_1_2_0303noon_1.jpg 0", ValueError, r"list_query\.txt line 1 is '0000/go"),
            ("0000/0009_1_2_0303noon_1.jpg 0", FileNotFoundError, r"list_query\.txt names 1 images "
             r"that are not in .*test, the first 0000/0009"),
            ("0000/0000_000_01_0303noon_0.jpg", ValueError, "expected an image and an identity"),
            ("", ValueError, r"list_query\.txt names no image"),
        ],
    )  # fmt: skip
    def test_a_list_that_is_wrong(
        self, line: str, error: Any, message: str, tmp_path: Path
    ) -> None:
        home = written("msmt17", tmp_path)
        (home / "list_query.txt").write_text(f"{line}\n")
        with pytest.raises(error, match=message):
            read_msmt17(home)
        (home / "list_query.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"MSMT17 misses list_query\.txt in"):
            read_msmt17(home)


class TestMARS:
    def test_junk_distractors_and_tracklets(self, tmp_path: Path) -> None:
        home = written("mars", tmp_path)
        for name in ("00-1/00-1C1T0001F001.jpg", "0000/0000C2T0001F003.jpg"):
            (home / "bbox_test" / name).parent.mkdir()
            (home / "bbox_test" / name).touch()
        tracks = [[1, 1, -1, 1], [2, 2, 0, 2], [3, 3, 2, 1], [4, 4, 2, 3]]
        write_mars_lists(home, test=tracks, query=[[3]])
        data = read_mars(home)
        assert [(s.identity, s.sequence) for s in data.gallery] == [(0, 1), (2, 3)]
        assert [(s.identity, s.sequence) for s in data.query] == [(2, 2)]
        assert [s.sequence for s in data.train] == [0, 0]
        kept = read_mars(home, keep_junk=True).gallery
        assert [s.identity for s in kept] == [-1, 0, 2]

    def test_lists_that_are_wrong(self, tmp_path: Path) -> None:
        home = written("mars", tmp_path)
        write_mars_lists(home, query=[[9]])
        with pytest.raises(ValueError, match=r"query_IDX\.mat names tracklet 9 of 2"):
            read_mars(home)
        write_mars_lists(home, train=[[1, 7, 1, 1]])
        with pytest.raises(ValueError, match=r"tracks_train_info\.mat row 1 is \[1, 7, 1, 1\]; e"):
            read_mars(home)
        (home / "info" / "tracks_train_info.mat").write_bytes(b"no MATLAB")
        with pytest.raises(ValueError, match=r"tracks_train_info\.mat is no MATLAB file, or a dam"):
            read_mars(home)
        (home / "info" / "tracks_train_info.mat").unlink()
        with pytest.raises(FileNotFoundError, match=r"MARS misses .*tracks_train_info\.mat; unp"):
            read_mars(home)
        write_mars_lists(home)
        (home / "bbox_train/0001/0001C1T0001F002.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"train_name\.txt names 1 images that are not"):
            read_mars(home)

    def test_without_scipy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = written("mars", tmp_path)
        monkeypatch.setitem(sys.modules, "scipy.io", None)
        with pytest.raises(ImportError, match=r"with SciPy: pip install 'reidblocks\[mars\]'"):
            read_mars(home)


def test_cuhk03_detected_and_what_is_neither(tmp_path: Path) -> None:
    home = written("cuhk03np", tmp_path)
    (home / "labeled").rename(home / "detected")
    assert len(read_cuhk03np(tmp_path, boxes="detected").train) == 1
    with pytest.raises(FileNotFoundError, match=r"detected: give that folder"):
        read_cuhk03np(tmp_path)
    with pytest.raises(ValueError, match="boxes as labeled or detected, got 'both'"):
        read_cuhk03np(tmp_path, boxes="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("root", [".", "cuhk03_release"])
def test_the_raw_release_of_cuhk03_is_told(root: str, tmp_path: Path) -> None:
    (tmp_path / "cuhk03_release").mkdir()
    (tmp_path / "cuhk03_release" / "cuhk-03.mat").touch()
    message = r"labeled and detected, but .*cuhk-03\.mat is the raw release, which is not re"
    for boxes in ("labeled", "detected"):
        with pytest.raises(ValueError, match=message):
            read_cuhk03np(tmp_path / root, boxes=boxes)  # type: ignore[arg-type]


def test_personx_has_a_camera_for_each_folder_or_in_the_names(tmp_path: Path) -> None:
    home = written("personx", tmp_path)
    assert [s.camera for s in read_personx(home).gallery] == [1, 4]
    assert read_personx(home / "4").gallery[0].camera == 1


def test_a_person_of_another_action_is_another_person(tmp_path: Path) -> None:
    home = written("soccernet", tmp_path)
    folder = home / "reid/valid/gallery/italy/2016/game/8"
    folder.mkdir()
    (folder / "9-8-5-1-Goalkeeper_team_left-1-r000001-80x40.png").touch()
    data = read_soccernet(home)
    assert [(s.identity, s.sequence) for s in data.gallery] == [(1, 1), (2, 2)]
    with pytest.raises(FileNotFoundError, match="misses test/query, test/gallery in"):
        read_soccernet(home, test="test")
    with pytest.raises(ValueError, match="test as valid or test, got 'challenge'"):
        read_soccernet(home, test="challenge")  # type: ignore[arg-type]


class TestMOT:
    def videos(self, root: Path, lines: str = "") -> Path:
        lines = lines or (
            "1,3,2,2,4,8,1,1,1\n1,4,-3,2,8,8,1,1,0.9\n1,5,2,2,4,8,0,1,1\n1,6,2,2,4,8,1,7,1\n"
            "1,7,2,2,4,8,1,1,0.1\n2,3,2,2,4,8,1,1,1\n11,3,3,2,4,8,1,1,-1\n1,8,90,2,4,8,1,1,1\n"
        )
        for video in ("train/MOT17-02-DPM", "train/MOT17-02-SDP", "val/MOT17-04"):
            for folder in ("img1", "gt"):
                (root / video / folder).mkdir(parents=True)
            for frame in (1, 2, 11):
                Image.new("RGB", (20, 12), (frame, 0, 0)).save(
                    root / f"{video}/img1/{frame:06}.jpg"
                )
            (root / video / "gt" / "gt.txt").write_text(lines)
        return root

    def test_people_are_cut_out_once_and_read(self, tmp_path: Path) -> None:
        root, out = self.videos(tmp_path / "MOT17"), tmp_path / "crops"
        assert crop_mot(root, out) == out
        crops = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))
        assert crops == [
            f"{video}/{name}.jpg"
            for video in ("train/MOT17-02", "val/MOT17-04")
            for name in ("000003_000001", "000003_000011", "000004_000001")
        ]
        with Image.open(out / "val/MOT17-04/000003_000001.jpg") as image:
            assert image.size == (4, 8)
        with Image.open(out / "val/MOT17-04/000004_000001.jpg") as image:
            assert image.size == (5, 8)  # cut at the edge of the frame
        before = (out / crops[0]).stat().st_mtime_ns
        assert crop_mot(root, out) == out
        assert (out / crops[0]).stat().st_mtime_ns == before
        data = read_mot(out)
        assert [(s.identity, s.time) for s in data.train] == [(0, 1), (0, 11), (1, 1)]
        assert [(s.identity, s.sequence, s.time) for s in data.query] == [(2, 1, 1), (3, 1, 1)]
        assert [(s.identity, s.sequence, s.time) for s in data.gallery] == [(2, 1, 11)]

    def test_every_frame_and_every_person(self, tmp_path: Path) -> None:
        root, out = self.videos(tmp_path / "MOT17"), tmp_path / "crops"
        crop_mot(root, out, every=1, min_visibility=0)
        assert len([*out.rglob("*.jpg")]) == 2 * 5

    @pytest.mark.parametrize(
        ("lines", "message"),
        [("1,3,2,2\n", r"gt\.txt line 1 is '1,3,2,2'; expected frame,id,x"), ("1,3,2,2,4,8,0,1,1\n",
          "finds no person in every 10th frame")],
    )  # fmt: skip
    def test_lines_that_cannot_be_used(self, lines: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message):
            crop_mot(self.videos(tmp_path / "MOT17", lines), tmp_path / "crops")

    def test_what_is_missing(self, tmp_path: Path) -> None:
        root = self.videos(tmp_path / "MOT17")
        with pytest.raises(ValueError, match="every from 1 on, got 0"):
            crop_mot(root, tmp_path, every=0)
        with pytest.raises(FileNotFoundError, match="DPM is a video: write them first, by reidbl"):
            read_mot(root)
        (root / "val/MOT17-04/img1/000001.jpg").unlink()
        with pytest.raises(FileNotFoundError, match="misses frame 1 in"):
            crop_mot(root, tmp_path / "crops")
        (root / "val/MOT17-04/gt/gt.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"misses .*gt\.txt; only videos with a ground"):
            crop_mot(root, tmp_path / "crops")
