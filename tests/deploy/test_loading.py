"""Sources of load_embedder: where a model is found, and what is said where there is none."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_embedders import own_embedder

from reidblocks.deploy import load_embedder, save_embedder
from reidblocks.deploy.published import ARCHITECTURES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "person"
    folder.mkdir()
    torch.manual_seed(0)
    save_embedder(own_embedder(), folder / "embedder.pt2")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_with_one_program(folder: Path) -> None:
    assert load_embedder(folder).spec == load_embedder(str(folder / "embedder.pt2")).spec


def test_a_folder_without_a_program_or_with_two(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.pt2 or \.onnx file in the folder .*: name a file in"):
        load_embedder(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"class is in examples/mdpr. Write a program: python"):
        load_embedder(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"one program in .*, got a.onnx, b.onnx: name it"):
        load_embedder(tmp_path)


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the Hub by a folder; what it was asked for is returned."""
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folder)

    def single(name: str, file: str, **options: Any) -> str:
        asked.update(options, name=name, file=file)
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", single)
    return asked


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("me/my-mdpr", {"name": "me/my-mdpr", "revision": None}),
        ("hub:me/my-mdpr", {"name": "me/my-mdpr", "revision": None}),
        ("hub:me/my-mdpr@v1", {"name": "me/my-mdpr", "revision": "v1"}),
        ("hub:me/zoo/embedder.pt2@v1", {"name": "me/zoo", "file": "embedder.pt2"}),
    ],
)
def test_a_repository_on_the_hub(
    source: str, asked: dict[str, Any], hub: dict[str, Any], folder: Path
) -> None:
    assert load_embedder(source).spec == load_embedder(folder).spec
    assert {name: hub[name] for name in asked} == asked
    if "file" not in asked:
        assert hub["allow_patterns"] == ["*.pt2", "*.onnx"]


def test_a_repository_that_is_not_there(
    hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("offline\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    message = r"cannot download me/gone from the Hugging Face Hub \(offline\); there is no file or"
    with pytest.raises(ConnectionError, match=message):
        load_embedder("me/gone")


def test_missing_extras_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"no file or folder me/gone here.*reidblocks\[hub\]"):
        load_embedder("me/gone")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ImportError, match=r"needs onnxruntime for an ONNX.*reidblocks\[export\]"):
        load_embedder(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["gone.pth", "gone/person.pt2", "gone", Path("me/gone")])
def test_a_file_that_is_not_there(name: str | Path, tmp_path: Path) -> None:
    source = tmp_path / name if isinstance(name, str) else name
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_embedder(source)
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder me/gone\.pth"):
        load_embedder("me/gone.pth")  # no repository either


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for name in ("a.pt2", "a.pth", "a.onnx"):
        (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"a\.pt2 is no program of torch\.export"):
        load_embedder(tmp_path / "a.pt2")
    with pytest.raises(ValueError, match=r"a\.pth is damaged, truncated, or no checkpoint"):
        load_embedder(tmp_path / "a.pth", "osnet_x0_25")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra export)")
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot read .*a\.onnx"):
        load_embedder(tmp_path / "a.onnx")


def test_wrong_architectures(folder: Path, tmp_path: Path) -> None:
    known = re.escape(", ".join(ARCHITECTURES))
    with pytest.raises(ValueError, match=rf"{known}, got 'osnet_x025', the nearest is 'osnet_x0"):
        load_embedder(folder, "osnet_x025")
    with pytest.raises(ValueError, match=r"is a program that needs none, got 'osnet_x0_25'"):
        load_embedder(folder, "osnet_x0_25")
    torch.save({"other.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"is a checkpoint: expected one of {known}"):
        load_embedder(tmp_path / "other.pth")
