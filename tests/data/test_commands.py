"""The command ``reidblocks`` where it reads data."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official import NAMES, write_set
from PIL import Image

from reidblocks.__main__ import COMMANDS, main
from reidblocks.data import READERS, from_csv

Capture = pytest.CaptureFixture[str]


def draw(path: Path) -> None:
    """Write a picture like no other: 64×32, a few soft blobs of color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blobs = torch.randint(256, (8, 4, 3), dtype=torch.uint8).numpy()
    Image.fromarray(blobs).resize((32, 64), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten people, two images of each by each of two cameras."""
    for person in range(10):
        for camera in ("hall", "yard"):
            for shot in "12":
                draw(tmp_path / "photos" / camera / f"p{person}_{shot}.jpg")
    return tmp_path / "photos"


def market(folder: Path) -> Path:
    home = write_set("market1501", folder, draw)
    draw(home / "bounding_box_train" / "0002_c1s1_000452_03.jpg")
    return home


def told(arguments: list[str], capsys: Capture) -> str:
    """Run a command that ends in a mistake, and return the one message that it shows."""
    try:
        code = main(arguments)
    except SystemExit as ended:  # of argparse
        code = int(str(ended.code))
    shown = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in shown.err
    return shown.err


def test_help_names_every_command(capsys: Capture) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: reidblocks {name} ")


def test_a_command_that_does_not_exist(capsys: Capture) -> None:
    assert "reidblocks: error: there is no command cheque-data\nusage:" in told(
        ["cheque-data"], capsys
    )


class TestCheckData:
    @pytest.mark.filterwarnings("always:.*the published set has")
    def test_it_finds_the_set(self, tmp_path: Path, capsys: Capture) -> None:
        market(tmp_path)
        assert main(["check-data", str(tmp_path)]) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith("Market1501    images ")
        assert "reidblocks check-data: warning: Market1501 in" in shown.err
        own = ["check-data", str(tmp_path), "--dataset", "market1501", "--batch", "8"]
        assert main(own) == 0
        assert "for batches of 8:" in capsys.readouterr().out

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_every_set_is_told_from_the_others(
        self, name: str, tmp_path: Path, capsys: Capture
    ) -> None:
        if name == "mars":
            pytest.importorskip("scipy", reason="the extra mars is not installed")
        home = write_set(name, tmp_path)  # of empty files
        assert main(["check-data", str(home)]) == 1
        title = READERS[name](home).name
        assert capsys.readouterr().out.startswith(f"{title} ")

    def test_it_reads_a_table(self, tmp_path: Path, capsys: Capture) -> None:
        table = tmp_path / "people.csv"
        table.write_text("path,identity,split\na.png,1,train\nb.png,2,query\nc.png,2,gallery\n")
        message = told(["check-data", str(table)], capsys)
        assert message.startswith("reidblocks check-data: error: ")
        assert "people.csv line 2 names" in message
        for name in "abc":
            draw(tmp_path / f"{name}.png")
        assert main(["check-data", str(table)]) == 1  # one image of identity 1
        assert "! training identities with one image only: 1" in capsys.readouterr().out

    def test_a_folder_of_no_public_set(self, tmp_path: Path, capsys: Capture) -> None:
        message = told(["check-data", str(tmp_path)], capsys)
        assert "has the layout of no public set; name the one that is meant by --data" in message
        assert "or make a table of a folder of your own by reidblocks make-table" in message
        assert "--dataset market1501: " not in message
        (market(tmp_path) / "query" / "0001.jpg").touch()
        message = told(["check-data", str(tmp_path)], capsys)
        assert "\n--dataset market1501: Market1501 cannot read the name of" in message
        message = told(["check-data", str(tmp_path), "--dataset", "dukemtmc"], capsys)
        assert "error: DukeMTMC looks for bounding_box_train, query, bounding_box_te" in message
        assert "nowhere is not there" in told(["check-data", str(tmp_path / "nowhere")], capsys)

    @pytest.mark.parametrize("batch", ["0", "-3", "many"])
    def test_a_batch_that_is_none_is_a_mistake(
        self, batch: str, tmp_path: Path, capsys: Capture
    ) -> None:
        assert "--batch" in told(["check-data", str(tmp_path), f"--batch={batch}"], capsys)

    def test_python_runs_it(self, tmp_path: Path) -> None:
        home = market(tmp_path).rename(tmp_path / "mine")
        (home / "query/0001_c1s1_001051_00.jpg").write_bytes(b"")
        command = [sys.executable, "-m", "reidblocks", "check-data", str(home)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 1
        assert "! images that cannot be read: 1" in run.stdout
        assert run.stderr == ""

    def test_signs_that_the_terminal_lacks_are_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
        assert main(["check-data", str(market(tmp_path))]) == 0
        sys.stdout.flush()
        assert b"PKBatchSampler(?, num_identities" in written.getvalue()


class TestMakeTable:
    def make(self, photos: Path, *options: str) -> list[str]:
        table = str(photos.parent / "photos.csv")
        pattern = [] if "--pattern" in options else ["--pattern", "{camera}/{person}_*"]
        return ["make-table", str(photos), "--out", table, *pattern, *options]

    def test_from_a_folder_to_a_table_that_is_sound(self, photos: Path, capsys: Capture) -> None:
        assert main(self.make(photos)) == 0
        shown = capsys.readouterr().out
        assert "p1_1.jpg: person p1, camera hall\n" in shown
        table = photos.parent / "photos.csv"
        assert f"written: {table}; look at it, then: reidblocks check-data {table}" in shown
        data = from_csv(table)
        assert (data.num_identities, len(data.query), len(data.gallery)) == (7, 6, 6)
        assert main(["check-data", str(table)]) == 0
        assert "hall: 14, yard: 14" in capsys.readouterr().out

    def test_options(self, photos: Path, capsys: Capture) -> None:
        assert main(self.make(photos, "--test", "0")) == 0
        table = photos.parent / "photos.csv"
        assert len(from_csv(table).train) == 40
        table.unlink()
        assert main(self.make(photos, "--test", "0.5", "--open-set", "0.4", "--seed", "3")) == 0
        data = from_csv(table)
        asked, known = ({s.identity for s in part} for part in (data.query, data.gallery))
        assert (len(asked), len(known)) == (5, 3)
        table.unlink()
        pattern = "{camera}/{person}_{time}.jpg"
        assert main(self.make(photos, "--by-time", "--pattern", pattern)) == 0
        assert all(s.time == 1 for s in from_csv(table).query)

    def test_an_open_set_is_no_mistake(self, photos: Path, capsys: Capture) -> None:
        assert main(self.make(photos, "--test", "0.5", "--open-set", "0.4")) == 0
        assert main(["check-data", str(photos.parent / "photos.csv")]) == 0
        assert "an open set: 8 queries show 2 people whom" in capsys.readouterr().out

    def test_splits_that_the_folders_tell(self, tmp_path: Path) -> None:
        for name in ("train/1/a", "query/2/b", "gallery/2/c"):
            draw(tmp_path / "set" / f"{name}.png")
        assert main(self.make(tmp_path / "set", "--pattern", "{split}/{person}/*")) == 0
        assert len(from_csv(tmp_path / "photos.csv").query) == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--pattern", "{who}/*"], r"the pattern '{who}/*' has {who}, which is none of"),
            (["--pattern", "{person}_*"], "40 of 40 images below"),
            (["--pattern", "yard/{person}_*"], "leave them out by --skip-unmatched"),
            (["--test", "2"], "expected --test from 0 to 1 and --open-set from 0 to below 1"),
            (["--test", "x"], "argument --test: invalid float value"),
            (["--test", "0.99"], "error: cannot test on 0.99 of 10 people"),
            (["--by-time"], "--by-time expects the time of every image"),
            (["--dataset", "csv"], "unrecognized arguments: --dataset csv"),
        ],
    )
    def test_mistakes(
        self, options: list[str], message: str, photos: Path, capsys: Capture
    ) -> None:
        assert message in told(self.make(photos, *options), capsys)
        assert not (photos.parent / "photos.csv").exists()

    def test_images_may_be_left_out_and_tables_are_not_overwritten(
        self, photos: Path, capsys: Capture
    ) -> None:
        options = ["--pattern", "yard/{person}_*", "--skip-unmatched"]
        assert main(self.make(photos, *options, "--test", "0")) == 0
        shown = capsys.readouterr()
        assert "reidblocks make-table: warning: 20 of 40 images" in shown.err
        message = told(self.make(photos), capsys)
        assert "photos.csv is there already; remove it, or name another --out" in message
        assert "nowhere is not there" in told(
            ["make-table", str(photos / "nowhere"), "--out", "new.csv"], capsys
        )


def test_videos_are_cropped(tmp_path: Path, capsys: Capture) -> None:
    video = tmp_path / "MOT17/train/01"
    (video / "gt").mkdir(parents=True)
    (video / "gt" / "gt.txt").write_text("1,3,2,2,8,16,1,1,1\n")
    draw(video / "img1" / "000001.jpg")
    out = tmp_path / "crops"
    assert main(["crop-videos", str(tmp_path / "MOT17"), "--out", str(out)]) == 0
    assert f"written: {out}; then: reidblocks check-data {out} --dataset mot" in (
        capsys.readouterr().out
    )
    assert len(READERS["mot"](out).train) == 1
    assert "misses train in" in told(["crop-videos", str(video), "--out", str(out)], capsys)
