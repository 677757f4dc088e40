"""From a configuration to what it names: data, loaders, backbone, precision."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.resnet import BasicBlock

from config import MDPRConfig
from reidblocks.backbones import (
    StagedBackbone,
    load_backbone_weights,
    mobilenet_v2,
    resnet,
)
from reidblocks.data import (
    DukeMTMC,
    ImageDataset,
    Item,
    Market1501,
    PKBatchSampler,
    ReIDDataset,
    Sample,
    SynergyReID,
    eval_transform,
    from_csv,
    synthetic_people,
    train_transform,
)


def small_resnet(width: int = 32) -> StagedBackbone:
    """Build a ResNet-18 of half the usual width: a quarter of the operations, for two CPU cores.

    It shows how any network's stages become a backbone: stem, stage4, stage5 and their channels.
    """

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
        )

    stem = nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        stage(width, width, 1),
        stage(width, 2 * width, 2),
    )
    return StagedBackbone(
        stem,
        stage(2 * width, 4 * width, 2),
        stage(4 * width, 8 * width, 1),
        stage4_channels=4 * width,
        stage5_channels=8 * width,
    )


READERS: dict[str, Callable[[str], ReIDDataset]] = {
    "market1501": Market1501,
    "dukemtmc": DukeMTMC,
    "synergyreid": SynergyReID,
    "csv": from_csv,
}
BACKBONES: dict[str, Callable[..., StagedBackbone]] = {
    **{f"resnet{depth}": functools.partial(resnet, depth) for depth in (18, 34, 50, 101)},
    **{
        f"resnet{depth}_ibn": functools.partial(resnet, depth, ibn=True)
        for depth in (18, 34, 50, 101)
    },
    "mobilenet_v2": mobilenet_v2,
    "small_resnet": small_resnet,
}


def read_data(config: MDPRConfig) -> ReIDDataset:
    """Read the dataset's lists; the synthetic one is drawn first, once."""
    if config.dataset == "synthetic":
        root = Path(config.data_root or "runs/synthetic-people")
        return Market1501(synthetic_people(root, size=(config.height, config.width), progress=True))
    if not config.data_root:
        raise ValueError(
            f"the dataset {config.dataset} needs --data-root: the folder it was unpacked to"
            + (", or the CSV file" if config.dataset == "csv" else "")
        )
    return READERS[config.dataset](config.data_root)


def build_backbone(config: MDPRConfig, *, pretrained: bool = True) -> StagedBackbone:
    """Build the backbone, with its pretrained weights if the configuration names a file."""
    build = BACKBONES[config.backbone]
    backbone = build(ceil_pool=True) if config.ceil_pool else build()
    if config.weights and pretrained:
        print(load_backbone_weights(backbone, Path(config.weights)))
    return backbone


def train_loader(
    config: MDPRConfig, data: ReIDDataset, rank: int = 0, world_size: int = 1
) -> tuple[DataLoader[Item], PKBatchSampler]:
    """Build the batches that one process out of ``world_size`` trains on."""
    sampler = PKBatchSampler(
        [data.labels[sample.identity] for sample in data.train],
        num_identities=config.identities,
        num_images=config.images,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
    size = (config.height, config.width)
    transform = train_transform(size, flip=config.flip, erase=config.erase, patch=config.patch)
    loader = DataLoader(
        ImageDataset(data.train, transform, data.labels),
        batch_sampler=sampler,
        num_workers=config.workers,
        generator=torch.Generator(),  # it seeds the workers, and is seeded anew for each epoch
        pin_memory=torch.cuda.is_available(),
    )
    return loader, sampler


def eval_loader(config: MDPRConfig, samples: Sequence[Sample]) -> DataLoader[Item]:
    """Build a loader that gives each image once, in order, as it is."""
    return DataLoader(
        ImageDataset(samples, eval_transform((config.height, config.width))),
        batch_size=64,
        num_workers=config.workers,
        pin_memory=torch.cuda.is_available(),
    )


def pick_device(local_rank: int = 0) -> torch.device:
    """Take this process's GPU where there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def pick_precision(config: MDPRConfig, device: torch.device) -> torch.dtype:
    """Pick what autocast computes in: half precision where the device is faster for it.

    On a CPU that is bfloat16 with AMX; the older AVX-512 instructions for it take twice as long
    as float32 (measured with oneDNN's convolutions).
    """
    if config.precision != "auto":
        dtype: torch.dtype = getattr(torch, config.precision)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    cpuinfo = Path("/proc/cpuinfo")
    has_amx = cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text()
    return torch.bfloat16 if has_amx else torch.float32
