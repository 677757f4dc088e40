"""A run's network as a file that takes pixels."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from test_folded import random_statistics
from tiny import tiny

import share
from build import build_model
from config import PRESETS
from reidblocks.deploy import Embedder, fold_for_inference

CONFIG = dataclasses.replace(PRESETS["synthetic"], height=64, width=32, embed_dim=16)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model(CONFIG)
    random_statistics(model)
    state = {"config": dataclasses.asdict(CONFIG), "model": model.state_dict(), "epoch": 1}
    torch.save(state, tmp_path / "last.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("suffix", "features"),
    [
        ("pt2", ["hard", "soft_g4"]),
        ("onnx", ["hard"]),
        pytest.param("onnx", ["hard", "soft", "fusion"], marks=pytest.mark.slow),
    ],
)
def test_the_file_gives_what_the_network_gives(
    run: Path, suffix: str, features: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnxscript", reason="needs onnxscript (extra export)")
        pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra export)")
    out = run / "deployed" / f"network.{suffix}"
    share.main([str(run), str(out), "--features", *features])
    plain = share.load_any(run, features).embedder()
    size = plain(share.example_images(1, (64, 32))).shape[1]
    names = ", ".join(CONFIG.feature_names(features))
    assert f"features {names}: {size}" in capsys.readouterr().out
    read = share.read(out)
    for batch, size in ((1, (64, 32)), (5, (90, 41))):
        images = share.example_images(batch, size)
        assert share.difference(plain, read, images) < 1e-4


def test_a_shared_folder_is_exported_with_its_own_preprocessing(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="needs safetensors (extra example)")
    share.main([str(run), str(tmp_path / "shared")])
    config = tmp_path / "shared" / "config.json"
    content = json.loads(config.read_text())
    content["preprocessing"]["mean"] = [0.1, 0.2, 0.3]
    config.write_text(json.dumps(content))
    share.main([str(tmp_path / "shared"), str(tmp_path / "a.pt2"), "--features", "hard_g5"])
    images = share.example_images(2, (70, 40))
    expected = share.load(tmp_path / "shared", ["hard_g5"]).embedder()
    assert share.difference(expected, share.read(tmp_path / "a.pt2"), images) < 1e-4
    own = share.load_any(run, ["hard_g5"]).embedder(fold=True)
    assert share.difference(expected, own, images) > 1e-2


def test_a_wrong_file_is_noticed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = share.read
    monkeypatch.setattr(share, "read", lambda path: lambda images: 1.01 * right(path)(images))
    with pytest.raises(SystemExit, match="do not use the file"):
        share.main([str(run), str(run / "a.pt2"), "--features", "hard_g5"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("folded", [True, False])
def test_compiles_once_for_any_batch(folded: bool, backend: str) -> None:
    network = share.Embedding(tiny()).eval()
    if folded:
        network = fold_for_inference(network)
    embedder = Embedder(network, (16, 8)).eval().requires_grad_(False)
    torch.compiler.reset()
    compiled = torch.compile(embedder, fullgraph=True, dynamic=True, backend=backend)
    compiled(share.example_images(2, (16, 8)))
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in (3, 7):
            images = share.example_images(batch, (16, 8))
            torch.testing.assert_close(compiled(images), embedder(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.bin", "--unit-length"], "OUT must end in .onnx or .pt2, got out.bin"),
        (["x.onx"], "OUT ends in .onx: is .onnx meant? Name a folder without .onx"),
        (["person.ONNX"], "OUT ends in .ONNX: is .onnx meant?"),
        (["person.pt"], "is .pt2 meant?"),
        (["person.pth"], "is .pt2 meant?"),
        (["out", "--no-fold"], "are of a file: OUT must end in .onnx or .pt2"),
        (["out", "--height", "64", "--width", "32"], "OUT must end in .onnx or .pt2"),
        (["a.pt2", "--height", "4"], "or neither"),
        (["a.pt2", "--height", "0"], "or neither"),
        (["a.pt2", "--height", "0", "--width", "0"], "must be at least 1, got 0 and 0"),
        (["a.pt2", "--height", "64", "--width", "-1"], "must be at least 1, got 64 and -1"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        share.main(["RUN", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_of_a_shared_folder_is_refused_for_the_folder(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("model.safetensors", "config.json"):
        (tmp_path / file).touch()
    with pytest.raises(SystemExit):
        share.main([str(tmp_path / name), str(tmp_path / "a.onnx")])
    assert f"give the folder, {tmp_path}" in capsys.readouterr().err
