"""Checkpoints of torchreid and fast-reid, against forward passes by their names alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_embedders import pixels
from torch import Tensor
from torchvision import models

from reidblocks.backbones import OSNet
from reidblocks.backbones._ibn import IBN
from reidblocks.deploy import Embedder, load_embedder
from reidblocks.deploy.published import ARCHITECTURES, architectures_that_fit

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def spread(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Norms away from where they start, so that each has a part in what comes out."""
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return state


def torchreid_checkpoint(**options: Any) -> tuple[OSNet, dict[str, Tensor]]:
    network = OSNet(0.25, **options).eval()
    state = spread(network.state_dict())
    return network, {**state, "classifier.weight": torch.ones(7, 512)}


@pytest.mark.parametrize("options", [{}, {"ibn": True}, {"ain": True}], ids=str)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_checkpoint_of_torchreid(options: dict[str, bool], wrapped: bool, tmp_path: Path) -> None:
    network, state = torchreid_checkpoint(**options)
    saved: dict[str, Any] = state
    if wrapped:
        moments = {"state": {0: {"exp_avg": torch.ones(3)}}}
        names = {f"module.{name}": value for name, value in state.items()}
        saved = {"state_dict": names, "epoch": 60, "optimizer": moments}
    path = tmp_path / "model.pth.tar-60"
    torch.save(saved, path)
    kind = "".join(f"{name}_" for name in options)
    embedder = load_embedder(path, f"osnet_{kind}x0_25")
    assert (embedder.size, embedder.dimension, embedder.normalize) == ((256, 128), 512, False)
    assert embedder.name == f"osnet_{kind}x0_25 of model.pth.tar-60"
    images = pixels(2, 256, 128)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        expected = network((images / 255 - mean) / std)
        torch.testing.assert_close(embedder(images), expected, rtol=1e-3, atol=1e-4)
    assert embedder.spec.fingerprint == Embedder(network, (256, 128)).spec.fingerprint


def test_a_published_file(shared: Path) -> None:
    path = shared / "weights" / "osnet_x0_25_msmt17.pth"
    if not path.is_file():
        pytest.skip("needs osnet_x0_25_msmt17.pth in ../shared/weights")
    with pytest.raises(ValueError, match=r"is a checkpoint: its weights fit 'osnet_x0_25'$"):
        load_embedder(path)
    embedder = load_embedder(path, "osnet_x0_25")
    embeddings = embedder(pixels(2, 128, 64))
    assert embeddings.shape == (2, 512)
    assert (embeddings >= 0).all()


# fast-reid


def fastreid_checkpoint(pool: str, neck: str, ibn: bool = True) -> dict[str, Tensor]:
    network = models.resnet18()
    if ibn:
        for layer in (network.layer1, network.layer2, network.layer3):
            for block in layer:
                block.bn1 = IBN(block.bn1.num_features)
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    del state["backbone.fc.weight"], state["backbone.fc.bias"]
    place, size = neck, 512
    if neck == "reduced":
        place, size = "bottleneck.1", 32
        state["heads.bottleneck.0.weight"] = torch.randn(32, 512, 1, 1) / 20
    norm = torch.nn.BatchNorm1d(size).state_dict()
    state |= {f"heads.{place}.{name}": value for name, value in norm.items()}
    spread(state)
    if pool == "gem":
        state["heads.pool_layer.p"] = torch.tensor([2.5])
    state["heads.weight" if neck != "bnneck" else "heads.classifier.weight"] = torch.ones(4, size)
    pixel = 255 * torch.tensor([MEAN, STD]).view(2, 1, 3, 1, 1)
    return state | {"pixel_mean": pixel[0], "pixel_std": pixel[1]}


def fastreid_forward(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """What fast-reid's baseline on a ResNet-18 gives in eval mode, in float64."""
    w = {name: value.double() for name, value in w.items()}

    def bn(x: Tensor, name: str) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(w[f"{name}.{leaf}"] for leaf in leaves))

    def first_norm(x: Tensor, name: str) -> Tensor:
        if f"{name}.IN.weight" not in w:
            return bn(x, name)
        half = len(w[f"{name}.IN.weight"])
        within = F.instance_norm(x[:, :half])
        scale, shift = (w[f"{name}.IN.{leaf}"].view(-1, 1, 1) for leaf in ("weight", "bias"))
        return torch.cat((within * scale + shift, bn(x[:, half:], f"{name}.BN")), 1)

    x = (images.double() - w["pixel_mean"]) / w["pixel_std"]
    x = bn(F.conv2d(x, w["backbone.conv1.weight"], stride=2, padding=3), "backbone.bn1").relu()
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for layer, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        for block in (0, 1):
            name, step = f"backbone.layer{layer}.{block}", stride if block == 0 else 1
            y = F.conv2d(x, w[f"{name}.conv1.weight"], stride=step, padding=1)
            y = F.conv2d(first_norm(y, f"{name}.bn1").relu(), w[f"{name}.conv2.weight"], padding=1)
            if f"{name}.downsample.0.weight" in w:
                kernel = w[f"{name}.downsample.0.weight"]
                x = bn(F.conv2d(x, kernel, stride=step), f"{name}.downsample.1")
            x = (bn(y, f"{name}.bn2") + x).relu()
    p = w.get("heads.pool_layer.p", torch.ones(1).double())
    x = x.clamp(min=1e-6 if "heads.pool_layer.p" in w else 0).pow(p).mean((2, 3)).pow(1 / p)
    neck = "heads.bottleneck.0"
    if "heads.bottleneck.1.weight" in w:
        x, neck = x @ w["heads.bottleneck.0.weight"].flatten(1).T, "heads.bottleneck.1"
    elif "heads.bnneck.weight" in w:
        neck = "heads.bnneck"
    return bn(x, neck)


@pytest.mark.parametrize(
    ("pool", "neck", "ibn"),
    [
        ("average", "bottleneck.0", True),
        ("gem", "bnneck", False),
        ("gem", "reduced", True),
    ],
)
def test_a_checkpoint_of_fast_reid(pool: str, neck: str, ibn: bool, tmp_path: Path) -> None:
    state = fastreid_checkpoint(pool, neck, ibn)
    torch.save({"model": state, "iteration": 9}, tmp_path / "bot.pth")
    embedder = load_embedder(tmp_path / "bot.pth", f"fastreid_resnet18{'_ibn' * ibn}")
    images = pixels(2, 256, 128)
    with torch.inference_mode():
        found = embedder(images)
        expected = fastreid_forward(state, images)
    worst = (found - expected).abs().max() / expected.abs().max()
    assert worst < 1e-4
    assert embedder.dimension == (32 if neck == "reduced" else 512)


def test_the_files_own_pixels_are_taken(tmp_path: Path) -> None:
    state = fastreid_checkpoint("average", "bottleneck.0")
    state["pixel_mean"] = torch.tensor([10.0, 20.0, 30.0])
    torch.save({"model": state}, tmp_path / "a.pth")
    embedder = load_embedder(tmp_path / "a.pth", "fastreid_resnet18_ibn")
    torch.testing.assert_close(embedder.mean.flatten(), torch.tensor([10.0, 20.0, 30.0]))


# What does not fit


def test_another_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(torchreid_checkpoint()[1], path)
    with pytest.raises(
        ValueError,
        match=r"holds no osnet_x0_5 \(conv1.conv.weight is \(16, 3, 7, 7\) there and \(32, 3, 7, 7"
        r"\) here.* more\): its weights fit architecture='osnet_x0_25'",
    ):
        load_embedder(path, "osnet_x0_5")
    with pytest.raises(ValueError, match=r"no fastreid_resnet50: its weights fit .*'osnet_x0_25'"):
        load_embedder(path, "fastreid_resnet50")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.generate.backbone.0.weight"], r"authors' released MDPR.*released.py FILE OUT.pt"),
        (["model.stem.conv1.weight"], r"one of examples/mdpr. Write a program: python .*share.py"),
        (["a.b", "c"], "holds no osnet_x1_0: it has a.b, c$"),
        ([], "it has no tensors"),
    ],
)
def test_what_it_is_instead(names: list[str], message: str, tmp_path: Path) -> None:
    torch.save({name: torch.ones(2) for name in names}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        load_embedder(tmp_path / "a.pth", "osnet_x1_0")


def test_layers_too_many_or_too_few_are_named(tmp_path: Path) -> None:
    state = fastreid_checkpoint("average", "bottleneck.0")
    state["backbone.NL_2.0.g.weight"] = torch.ones(2)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"it has backbone.NL_2.0.g.weight\): it has backbone"):
        load_embedder(tmp_path / "a.pth", "fastreid_resnet18_ibn")
    del state["backbone.NL_2.0.g.weight"], state["heads.bottleneck.0.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"it lacks heads.bottleneck.0.weight"):
        load_embedder(tmp_path / "a.pth", "fastreid_resnet18_ibn")


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    state = torchreid_checkpoint()[1]
    two = {"a": state, "b": state}
    torch.save(two, tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"holds several networks, under 'a.', 'b.': save"):
        load_embedder(tmp_path / "two.pth", "osnet_x0_25")
    state["fc.0.bias"][3] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite .*such as fc.0.bias"):
        load_embedder(tmp_path / "nan.pth", "osnet_x0_25")


def test_each_osnet_is_told_from_the_others() -> None:
    for name in ("osnet_x1_0", "osnet_ibn_x0_5", "osnet_ain_x0_25"):
        network, _ = ARCHITECTURES[name].build({})
        assert architectures_that_fit(network.state_dict()) == [name]
