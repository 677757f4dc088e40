"""Pretrained weights by name: from a fake release on this disk, without a network, and damaged."""

import hashlib
import io
import re
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models

from reidblocks.backbones import (
    StagedBackbone,
    downloads,
    families,
    mobilenet,
    mobilenet_v2,
    resnet,
    timm_backbone,
    torchvision_backbone,
)

resnet_module = sys.modules[resnet.__module__]
Build = Callable[..., StagedBackbone]
BUILDERS: dict[str, Build] = {
    "resnet": lambda **options: resnet(18, **options),
    "resnet ibn": lambda **options: resnet(18, ibn=True, **options),
    "mobilenet_v2": mobilenet_v2,
    "torchvision_backbone": lambda **options: torchvision_backbone("mobilenet_v3_small", **options),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's, as on a machine that has downloaded nothing yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "home" / "hub" / "checkpoints"


def publish(weights: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every name's weights lie in one file of this disk, named as releases name theirs."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    path = folder / f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(buffer.getvalue())
    point_to(path.as_uri(), monkeypatch)
    return path


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(downloads.IBN_NET, 18, url)
    for module in (resnet_module, mobilenet, families):
        monkeypatch.setattr(module, "torchvision_url", lambda *_: url)


def whole(backbone: StagedBackbone) -> dict[str, Any]:
    """The weights as the network itself saves them, with a classifier on top."""
    state = {name.partition(".")[2]: value for name, value in backbone.state_dict().items()}
    return state | {"fc.weight": torch.zeros(1000, 4)}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_weights_are_downloaded_once(
    build: Build, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = build()
    file = publish(whole(published), tmp_path, monkeypatch)
    torch.testing.assert_close(build(weights="imagenet").state_dict(), published.state_dict())
    assert [path.name for path in cache.iterdir()] == [file.name]
    file.unlink()  # the cache is enough from here on
    torch.testing.assert_close(build(weights="imagenet").state_dict(), published.state_dict())


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize("error", [URLError("no such host"), IncompleteRead(b""), TimeoutError()])
def test_without_a_network(
    build: Build, error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "urlopen", fail)
    with pytest.raises(ConnectionError) as caught:
        build(weights="imagenet")
    message = str(caught.value)
    assert re.search(r"cannot download https://\S+-[0-9a-f]{8}\.pth \(.+\)", message)
    assert f"put it at {cache}" in message
    assert "load_backbone_weights" in message
    assert not list(cache.iterdir())


def test_a_full_disk_is_no_matter_of_the_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "net.pth")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(OSError, match="No space left on device"):
        mobilenet_v2(weights="imagenet")


def test_another_file_than_the_published_one_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = publish(whole(mobilenet_v2()), tmp_path, monkeypatch)
    file.write_bytes(b"<html>please log in</html>")
    with pytest.raises(ValueError, match=r"mobilenet_v2 got another file from file:.*invalid hash"):
        mobilenet_v2(weights="imagenet")
    assert not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = publish(whole(mobilenet_v2()), tmp_path, monkeypatch)
    mobilenet_v2(weights="imagenet")
    cached = cache / file.name
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{re.escape(str(cached))} is not the file .* remove it"):
        mobilenet_v2(weights="imagenet")
    cached.unlink()
    mobilenet_v2(weights="imagenet")


def test_a_url_without_a_hash_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("https://example.org/net.pth", monkeypatch)
    with pytest.raises(ValueError, match="expects a file whose name ends with its hash"):
        mobilenet_v2(weights="imagenet")


def test_every_published_file_has_its_hash_in_its_name() -> None:
    urls = [*downloads.IBN_NET.values(), downloads.torchvision_url("resnet50", "IMAGENET1K_V1")]
    for name in models.list_models(module=models):
        urls.append(downloads.torchvision_url(name))
    assert all(downloads._HASH.search(url) for url in urls)


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (
            FileNotFoundError("not in the cache\nat all"),
            ConnectionError,
            r"timm's resnet18 \(not i",
        ),
        (
            RuntimeError("No pretrained weights exist for it."),
            ValueError,
            "no weights for resnet18",
        ),
        (RuntimeError("of another kind"), RuntimeError, "of another kind"),
    ],
)
def test_timm_without_weights(
    raised: Exception, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm", reason="needs timm (extra timm)")
    create = timm.create_model

    def fail(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise raised
        network: nn.Module = create(name, **options)
        return network

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(error, match=message):
        timm_backbone("resnet18", pretrained=True)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_weights_of_another_name_are_refused(build: Build) -> None:
    with pytest.raises(ValueError, match=r'expects weights="imagenet", or None .*, got .IMAGE'):
        build(weights="IMAGENET1K_V1")
