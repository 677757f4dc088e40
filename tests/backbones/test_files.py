"""Files that hold weights are read; files that hold something else are refused, by reason."""

import os
import pickle
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from reidblocks.backbones import read_checkpoint

WEIGHTS = {"conv.weight": torch.arange(6.0).view(2, 3), "bn.num_batches_tracked": torch.tensor(7)}


def assert_same(read: dict[str, Tensor]) -> None:
    assert set(read) == set(WEIGHTS)
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(read[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_both_kinds(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pth.tar"
    content = {"epoch": 3, "arch": "resnet50", "state_dict": WEIGHTS, "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert read["epoch"] == 3
    assert_same(read["state_dict"])


def test_a_path_may_be_text(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pth")
    assert_same(dict(read_checkpoint(str(tmp_path / "model.pth"))))


def safetensors_torch() -> Any:
    return pytest.importorskip("safetensors.torch", reason="needs safetensors (extra example)")


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_safetensors_whatever_the_name(tmp_path: Path, name: str) -> None:
    safetensors_torch().save_file(WEIGHTS, tmp_path / name)
    assert_same(dict(read_checkpoint(tmp_path / name)))


def test_without_safetensors_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safetensors_torch().save_file(WEIGHTS, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"model.safetensors is .*: pip install safetensors"):
        read_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_safetensors_file_cut_short(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "model.safetensors"
    safetensors_torch().save_file({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "number",
    [
        np.float32(0.25), np.float64(0.25), np.int64(3), np.float16(0.25), np.uint8(3),
        np.bool_(True), np.str_("osnet"),
    ],
)  # fmt: skip
def test_torchreids_numpy_rank1_is_let_through(tmp_path: Path, number: np.generic) -> None:
    """Written under numpy 1's module name as well, as torchreid's files of then are."""
    path = tmp_path / "model.pth.tar-60"
    torch.save({"state_dict": WEIGHTS, "rank1": number}, path, _use_new_zipfile_serialization=False)
    read = read_checkpoint(path)
    assert read["rank1"] == number
    assert_same(read["state_dict"])
    old = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(old)
    assert read_checkpoint(path)["rank1"] == number


class Program:
    """What a hostile pickle looks like: reading it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("writer", ["zipped", "legacy", "pickle", "old pickle"])
def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path, writer: str) -> None:
    path, proof = tmp_path / "model.pth", tmp_path / "ran"
    content = {"state_dict": WEIGHTS, "extra": Program(proof)}
    if writer in ("zipped", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=writer == "zipped")
    else:
        path.write_bytes(
            pickle.dumps({"extra": Program(proof)}, protocol=4 if writer == "pickle" else 2)
        )
    with pytest.raises(ValueError, match=r"model.pth holds more than weights.*was not loaded"):
        read_checkpoint(path)
    assert not proof.exists()


def test_a_whole_pickled_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(mobilenet_v2(), tmp_path / "model.pth")
    message = r"torchvision\.models\.mobilenetv2\.MobileNetV2.*save model\.state_dict\(\) alone"
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "model.pth")


def test_numpy_arrays_beside_the_weights(tmp_path: Path) -> None:
    arrays = {"cmc": np.linspace(0, 1, 5), "names": np.array(["a", "b"])}
    torch.save({"state_dict": WEIGHTS, **arrays}, tmp_path / "model.pth")
    read = read_checkpoint(tmp_path / "model.pth")
    assert_same(read["state_dict"])
    for name, array in arrays.items():
        assert (read[name] == array).all()


def test_numpy_objects_with_code_are_refused_too(tmp_path: Path) -> None:
    array = np.array([Program(tmp_path / "ran")], dtype=object)
    torch.save({"extra": array}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="holds more than weights"):
        read_checkpoint(tmp_path / "model.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.001, 0.01, 0.3, 0.7, 0.999])
def test_a_torch_file_cut_short(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(3000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: max(1, int(kept * path.stat().st_size))])
    with pytest.raises(ValueError, match=r"model.pth is damaged, truncated") as info:
        read_checkpoint(path)
    assert "weights_only" not in str(info.value)  # torch's advice to load it unsafely


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html>", b"\n  <html><body>quota exceeded", b"\xef\xbb\xbf<?xml?>"]
)
def test_a_web_page_saved_as_weights(tmp_path: Path, page: bytes) -> None:
    (tmp_path / "model.pth").write_bytes(page + 4000 * b" ")
    with pytest.raises(ValueError, match=r"model.pth is a web page, not weights"):
        read_checkpoint(tmp_path / "model.pth")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.pth").touch()
    with pytest.raises(ValueError, match=r"model.pth is empty"):
        read_checkpoint(tmp_path / "model.pth")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; name the file of weights in it"):
        read_checkpoint(tmp_path)


def test_a_git_lfs_pointer(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    with pytest.raises(ValueError, match=r"model.pth is a Git LFS pointer.*git lfs pull"):
        read_checkpoint(tmp_path / "model.pth")


def test_other_bytes_and_no_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(bytes(range(1, 200)))
    with pytest.raises(ValueError, match=r"model.pth is damaged, truncated, or no checkpoint"):
        read_checkpoint(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError, match=r"other.pth"):
        read_checkpoint(tmp_path / "other.pth")


def written(path: Path, kind: str) -> None:
    """Write a file of another kind, as its own tool does."""
    layer, images = nn.Linear(2, 2), torch.zeros(1, 2)
    if kind in ("scripted", "traced"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.jit.script(layer) if kind == "scripted" else torch.jit.trace(layer, images)
            torch.jit.save(made, path)
    elif kind == "exported":
        with path.open("wb") as file:
            torch.export.save(torch.export.export(layer, (images,)), file)
    elif kind in ("onnx", "onnx of torch"):
        helper = pytest.importorskip("onnx", reason="needs onnx (extra export)").helper
        ends = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
        producer = {"producer_name": "pytorch"} if kind == "onnx of torch" else {}
        path.write_bytes(helper.make_model(graph, **producer).SerializeToString())
    elif kind in ("zip", "tar", "gzip"):
        inner = path.with_name("inner")
        inner.write_bytes(b"weights")
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(inner, "release/model.pth")
        else:
            with tarfile.open(path, "w:gz" if kind == "gzip" else "w") as archive:
                archive.add(inner, "release/model.pth")
    elif kind in ("npz", "npy"):
        with path.open("wb") as file:
            (np.savez if kind == "npz" else np.save)(file, np.zeros(2))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    else:
        path.write_text('{"weight_map": {}}')


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("scripted", r"a TorchScript archive.*; load it with torch\.jit\.load"),
        ("traced", r"a TorchScript archive.*; load it with torch\.jit\.load"),
        ("exported", r"a torch\.export program; load it with torch\.export\.load"),
        ("onnx", r"an ONNX model; load it where it was made"),
        ("onnx of torch", r"an ONNX model; load it where it was made"),
        ("zip", r"a zip archive that torch.save did not write, with .*model\.pth; unpack it"),
        ("tar", r"a tar archive; unpack it"),
        ("gzip", r"a gzip archive; unpack it"),
        ("npz", r"an archive of NumPy arrays; pass dict\(numpy\.load"),
        ("npy", r"a single NumPy array \(\.npy\); pass a mapping"),
        ("pickle", r"a pickle that torch\.save did not write; load it where it was made"),
        ("json", r"JSON text, not weights; name the file of weights"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, kind: str, message: str) -> None:
    """Whatever it is called: the first bytes tell."""
    written(tmp_path / "model.pth", kind)
    with pytest.raises(ValueError, match=rf"model\.pth is {message}"):
        read_checkpoint(tmp_path / "model.pth")


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    torch.save(WEIGHTS, tmp_path / "model.pth")
    assert_same(dict(read_checkpoint("~/model.pth")))


def test_something_that_is_no_mapping(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model.pth holds a list, not a mapping"):
        read_checkpoint(tmp_path / "model.pth")
