"""Folders that share a network: what they hold, who can read them, and what is refused."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import tiny_backbone
from torch import Tensor, nn

import evaluate
import networks
import share
from build import build_model
from config import MDPRConfig
from model import MDPR
from reidblocks.data import synthetic_people
from reidblocks.deploy import fold_for_inference

KEPT = Path(__file__).with_name("pretrained")
EXAMPLE = Path(share.__file__).parent


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.NETWORKS, "tiny", tiny_backbone)


def tiny_config(**changes: Any) -> MDPRConfig:
    settings = {"backbone": "tiny", "height": 32, "width": 16, "embed_dim": 4, "num_maps": 3}
    return MDPRConfig(**{**settings, "data_root": "/secret", "weights": "/secret.pth", **changes})


@pytest.fixture
def model() -> MDPR:
    return build_model(tiny_config(), pretrained=False).eval()


@pytest.fixture
def folder(model: MDPR, tmp_path: Path) -> Path:
    return share.save_pretrained(model, tmp_path / "shared")


def embed(model: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.eval().embed(images)


def test_what_was_saved_is_loaded(model: MDPR, folder: Path) -> None:
    images = torch.rand(3, 3, 32, 16)
    loaded = share.load(folder)
    assert not loaded.model.training
    assert torch.equal(embed(loaded.model, images), embed(model, images))
    assert loaded.config.data_root == loaded.config.weights == ""
    assert "secret" not in (folder / "config.json").read_text()
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [file.name for file in folder.parent.iterdir()] == ["shared"]  # nothing half written


def test_the_embedding_is_told_feature_by_feature(model: MDPR, folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())["embedding"]
    assert [part["name"] for part in told] == list(model.features)
    images = torch.rand(2, 3, 32, 16)
    with torch.inference_mode():
        output = model(images)
    whole = embed(model, images)
    for part in told:
        feature = output.features[part["name"]].embedding
        torch.testing.assert_close(whole[:, part["start"] : part["stop"]], feature)
        assert part["size"] == part["stop"] - part["start"] == feature.shape[1]
        assert part["normalised"] == torch.allclose(feature.norm(dim=1), torch.ones(2))
    assert told[-1]["stop"] == whole.shape[1]


def test_other_features_may_be_asked_for(folder: Path) -> None:
    loaded = share.load(folder, features=["soft"])
    assert [(part.name, part.start, part.stop) for part in loaded.embedding] == [
        ("soft_g5", 0, 4), ("soft_g4", 4, 8),
    ]  # fmt: skip
    assert embed(loaded.model, torch.rand(1, 3, 32, 16)).shape == (1, 8)


def test_a_baseline_is_shared_alike(tmp_path: Path) -> None:
    config = tiny_config(network="mgn", height=64)
    model = build_model(config, pretrained=False)
    loaded = share.load(share.save_pretrained(model, tmp_path / "mgn"))
    images = torch.rand(2, 3, 64, 16)
    assert torch.equal(embed(loaded.model, images), embed(model, images))
    features = loaded.model(images).features
    for part in loaded.embedding:
        vector = embed(loaded.model, images)[:, part.start : part.stop]
        assert torch.equal(vector, features[part.name].embedding)


def test_the_preprocessing_is_the_one_told(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["preprocessing"] |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    path.write_text(json.dumps(content))
    transform = share.load(folder).preprocessing.transform()
    prepared = transform(Image.new("RGB", (30, 50), (255, 0, 0)))
    assert prepared.shape == (3, 32, 16)
    torch.testing.assert_close(prepared.amax((1, 2)), torch.tensor([2.0, -2.0, -2.0]))


def test_network_and_preprocessing_in_one_module(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["preprocessing"] |= {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.15]}
    path.write_text(json.dumps(content))
    loaded = share.load(folder)
    pixels = torch.randint(0, 256, (2, 3, 32, 16), dtype=torch.uint8)
    expected = embed(loaded.model, loaded.preprocessing.transform()(pixels))
    with torch.inference_mode():
        torch.testing.assert_close(loaded.embedder()(pixels), expected, rtol=1e-4, atol=1e-5)


def test_loading_asks_for_the_folder_alone(tmp_path: Path) -> None:
    """In a process of its own, elsewhere, with nothing but the package and the example."""
    config = MDPRConfig(backbone="small_resnet", embed_dim=8, height=64, weights="gone.pth")
    folder = share.save_pretrained(build_model(config, pretrained=False), tmp_path / "a" / "b")
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE)!r})\n"
        "import torch; from share import load\n"
        f"print(tuple(load({str(folder)!r}).model.embed(torch.rand(1, 3, 64, 32)).shape))"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == "(1, 72)"


# Whole or not at all


def test_a_folder_that_holds_something_is_left_alone(model: MDPR, folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="is there already and not empty"):
        share.save_pretrained(model, folder)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("step", ["save", "load"])
def test_a_save_that_is_cut_leaves_nothing(
    model: MDPR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def cut(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(share, step, cut)
    with pytest.raises(KeyboardInterrupt):
        share.save_pretrained(model, tmp_path / "shared")
    assert list(tmp_path.iterdir()) == []


def test_a_folded_model_is_not_saved_as_if_it_were_whole(model: MDPR, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit its configuration"):
        share.save_pretrained(fold_for_inference(model), tmp_path / "shared")
    assert list(tmp_path.iterdir()) == []


# What is refused


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text())
        for name, value in changes.items():
            content[name] = {**content[name], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(content))

    return change


def drop(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        del content[name]
        (folder / "config.json").write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json, which should hold"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is none that share.py wrote"),
        (drop("format"), "is none that share.py wrote: 'format'"),
        (drop("preprocessing"), "is none that share.py wrote: 'preprocessing'"),
        (edit(format=99, reidblocks="9.9"), "reidblocks 9.9 wrote it, in a format newer .* update"),
        (edit(configuration={"colour": 1}), "unknown fields in the configuration: colour"),
        (
            edit(configuration={"embed_dim": 5}),
            "does not fit its configuration: size mismatch .* faults more",
        ),
        (edit(configuration={"features": ["soft"]}), "embedding is not that of its configuration"),
        (edit(preprocessing={"mean": 3}), "is none that share.py wrote: .*iterable"),
        (
            lambda folder: os.truncate(folder / "model.safetensors", 5000),
            "model.safetensors is damaged or truncated",
        ),
    ],
)
def test_a_folder_that_cannot_be_used(
    folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        share.load(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_configuration_as_windows_editors_save_it(folder: Path, encoding: str) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_bytes(text.encode(encoding))
    assert share.load(folder).config.embed_dim == json.loads(text)["configuration"]["embed_dim"]


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    weights = dict(share.read_checkpoint(folder / "model.safetensors"))
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("inf"))
    (folder / "model.safetensors").write_bytes(share.save(weights))
    with pytest.raises(ValueError, match=rf"safetensors holds NaN or infinite .*{name}"):
        share.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"shared has no {name}"):
        share.load(folder)


# Older versions


def make_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pretrained", KEPT / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("old", sorted(KEPT.glob("format-*")), ids=lambda path: path.name)
def test_every_older_format_still_loads(old: Path) -> None:
    loaded = share.load(old)
    images = make_script().images()
    expected = torch.tensor(json.loads((old / "expected.json").read_text()))
    embedding = embed(loaded.model, loaded.preprocessing.transform()(images))
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-4)


def test_the_present_format_is_among_those_kept() -> None:
    assert (KEPT / f"format-{share.FORMAT}").is_dir()


@pytest.mark.parametrize("old", sorted(KEPT.glob("format-*")), ids=lambda path: path.name)
def test_no_weight_has_another_name_than_it_had(old: Path) -> None:
    """Else ``share.FORMAT`` goes up, what was written before is renamed on loading, and kept."""
    names = (old / "keys.txt").read_text().split()
    config = MDPRConfig(backbone="resnet18_ibn")
    assert set(build_model(config, pretrained=False).state_dict()) == set(names)


# The commands


def test_a_run_is_shared_and_evaluated(
    model: MDPR, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"num_train_identities": 2, "num_test_identities": 2, "images_per_camera": 2}
    people = synthetic_people(tmp_path / "people", num_cameras=2, size=(32, 16), **few)
    (tmp_path / "run").mkdir()
    config = dataclasses.replace(model.config, data_root=str(people), workers=0)
    state = {"config": dataclasses.asdict(config), "model": model.state_dict(), "epoch": 3}
    torch.save(state, tmp_path / "run" / "last.pt")
    shared = tmp_path / "shared"
    share.main([str(tmp_path / "run"), str(shared)])
    printed = capsys.readouterr().out
    assert "features hard_g5, hard_p1, hard_p2, soft_g5, soft_g4, fusion: 36\n" in printed
    assert printed.endswith(" MB\n")
    evaluate.main([str(tmp_path / "run")])
    of_the_run = capsys.readouterr().out
    evaluate.main([str(shared), "--data-root", str(people)])
    of_the_folder = capsys.readouterr().out
    assert "saved by 0." in of_the_folder
    assert [line for line in of_the_run.splitlines() if "mAP" in line] == [
        line for line in of_the_folder.splitlines() if "mAP" in line
    ]
    share.main([str(tmp_path / "run"), str(tmp_path / "soft"), "--features", "soft"])
    assert len(share.load(tmp_path / "soft").embedding) == 2
