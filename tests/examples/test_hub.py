"""Folders on the Hugging Face Hub, which a folder stands in for: no network is asked."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_backbone

import networks
import share
from build import build_model
from config import MDPRConfig

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the Hub by a folder; what it was asked for is returned."""
    monkeypatch.setitem(networks.NETWORKS, "tiny", tiny_backbone)
    asked: dict[str, Any] = {}

    class Api:
        def create_repo(self, name: str, **options: Any) -> None:
            asked["made"] = (name, options)

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tmp_path / "hub" / name)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_a_network_goes_to_the_hub_and_back(hub: dict[str, Any], tmp_path: Path) -> None:
    model = build_model(MDPRConfig(backbone="tiny", height=32, width=16, embed_dim=4)).eval()
    ours = share.save_pretrained(model, tmp_path / "ours")
    share.main([str(ours), "hub:me/my-mdpr", "--features", "soft"])
    assert hub["made"] == ("me/my-mdpr", {"exist_ok": True})
    there = tmp_path / "hub" / "me" / "my-mdpr"
    names = ["config.json", "embedder.pt2", "model.safetensors"]
    assert sorted(f.name for f in there.iterdir()) == names
    loaded = share.load("hub:me/my-mdpr@v1")
    assert (hub["name"], hub["revision"]) == ("me/my-mdpr", "v1")
    assert hub["allow_patterns"] == ["config.json", "model.safetensors"]
    images = torch.rand(2, 3, 32, 16)
    with torch.inference_mode():
        expected = model(images).embedding(("soft_g5", "soft_g4"))
        assert torch.equal(loaded.model.embed(images), expected)


def test_every_command_reads_a_name_on_the_hub(hub: dict[str, Any], tmp_path: Path) -> None:
    model = build_model(MDPRConfig(backbone="tiny", height=32, width=16, embed_dim=4))
    share.save_pretrained(model, tmp_path / "hub" / "me" / "my-mdpr")
    share.main(["hub:me/my-mdpr", str(tmp_path / "copy")])
    assert hub["revision"] is None
    copy = share.load(tmp_path / "copy").model.state_dict()
    assert all(torch.equal(copy[name], value) for name, value in model.state_dict().items())
