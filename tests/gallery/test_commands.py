"""From a folder of crops to "who is this", by the commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor, nn

from reidblocks.__main__ import main
from reidblocks.deploy import Embedder, EmbedderSpec
from reidblocks.gallery import Gallery
from reidblocks.gallery import commands as module

Capture = pytest.CaptureFixture[str]
COLORS = {"anna": (220, 30, 30), "ben": (30, 200, 40), "carl": (40, 60, 230)}


class Color(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Model(Embedder):
    """Embeds the mean color, and tells which model it is."""

    def __init__(self, fingerprint: str = "c0") -> None:
        super().__init__(Color(), (16, 8), mean=(0.5, 0.5, 0.5), std=(1, 1, 1))
        self._spec = EmbedderSpec("color", 3, fingerprint)

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose name says which model it is, as load_embedder would load it."""

    def load_embedder(source: str, architecture: str | None = None) -> Embedder:
        if not Path(source).is_file():
            raise FileNotFoundError(f"there is no model {source}")
        return Model(f"{Path(source).stem}{architecture or ''}")

    monkeypatch.setattr(module, "load_embedder", load_embedder)
    path = tmp_path / "person.onnx"
    path.touch()
    return path


def draw(path: Path, color: tuple[int, int, int], noise: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = tuple(max(0, min(255, part + noise)) for part in color)
    Image.new("RGB", (24, 48), shade).save(path)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    for person, color in COLORS.items():
        for shot in range(3):
            draw(tmp_path / "crops" / person / f"{shot}.png", color, 9 * shot)
    return tmp_path / "crops"


@pytest.fixture
def filled(crops: Path, model: Path, tmp_path: Path, capsys: Capture) -> Path:
    out = tmp_path / "people.lance"
    assert main(["embed", f"{crops}", "--model", f"{model}", "--out", f"{out}"]) == 0
    shown = capsys.readouterr()
    assert f"{out}: 9 rows, 3 people by name" in shown.out
    assert shown.err == "images embedded: 9 of 9\n"
    return out


def told(arguments: list[str], capsys: Capture) -> str:
    try:
        code = main(arguments)
    except SystemExit as ended:  # of argparse
        code = int(str(ended.code))
    shown = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in shown.err
    return shown.err


def test_who_is_this_is_two_commands(filled: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra visualization)")
    draw(tmp_path / "asked.png", COLORS["ben"], 5)
    picture = tmp_path / "answer.png"
    arguments = ["search", f"{tmp_path / 'asked.png'}", "--gallery", f"{filled}"]
    assert main([*arguments, "--picture", f"{picture}"]) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'asked.png'}: ben (0.00" in shown
    assert f"drawn: {picture}" in shown
    drawn = Image.open(picture).convert("RGB")
    assert drawn.width > 500
    assert any(abs(color[1] - 205) < 9 and color[0] < 60 for _, color in colors_of(drawn))


def colors_of(image: Image.Image) -> list[Any]:
    return image.getcolors(image.width * image.height) or []


def test_nobody(filled: Path, tmp_path: Path, capsys: Capture) -> None:
    draw(tmp_path / "asked" / "1.png", (250, 240, 10))
    draw(tmp_path / "asked" / "2.png", COLORS["carl"])
    arguments = ["search", f"{tmp_path / 'asked'}", "--gallery", f"{filled}"]
    assert main([*arguments, "--max-distance", "0.05"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "1.png: nobody (the nearest, " in first
    assert "2.png: carl (0.000 away)" in second
    assert main([*arguments, "--where", "person = 'dora'"]) == 0
    assert capsys.readouterr().out.count(": nobody\n") == 2


def test_it_continues_where_it_stopped(
    crops: Path, model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["embed", f"{crops}", "--model", f"{model}", "--out", f"{tmp_path / 'g'}"]
    arguments += ["--batch", "2"]
    monkeypatch.setattr(module, "CHUNK", 1)
    whole, calls = Gallery.add, []

    def stops(self: Gallery, *given: Any, **named: Any) -> None:
        if len(calls) == 2:
            raise OSError("the disk is full")
        calls.append(named["source"])
        whole(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", stops)
        assert "error: the disk is full" in told(arguments, capsys)
    assert len(Gallery.open(tmp_path / "g")) == 4
    assert main(arguments) == 0
    assert "4 of 9 images are in the gallery already" in capsys.readouterr().out
    gallery = Gallery.open(tmp_path / "g")
    assert len(gallery.sources()) == len(gallery) == 9
    assert main(arguments) == 0
    assert "9 of 9 images are in the gallery already" in capsys.readouterr().out
    assert len(gallery) == 9


def test_what_cannot_be_read_is_named_at_the_end(
    crops: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    (crops / "anna" / "cut.jpg").write_bytes(b"no image")
    (crops / "empty.png").touch()
    arguments = ["embed", f"{crops}", "--model", f"{model}", "--out", f"{tmp_path / 'g'}"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert f"cannot read the image {crops / 'anna' / 'cut.jpg'}" in lines[1]
    assert f"cannot read the image {crops / 'empty.png'} (it is empty)" in lines[2]
    assert lines[-1] == "2 images could not be read"
    assert len(Gallery.open(tmp_path / "g")) == 9
    draw(crops / "empty.png", COLORS["ben"])
    assert main(arguments) == 1  # one of them still
    assert len(Gallery.open(tmp_path / "g")) == 10


def test_paths_tell_camera_and_time(
    crops: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["embed", f"{crops}", "--model", f"{model}", "--out", f"{tmp_path / 'g'}"]
    assert main([*arguments, "--pattern", "{person}/{time}.png", "--camera", "hall"]) == 0
    people = Gallery.open(tmp_path / "g").people()
    assert people[0][:] == ("anna", 3, 3, ("hall",), 0.0, 2.0)
    assert "is not of the --pattern {camera}_{person}.png" in told(
        [*arguments, "--pattern", "{camera}_{person}.png"], capsys
    )


def test_a_table(crops: Path, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    rows = (
        "crops/anna/0.png,anna,hall,train\ncrops/ben/0.png,ben,,query\ncrops/ben/1.png,ben,,gallery"
    )
    table.write_text(f"path,identity,camera,split\n{rows}\ncrops/carl/0.png,-1,yard,gallery\n")
    arguments = ["embed", f"{table}", "--model", f"{model}", "--out", f"{tmp_path / 'g'}"]
    assert main([*arguments, "--camera", "door"]) == 0
    people = Gallery.open(tmp_path / "g").people()
    assert [(each.name, each.rows, each.cameras) for each in people] == [
        ("anna", 1, ("hall",)),
        ("ben", 2, ("door",)),
        (None, 1, ("yard",)),
    ]


def test_people_are_listed_and_removed(filled: Path, capsys: Capture) -> None:
    assert main(["gallery", f"{filled}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [[name, "3", "3"] for name in COLORS]
    assert max(map(len, lines)) <= 80
    message = told(["gallery", f"{filled}", "--remove", "ben", "Ana"], capsys)
    assert "holds nobody called Ana; is anna meant? Nobody was removed" in message
    assert len(Gallery.open(filled)) == 9
    assert main(["gallery", f"{filled}", "--remove", "ben", "carl"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("removed: ben, 3 rows\nremoved: carl, 3 rows\ntheir image files, ")
    assert [each.name for each in Gallery.open(filled).people()] == ["anna"]
    assert main(["gallery", f"{filled}", "--remove-where", "source LIKE '%0.png'"]) == 0
    assert main(["gallery", f"{filled}", "--optimize"]) == 0
    assert "anna" in capsys.readouterr().out
    assert len(Gallery.open(filled)) == 2


def test_mistakes(filled: Path, crops: Path, tmp_path: Path, model: Path, capsys: Capture) -> None:
    (tmp_path / "other.onnx").touch()
    add = ["embed", f"{crops}", "--out", f"{filled}"]
    assert "holds embeddings of color" in told([*add, "--model", f"{tmp_path}/other.onnx"], capsys)
    assert "there is no model none.onnx" in told([*add, "--model", "none.onnx"], capsys)
    assert "--device nowhere" in told([*add, "--model", f"{model}", "--device", "nowhere"], capsys)
    ask = ["search", f"{crops}", "--gallery", f"{filled}"]
    assert "holds embeddings of color" in told([*ask, "--model", f"{tmp_path}/other.onnx"], capsys)
    assert "above 0, up to 2, got '3'" in told([*ask, "--max-distance", "3"], capsys)
    assert "a condition in SQL" in told([*ask, "--where", "who = 1"], capsys)
    assert "is not there; make it by" in told(
        ["search", f"{crops}", "--gallery", f"{tmp_path / 'none'}"], capsys
    )
    assert "a new or an empty folder" in told(
        ["embed", f"{crops}", "--model", f"{model}", "--out", f"{crops}"], capsys
    )
    assert "nowhere is not there; name a folder" in told(
        ["embed", f"{tmp_path / 'nowhere'}", "--model", f"{model}", "--out", "g"], capsys
    )
    model.unlink()
    assert "was filled with the model" in told(ask, capsys)
    (filled / "model.json").unlink()
    assert "does not tell its model; name it by --model" in told(ask, capsys)


def test_an_image_whose_file_is_gone_is_drawn_gray(
    filled: Path, crops: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra visualization)")
    draw(tmp_path / "asked.png", COLORS["ben"])
    for path in (crops / "ben").iterdir():
        path.unlink()
    arguments = ["search", f"{tmp_path / 'asked.png'}", "--gallery", f"{filled}", "-k", "3"]
    assert main([*arguments, "--picture", f"{tmp_path / 'answer.png'}"]) == 0
    assert (211, 211, 211) in {color for _, color in colors_of(
        Image.open(tmp_path / "answer.png").convert("RGB")
    )}  # fmt: skip


SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import test_commands
from reidblocks.__main__ import main
from reidblocks.gallery import commands
commands.load_embedder = lambda source, architecture=None: test_commands.Model()
sys.exit(main(sys.argv[1:]))
"""


def test_several_processes_share_the_work(
    crops: Path, model: Path, tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    arguments = ["embed", f"{crops}", "--model", f"{model}", "--out", f"{tmp_path / 'g'}"]
    ranks = [start(arguments, RANK=f"{rank}", WORLD_SIZE="2") for rank in range(2)]
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    gallery = Gallery.open(tmp_path / "g")
    assert len(gallery) == len(gallery.sources()) == 9
    assert "images embedded: 5 of 5" in said[0][1]
    assert "process 1, images embedded: 4 of 4" in said[1][1]


@pytest.fixture
def start() -> Callable[..., "subprocess.Popen[str]"]:
    def started(arguments: list[str], **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", SCRIPT, f"{Path(__file__).parent}", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True
        )

    return started
