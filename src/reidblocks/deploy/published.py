"""Networks of other toolboxes by the name of their architecture, filled from their checkpoints."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks._weights import expect_usable, flatten
from reidblocks.backbones import OSNet, StagedBackbone, resnet
from reidblocks.blocks import GeM
from reidblocks.deploy.embedder import Embedder

Weights = Mapping[str, Tensor]
Network = tuple[nn.Module, dict[str, str]]  # with the checkpoint's name of each of its tensors
_SIZE = (256, 128)
# What stands in a checkpoint and has no part in the embedding.
_UNUSED = ("classifier.", "heads.classifier.", "heads.weight", "pixel_mean", "pixel_std")
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params")


class FastReIDBaseline(nn.Module):
    """fast-reid's baseline: a ResNet's last map pooled, brought to a size if asked for, and BN."""

    def __init__(self, backbone: StagedBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.head(self.backbone(images).c5)
        return embeddings


class Architecture(NamedTuple):
    build: Callable[[Weights], Network]
    anchor: str  # a name by which the weights are found among what else a file holds
    channels: int  # rows of the anchor's weight, to tell most of the others apart by


def _osnet(weights: Weights, width: float, ibn: bool = False, ain: bool = False) -> Network:
    network = OSNet(width, ibn=ibn, ain=ain)
    return network, {name: name for name in network.state_dict()}


def _fastreid(weights: Weights, depth: int, ibn: bool) -> Network:
    """Build the baseline; pooling, reduction and the neck's place show in the names."""
    backbone = resnet(depth, ibn=ibn, ceil_pool=True)
    names = {
        f"backbone.{name}": "backbone." + name.partition(".")[2] for name in backbone.state_dict()
    }
    average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head: OrderedDict[str, nn.Module] = OrderedDict(pool=average)
    if "heads.pool_layer.p" in weights:
        head["pool"] = GeM()
        names["head.pool.p"] = "heads.pool_layer.p"
    size, neck = backbone.stage5_channels, "heads.bottleneck.0"
    if "heads.bottleneck.1.weight" in weights:  # after a 1×1 convolution to EMBEDDING_DIM
        reduced = len(weights["heads.bottleneck.1.weight"])
        head["reduction"] = nn.Linear(size, reduced, bias=False)
        names["head.reduction.weight"] = "heads.bottleneck.0.weight"
        size, neck = reduced, "heads.bottleneck.1"
    elif "heads.bnneck.weight" in weights:  # in files of its first versions
        neck = "heads.bnneck"
    head["neck"] = nn.BatchNorm1d(size)
    names |= {f"head.neck.{leaf}": f"{neck}.{leaf}" for leaf in head["neck"].state_dict()}
    return FastReIDBaseline(backbone, nn.Sequential(head)), names


ARCHITECTURES = {
    f"osnet_{kind}x{width:g}".replace("x1", "x1_0").replace("0.", "0_"): Architecture(
        partial(_osnet, width=width, ibn=kind == "ibn_", ain=kind == "ain_"),
        *("conv5.conv.weight", int(512 * width)),
    )
    for kind in ("", "ibn_", "ain_")
    for width in (1.0, 0.75, 0.5, 0.25)
} | {
    f"fastreid_resnet{depth}{ibn}": Architecture(
        partial(_fastreid, depth=depth, ibn=bool(ibn)), "backbone.conv1.weight", 64
    )
    for depth in (18, 34, 50, 101)
    for ibn in ("", "_ibn")
}


def published(content: Mapping[str, Any], architecture: str, path: Path) -> Embedder:
    """Return the embedder of a checkpoint of a known architecture."""
    found = dict(flatten(content))
    build, anchor, _ = ARCHITECTURES[architecture]
    starts = [name[: -len(anchor)] for name in found if f".{name}".endswith(f".{anchor}")]
    if len(starts) > 1:
        raise ValueError(
            f"{path} holds several networks, under {', '.join(map(repr, starts))}: save the "
            "state_dict of one"
        )
    if not starts:
        raise ValueError(f"{path} holds no {architecture}: {_what_it_is(found)}")
    weights = _under(found, starts[0])
    network, names = build(weights)
    if faults := _faults(network, names, weights):
        raise ValueError(f"{path} holds no {architecture} ({faults}): {_what_it_is(found)}")
    own = network.state_dict()
    taken = {
        name: weights[theirs].reshape(own[name].shape)
        for name, theirs in names.items()
        if theirs in weights
    }
    expect_usable(taken, own, str(path))
    network.load_state_dict(taken, strict=False)  # counters of batches may be missing
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if "pixel_mean" in weights and "pixel_std" in weights:  # from 0 to 255, in fast-reid's files
        mean, std = (
            tuple((weights[name].flatten().double() / 255).tolist())
            for name in ("pixel_mean", "pixel_std")
        )
    name = f"{architecture} of {path.name}"
    return Embedder(network.eval(), _SIZE, mean=mean, std=std, name=name).eval()


def architectures_that_fit(content: Mapping[str, Any]) -> list[str]:
    """Name those whose every tensor a checkpoint holds, in its shape, and no others."""
    found, fitting = dict(flatten(content)), []
    for name, (build, anchor, channels) in ARCHITECTURES.items():
        starts = [each[: -len(anchor)] for each in found if f".{each}".endswith(f".{anchor}")]
        if len(starts) == 1 and len(found[starts[0] + anchor]) == channels:
            weights = _under(found, starts[0])
            with torch.device("meta"):
                network, names = build(weights)
            if not _faults(network, names, weights):
                fitting.append(name)
    return fitting


def _under(found: Weights, start: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(start): value
        for name, value in found.items()
        if name.startswith(start) and not name.endswith(_COUNTERS[1:])
    }


def _faults(network: nn.Module, names: Mapping[str, str], weights: Weights) -> str:
    """Say what a checkpoint lacks, has in another shape, or has beyond a network."""
    own, faults = network.state_dict(), []
    for name, theirs in names.items():
        if theirs not in weights:
            if not theirs.endswith(_COUNTERS):
                faults.append(f"it lacks {theirs}")
        elif weights[theirs].squeeze().shape != own[name].squeeze().shape:
            shapes = tuple(weights[theirs].shape), tuple(own[name].shape)
            faults.append(f"{theirs} is {shapes[0]} there and {shapes[1]} here")
    known = {*names.values()}
    faults += [
        f"it has {name}"
        for name in weights
        if name not in known and not name.startswith(_UNUSED) and not name.endswith(_COUNTERS)
    ]
    more = f" and {len(faults) - 2} more" if len(faults) > 2 else ""
    return ", ".join(faults[:2]) + more


def _what_it_is(found: Weights) -> str:
    """Say what a checkpoint holds instead, and what to do with it."""
    if fitting := architectures_that_fit(found):
        return f"its weights fit architecture={' or '.join(map(repr, fitting))}"
    names = list(found)
    if any(name.endswith("generate.backbone.0.weight") for name in names):
        return (
            "it is one of the authors' released MDPR. Convert it and write a program: "
            "python examples/mdpr/released.py FILE OUT.pt, then "
            "python examples/mdpr/share.py OUT.pt person.pt2"
        )
    if "model.stem.conv1.weight" in names or any(name.startswith("criterion.") for name in names):
        return (
            "it is one of examples/mdpr. Write a program: "
            "python examples/mdpr/share.py FILE person.pt2"
        )
    return f"it has {', '.join(names[:3]) or 'no tensors'}"
