"""The Hub's mixin, with folders on disk and a download that is not one: no network is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_backbone

import networks
import share
from assemble import build_model
from config import MDPRConfig

pytest.importorskip("huggingface_hub", reason="needs the extra hub (huggingface_hub)")

from huggingface_hub import hub_mixin

import hub
from hub import HubNetwork


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.NETWORKS, "tiny", tiny_backbone)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[HubNetwork, Path]:
    config = MDPRConfig(backbone="tiny", height=32, width=16, embed_dim=4)
    network = HubNetwork(build_model(config, pretrained=False)).eval()
    network.save_pretrained(tmp_path / "folder")
    return network, tmp_path / "folder"


def test_a_folder_goes_both_ways(saved: tuple[HubNetwork, Path]) -> None:
    network, folder = saved
    images = torch.rand(2, 3, 32, 16)
    with torch.inference_mode():
        expected = network(images)
        assert torch.equal(HubNetwork.from_pretrained(folder)(images), expected)
        assert torch.equal(share.load(folder).model.embed(images), expected)
    assert "library_name: reidblocks" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["format"] == share.FORMAT


def test_a_folder_of_share_is_read(saved: tuple[HubNetwork, Path], tmp_path: Path) -> None:
    network, _ = saved
    folder = share.save_pretrained(network.network, tmp_path / "ours")
    again = HubNetwork.from_pretrained(folder)
    again.save_pretrained(tmp_path / "again")  # and once more, from what was loaded
    images = torch.rand(2, 3, 32, 16)
    with torch.inference_mode():
        assert torch.equal(share.load(tmp_path / "again").model.embed(images), network(images))


def test_a_repository_is_downloaded(
    saved: tuple[HubNetwork, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = saved
    asked = {}

    def download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    config = str(folder / "config.json")  # which the mixin fetches by itself
    monkeypatch.setattr(hub_mixin, "hf_hub_download", lambda **options: config)
    again = HubNetwork.from_pretrained("me/my-mdpr", revision="v1", token="key")
    assert (asked["repository"], asked["revision"], asked["token"]) == ("me/my-mdpr", "v1", "key")
    assert asked["allow_patterns"] == ["config.json", "model.safetensors"]
    assert torch.equal(again.network.stem.weight, network.network.stem.weight)


def test_what_is_pushed_is_a_whole_folder(
    saved: tuple[HubNetwork, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, list[str]] = {}

    class Api:
        def __init__(self, **options: Any) -> None: ...

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **options: Any) -> str:
            pushed[repo_id] = sorted(file.name for file in Path(folder_path).iterdir())
            share.load(folder_path)
            return "commit"

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    assert saved[0].push_to_hub("me/my-mdpr") == "commit"
    assert pushed == {"me/my-mdpr": ["README.md", "config.json", "model.safetensors"]}
