"""Embedders as files: what is written is what is read, and nothing wrong is kept."""

import copy
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_embedders import Own, own_embedder, pixels
from torch import Tensor, nn

from reidblocks.deploy import (
    Embedder,
    export_onnx,
    export_program,
    load_embedder,
    save_embedder,
)

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxscript", "onnxruntime")),
    reason="needs onnxscript and onnxruntime (extra export)",
)


def difference(first: Embedder, second: Embedder, images: Tensor) -> float:
    with torch.inference_mode():
        expected = first(images)
        return float((second(images) - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    return own_embedder()


@pytest.fixture(scope="module")
def saved(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "person.pt2"
    save_embedder(embedder, path)
    return path


def test_what_was_saved_is_loaded_with_all_that_it_is(embedder: Embedder, saved: Path) -> None:
    loaded = load_embedder(saved)
    assert loaded.spec == embedder.spec
    assert (loaded.name, loaded.dimension, loaded.size) == ("own", 8, (16, 8))
    assert (loaded.channel_order, loaded.normalize) == ("BGR", True)
    assert torch.equal(loaded.mean, embedder.mean)
    assert torch.equal(loaded.std, embedder.std)
    for images in (pixels(1, 16, 8), pixels(5, 33, 20)):
        assert difference(embedder, loaded, images) < 1e-6
    assert os.listdir(saved.parent) == ["person.pt2"]


def test_it_loads_without_the_class(saved: Path) -> None:
    code = (
        "import sys, torch; from reidblocks.deploy import load_embedder\n"
        "found = load_embedder(sys.argv[1])(torch.zeros(2, 3, 30, 20, dtype=torch.uint8))\n"
        "assert 'small_embedders' not in sys.modules\n"
        "print(tuple(found.shape))"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], cwd=saved.parent, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert done.stdout.strip() == "(2, 8)"


def test_what_was_loaded_is_saved_again(embedder: Embedder, saved: Path, tmp_path: Path) -> None:
    save_embedder(load_embedder(saved), tmp_path / "again.pt2")
    again = load_embedder(tmp_path / "again.pt2")
    assert again.spec == embedder.spec
    assert difference(embedder, again, pixels(3, 20, 20)) < 1e-6


def test_a_loaded_embedder_is_in_eval_mode_and_takes_no_training(saved: Path) -> None:
    loaded = load_embedder(saved)
    assert not loaded.eval().network.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    with pytest.raises(ValueError, match="in eval mode"):
        loaded.train()(pixels(1, 16, 8))


def test_the_embedder_itself_is_left_as_it_was(embedder: Embedder, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in embedder.state_dict().items()}
    export_program(embedder, tmp_path / "a.pt2")
    assert all(torch.equal(value, before[name]) for name, value in embedder.state_dict().items())
    assert all(weight.requires_grad for weight in embedder.parameters())


@pytest.mark.parametrize("image_size", [None, (16, 8), (30, 12)])
def test_a_program_takes_pixels(
    embedder: Embedder, tmp_path: Path, image_size: tuple[int, int] | None
) -> None:
    worst = export_program(embedder, tmp_path / "a.pt2", image_size=image_size)
    assert worst < 1e-4
    loaded = load_embedder(tmp_path / "a.pt2")
    assert loaded.spec == embedder.spec
    images = pixels(4, *(image_size or (41, 13)))
    assert difference(embedder, loaded, images) < 1e-4
    program = torch.export.load(tmp_path / "a.pt2").module()
    torch.testing.assert_close(program(images), loaded(images))
    assert loaded(pixels(2, 50, 21)).shape == (2, 8)  # brought to the file's size, if it has one


@needs_onnx
@pytest.mark.parametrize("options", [{}, {"half": True}, {"image_size": (16, 8)}], ids=str)
def test_an_onnx_file_takes_pixels(
    embedder: Embedder, tmp_path: Path, options: dict[str, Any]
) -> None:
    import onnx

    path = tmp_path / "a.onnx"
    close = 2e-2 if "half" in options else 1e-4
    assert export_onnx(embedder, path, **options) < close
    loaded = load_embedder(path)
    assert loaded.spec == embedder.spec
    size = options.get("image_size", (41, 13))
    assert difference(embedder, loaded, pixels(4, *size)) < close
    model = onnx.load(path)
    operators = {node.op_type for node in model.graph.node}
    assert ("Resize" in operators) == ("image_size" not in options)
    floats = {each.data_type for each in model.graph.initializer if each.dims}
    assert (onnx.TensorProto.FLOAT16 in floats) == ("half" in options)
    names = [each.name for each in (*model.graph.input, *model.graph.output)]
    assert names == ["images", "embeddings"]
    with pytest.raises(ValueError, match="an exported file: copy that file"):
        export_onnx(loaded, tmp_path / "b.onnx")


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        vectors = images.mean((2, 3))
        return vectors if vectors.sum() > 0 else -vectors


@pytest.mark.parametrize("write", [save_embedder, export_program])
def test_what_cannot_be_traced_is_told(write: Callable[..., Any], tmp_path: Path) -> None:
    embedder = Embedder(Branching(), (16, 8)).eval()
    with pytest.raises(ValueError, match=r"expects a network that torch.export can trace"):
        write(embedder, tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [save_embedder, export_program])
def test_a_wrong_file_is_not_kept(
    write: Callable[..., Any],
    embedder: Embedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = torch.export.save

    def wrong(program: Any, *arguments: Any, **options: Any) -> None:
        program.state_dict["layers.0.weight" if write is save_embedder else "std"].mul_(1.1)
        right(program, *arguments, **options)

    path = tmp_path / "a.pt2"
    path.write_text("the older file")
    monkeypatch.setattr(torch.export, "save", wrong)
    with pytest.raises(RuntimeError, match=r"differ from the embedder's by .*it was not kept"):
        write(embedder, path)
    assert path.read_text() == "the older file"
    assert os.listdir(tmp_path) == ["a.pt2"]


@pytest.mark.parametrize(
    ("write", "suffix"),
    [
        (save_embedder, ".pt2"),
        (export_program, ".pt2"),
        pytest.param(export_onnx, ".onnx", marks=needs_onnx),
    ],
)
def test_wrong_arguments(
    write: Callable[..., Any], suffix: str, embedder: Embedder, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"expects an Embedder, got Own: put the network into"):
        write(Own(), tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=re.escape(f"path that ends in {suffix}, got")):
        write(embedder, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="network in eval mode"):
        write(Embedder(Own(), (16, 8)), tmp_path / f"a{suffix}")
    if write is not save_embedder:
        with pytest.raises(ValueError, match=r"image_size as height and width, .*got 16"):
            write(embedder, tmp_path / f"a{suffix}", image_size=16)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write(embedder, tmp_path / "not there" / f"a{suffix}")


# Files of others


def foreign(path: Path) -> nn.Module:
    """Write a program as others do, which tells nothing of reidblocks."""
    network, free = Own().eval(), {0: torch.export.Dim("batch")}
    program = torch.export.export(network, (torch.rand(2, 3, 16, 8),), dynamic_shapes=(free,))
    if path.suffix == ".pt2":
        torch.export.save(program, path)
    else:
        torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    return network


@pytest.mark.parametrize("suffix", [".pt2", pytest.param(".onnx", marks=needs_onnx)])
def test_a_file_that_tells_nothing_is_taken_for_imagenets(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"other{suffix}"
    network = foreign(path)
    with pytest.warns(UserWarning, match=r"RGB of 16×8, normalized by ImageNet's mean"):
        loaded = load_embedder(path)
    images = pixels(3, 30, 20)
    assert difference(Embedder(network, (16, 8)).eval(), loaded, images) < 1e-4
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.spec.name, loaded.spec.fingerprint, loaded.dimension) == ("other", digest, 8)


def test_a_file_of_any_size_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    path, network = tmp_path / "other.pt2", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    free = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.export.export(network, (torch.rand(1, 3, 16, 8),), dynamic_shapes=(free,))
    torch.export.save(program, path)
    with pytest.raises(ValueError, match=r"does not tell its preprocessing, and takes torch.float"):
        load_embedder(path)


def test_a_newer_format_is_told(embedder: Embedder, tmp_path: Path) -> None:
    program = torch.export.export(embedder.network, (torch.rand(2, 3, 16, 8),))
    path = tmp_path / "newer.pt2"
    text = '{"format": 2}'
    torch.export.save(program, path, extra_files={"reidblocks.json": text})
    with pytest.raises(ValueError, match=r"of format 2, newer than 1, .*: update reidblocks"):
        load_embedder(path)
    torch.export.save(program, path, extra_files={"reidblocks.json": '{"format": 1}'})
    with pytest.raises(ValueError, match="does not tell its preprocessing as reidblocks writes it"):
        load_embedder(path)


# Which model it is


def test_the_fingerprint_is_of_weights_and_preprocessing(embedder: Embedder) -> None:
    spec = embedder.spec
    same = copy.deepcopy(embedder).requires_grad_(False)
    same.name = "other"
    same.network.layers[1].num_batches_tracked += 1
    assert same.spec.fingerprint == spec.fingerprint
    others = [copy.deepcopy(embedder) for _ in range(5)]
    with torch.no_grad():
        others[0].network.layers[0].weight[0, 0, 0, 0] += 1e-3
    others[1].mean += 1
    others[2].normalize = False
    others[3].size = (8, 16)
    others[4].network.extra_repr = lambda: "features=hard"
    found = {spec.fingerprint, *(each.spec.fingerprint for each in others)}
    assert len(found) == 6


def test_the_name_is_the_networks_class_unless_given() -> None:
    assert Embedder(Own(), (16, 8)).spec.name == "Own"
    embedder = Embedder(Own(), (16, 8), name="persons")  # in training mode, of the network too
    assert (embedder.spec.name, embedder.dimension) == ("persons", 8)
    assert embedder.network.training
