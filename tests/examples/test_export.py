"""A run's network as a file that takes pixels."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from test_folded import random_statistics
from tiny import tiny
from torch import Tensor, nn

import share
from build import build_model
from config import PRESETS
from reidblocks.deploy import Embedder, fold_for_inference, load_embedder

CONFIG = dataclasses.replace(PRESETS["synthetic"], height=64, width=32, embed_dim=16)


def pixels(batch: int, size: tuple[int, int]) -> Tensor:
    coarse = torch.rand(batch, 3, 8, 4)
    return nn.functional.interpolate(coarse, size).mul(255).to(torch.uint8)


@torch.no_grad()
def difference(first: Embedder, second: Embedder, images: Tensor) -> float:
    """Return the largest difference of the two embeddings, divided by the largest value."""
    expected = first(images)
    return float((second(images) - expected).abs().max() / expected.abs().max())


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
    names = ", ".join(CONFIG.feature_names(features))
    said = capsys.readouterr().out
    assert f"features {names}: {plain.dimension}" in said
    assert float(said.split("differs from the network itself by ")[1].split()[0]) < 1e-4
    read = load_embedder(out)
    assert read.spec == plain.spec
    assert difference(plain, read, pixels(5, (90, 41))) < 1e-4
    fewer = share.load_any(run, ["hard_g5"]).embedder()
    assert fewer.spec.fingerprint != plain.spec.fingerprint


def test_a_shared_folder_is_exported_with_its_own_preprocessing(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="needs safetensors (extra example)")
    share.main([str(run), str(tmp_path / "shared")])
    config = tmp_path / "shared" / "config.json"
    content = json.loads(config.read_text())
    content["preprocessing"]["mean"] = [0.1, 0.2, 0.3]
    config.write_text(json.dumps(content))
    share.main([str(tmp_path / "shared"), str(tmp_path / "a.pt2"), "--features", "hard_g5"])
    images = pixels(2, (70, 40))
    expected = share.load(tmp_path / "shared", ["hard_g5"]).embedder()
    assert difference(expected, load_embedder(tmp_path / "a.pt2"), images) < 1e-4
    own = share.load_any(run, ["hard_g5"]).embedder()
    assert difference(expected, own, images) > 1e-3


def test_the_library_loads_a_shared_folder(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="needs safetensors (extra example)")
    share.main([str(run), str(tmp_path / "shared"), "--features", "hard_g5"])
    loaded, plain = load_embedder(tmp_path / "shared"), share.load(tmp_path / "shared").embedder()
    assert loaded.spec == plain.spec
    assert difference(plain, loaded, pixels(3, (70, 40))) < 1e-4


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
    compiled(pixels(2, (16, 8)))
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in (3, 7):
            images = pixels(batch, (16, 8))
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
