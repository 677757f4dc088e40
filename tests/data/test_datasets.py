import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reidblocks.data import (
    ReIDDataset,
    Sample,
    read_dukemtmc,
    read_market1501,
    read_synergyreid,
)

Draw = Callable[..., Path]
Reader = Callable[..., ReIDDataset]

MARKET = (
    "Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg",
    "Market-1501-v15.09.15/bounding_box_train/0007_c3s3_077419_03.jpg",
    "Market-1501-v15.09.15/bounding_box_test/-1_c1s1_000401_03.jpg",
    "Market-1501-v15.09.15/bounding_box_test/0000_c2s1_000151_01.jpg",
    "Market-1501-v15.09.15/query/0001_c1s1_001051_00.jpg",
    "Market-1501-v15.09.15/bounding_box_test/0001_c6s4_002352_01.jpg",
)
DUKE = (
    "DukeMTMC-reID/bounding_box_train/0001_c2_f0046182.jpg",
    "DukeMTMC-reID/query/0005_c2_f0046985.jpg",
    "DukeMTMC-reID/bounding_box_test/0005_c8_f0056601.jpg",
)
SYNERGY = (
    "synergyreid_data/reid_training/0012_03_0019.jpeg",
    "synergyreid_data/reid_test/query/0440_55_0000.jpeg",
    "synergyreid_data/reid_test/gallery/0440_55_0007.jpeg",
)
LAYOUTS = [(read_market1501, MARKET), (read_dukemtmc, DUKE), (read_synergyreid, SYNERGY)]


def test_market_names_give_identity_and_camera(draw: Draw, tmp_path: Path) -> None:
    paths = [draw(name) for name in MARKET]
    data = read_market1501(tmp_path)
    assert data.train == (Sample(paths[0], 2, 1), Sample(paths[1], 7, 3))
    assert data.query == (Sample(paths[4], 1, 1),)
    assert data.labels == {2: 0, 7: 1}


def test_market_drops_junk_and_keeps_distractors(draw: Draw, tmp_path: Path) -> None:
    paths = [draw(name) for name in MARKET]
    kept = (Sample(paths[3], 0, 2), Sample(paths[5], 1, 6))
    assert read_market1501(tmp_path).gallery == kept
    with_junk = read_market1501(tmp_path, keep_junk=True).gallery
    assert with_junk == (Sample(paths[2], -1, 1), *kept)


def test_duke_names_give_identity_and_camera(draw: Draw, tmp_path: Path) -> None:
    paths = [draw(name) for name in DUKE]
    data = read_dukemtmc(tmp_path)
    assert data.train == (Sample(paths[0], 1, 2),)
    assert data.query == (Sample(paths[1], 5, 2),)
    assert data.gallery == (Sample(paths[2], 5, 8),)


def test_duke_says_that_it_was_withdrawn_and_gives_no_link() -> None:
    text = read_dukemtmc.__doc__ or ""
    assert "withdrew" in text
    assert "http" not in text


def test_synergy_has_a_camera_for_the_queries_and_one_for_the_gallery(
    draw: Draw, tmp_path: Path
) -> None:
    paths = [draw(name) for name in SYNERGY]
    data = read_synergyreid(tmp_path)
    assert data.train == (Sample(paths[0], 12, None, 3, time=19),)
    assert data.query == (Sample(paths[1], 440, 0, 55, time=0),)
    assert data.gallery == (Sample(paths[2], 440, 1, 55, time=7),)


def test_synergy_under_the_name_its_archive_unpacks_to(draw: Draw, tmp_path: Path) -> None:
    for name in SYNERGY:
        draw(name.replace("synergyreid_data", "data_reid"))
    assert len(read_synergyreid(tmp_path).train) == 1


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_the_root_is_the_folder_or_the_one_above(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    for name in names:
        draw(name)
    home = tmp_path / names[0].split("/")[0]
    assert reader(tmp_path) == reader(str(home)) == reader(home)


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_other_files_are_skipped_and_capitals_are_not(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    paths = [draw(name) for name in names]
    (paths[0].parent / "Thumbs.db").write_bytes(b"\0")
    (paths[0].parent / "readme.txt").write_text("")
    (paths[0].parent / f"._{paths[0].name}").write_bytes(b"\0")
    paths[0].rename(paths[0].with_suffix(".JPG"))
    names_read = {sample.path.name for sample in reader(tmp_path).train}
    assert paths[0].with_suffix(".JPG").name in names_read
    assert all(name.lower().endswith(("jpg", "jpeg")) for name in names_read)
    assert not any(name.startswith(".") for name in names_read)


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_images_come_in_the_order_of_their_names(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    for name in names:
        draw(name)
    for identity in (9004, 9002, 9003, 9001):  # not the order of their names
        draw(str(Path(names[0]).with_name(str(identity) + Path(names[0]).name[4:])))
    paths = [sample.path for sample in reader(tmp_path).train]
    assert len(paths) >= 5
    assert paths == sorted(paths)


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_a_missing_folder_is_an_error_that_lists_what_is_there(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    first = draw(names[0]).parent
    home = tmp_path / names[0].split("/")[0]
    query, gallery = ("/".join(name.split("/")[1:-1]) for name in (names[-2], names[-1]))
    message = f"misses {query}, {gallery} in {home}, which holds {first.name}. Give the folder"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        reader(tmp_path)


def test_a_root_that_is_not_there_or_a_file_or_full_of_other_things(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere, which does not exist"):
        read_market1501(tmp_path / "nowhere")
    archive = tmp_path / "market.zip"
    archive.touch()
    with pytest.raises(FileNotFoundError, match=r"market\.zip, which is a file; unpack it"):
        read_market1501(archive)
    for number in range(12):
        (tmp_path / f"f{number:02d}").touch()
    with pytest.raises(FileNotFoundError, match=r"which holds f00, f01, .*, f09 and 3 more"):
        read_market1501(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty, which holds nothing"):
        read_market1501(tmp_path / "empty")


@pytest.mark.parametrize(
    ("reader", "names", "bad"),
    [
        (read_market1501, MARKET, "0001_c1_f0046182.jpg"),
        (read_market1501, MARKET, "person.jpg"),
        (read_market1501, MARKET, "-2_c1s1_000401_03.jpg"),
        (read_dukemtmc, DUKE, "0001_c1s1_000151_01.jpg"),
        (read_synergyreid, SYNERGY, "0001.jpeg"),
    ],
)
def test_a_name_that_cannot_be_read_is_an_error_naming_the_file(
    reader: Reader, names: tuple[str, ...], bad: str, draw: Draw, tmp_path: Path
) -> None:
    for name in names:
        draw(name)
    path = draw(str(Path(names[-1]).parent / bad))
    message = f"{re.escape(str(path))}: it expects names like 0001_.* Rename the file"
    with pytest.raises(ValueError, match=message):
        reader(tmp_path)


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_an_empty_folder_is_an_error_naming_it(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    paths = [draw(name) for name in names]
    folder = paths[-1].parent
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"finds no image in {re.escape(str(folder))}; unpack"):
        reader(tmp_path)


def test_a_gallery_of_junk_alone_is_an_empty_gallery(draw: Draw, tmp_path: Path) -> None:
    for name in (*MARKET[:3], MARKET[4]):
        draw(name)
    with pytest.raises(ValueError, match="Market1501 has no gallery images"):
        read_market1501(tmp_path)


def test_a_training_identity_in_the_gallery_is_an_error(draw: Draw, tmp_path: Path) -> None:
    for name in MARKET:
        draw(name)
    draw("Market-1501-v15.09.15/bounding_box_test/0007_c3s3_077419_03.jpg")
    with pytest.raises(ValueError, match="identity 7 is in train"):
        read_market1501(tmp_path)


def test_the_real_images(shared: Path) -> None:
    data = read_market1501(shared / "data")
    assert (len(data.train), len(data.query), len(data.gallery)) == (8650, 663, 2080)
    assert data.num_identities == 500
    assert len({sample.identity for sample in data.query}) == 150
    assert {sample.camera for sample in data.train} == set(range(1, 7))
    assert sorted(data.labels.values()) == list(range(500))


def test_a_large_folder_is_read_with_one_look_at_each_file(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in MARKET:
        draw(name)
    for number in range(500):
        name = f"{number // 20 + 10:04d}_c{number % 6 + 1}s1_{number:06d}_00.jpg"
        (tmp_path / MARKET[0]).with_name(name).touch()
    looks: list[object] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **kw: (looks.append(path), stat(path, **kw))[1])
    data = read_market1501(tmp_path)
    assert len(data.train) == 502
    assert len(looks) < 550


@pytest.mark.parametrize(("reader", "names"), LAYOUTS)
def test_a_folder_named_as_an_image_is_none_and_a_broken_link_is_one(
    reader: Reader, names: tuple[str, ...], draw: Draw, tmp_path: Path
) -> None:
    paths = [draw(name) for name in names]
    folder = paths[0].with_name("9" + paths[0].name[1:])
    folder.mkdir()
    before = len(reader(tmp_path).train)
    folder.rmdir()
    folder.symlink_to(tmp_path / "nowhere")
    assert (
        len(reader(tmp_path).train)
        == before + 1
        == len([p for p in paths if "train" in f"{p}"]) + 1
    )


@pytest.mark.parametrize("home", ["MARKET", "people"])
def test_a_home_of_another_name_is_told_and_not_guessed(
    home: str, draw: Draw, tmp_path: Path
) -> None:
    for name in MARKET:
        draw(name.replace("Market-1501-v15.09.15", home))
    told = (
        f"Market1501 looks for bounding_box_train, query, bounding_box_test in {tmp_path}, or in a "
        f"folder in it that is called Market-1501-v15.09.15 or market1501; it holds {home}. They "
        f"are in {tmp_path / home}: give that folder"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(told)}$"):
        read_market1501(tmp_path)
    assert len(read_market1501(tmp_path / home).train) == 2


def test_names_of_another_set_are_told(draw: Draw, tmp_path: Path) -> None:
    for name in DUKE:
        draw(name)
    with pytest.raises(
        ValueError, match=r"names like 0001_c1s1_.*, or read another set: reidblocks check-data F"
    ):
        read_market1501(tmp_path / "DukeMTMC-reID")


@pytest.mark.parametrize("nobody", ["-1", "0000"])
def test_in_market_neither_junk_nor_distractors_are_trained_on_or_asked_for(
    nobody: str, draw: Draw, tmp_path: Path
) -> None:
    for name in MARKET:
        draw(name)
    for split in (0, 4):
        draw(str(Path(MARKET[split]).with_name(f"{nobody}_c1s1_000001_00.jpg")))
    for keep_junk in (True, False):
        data = read_market1501(tmp_path, keep_junk=keep_junk)
        assert (data.labels, len(data.query)) == ({2: 0, 7: 1}, 1)
        assert data.summary().splitlines()[-1].startswith("2 images of no person (junk) excluded")


def test_an_identity_beyond_int64_is_an_error_naming_the_file(draw: Draw, tmp_path: Path) -> None:
    for name in SYNERGY:
        draw(name)
    draw("synergyreid_data/reid_training/9223372036854775808_03_0019.jpeg")
    with pytest.raises(ValueError, match=r"the identity of .*5808_03_0019\.jpeg from -2\*\*63 to"):
        read_synergyreid(tmp_path)
