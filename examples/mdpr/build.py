"""From a configuration to what it names (data, loaders, network), and back from a checkpoint."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from baselines import Baseline, Network
from config import MDPRConfig, from_dict
from model import MDPR
from networks import build_network
from reidblocks import data as reid
from reidblocks.backbones import StagedBackbone, load_backbone_weights
from reidblocks.evaluation import eval_mode
from reidblocks.training import Checkpoints, DistributedContext, StopRequest, autocast_dtype
from reidblocks.training import load_checkpoint as read_checkpoint_file

EVAL_BATCH = 64  # images


def read_data(config: MDPRConfig, *, to_train: bool = False) -> reid.ReIDDataset:
    """Read the dataset's lists; the synthetic one is drawn first, once.

    Raises:
        ValueError: there are no images to test on or, asked for ``to_train``, to train on.
    """
    if config.dataset == "synthetic":
        root = Path(config.data_root or "runs/synthetic-people")
        size = config.height, config.width
        return reid.read_market1501(reid.synthetic_people(root, size=size, progress=True))
    if not config.data_root:
        raise ValueError(
            f"the dataset {config.dataset} needs --data-root: the folder it was unpacked to"
            + (", or the CSV file" if config.dataset == "csv" else "")
        )
    data = reid.READERS[config.dataset](config.data_root)
    for split in ("train", "query", "gallery") if to_train else ("query", "gallery"):
        if not getattr(data, split):
            raise ValueError(
                f"--dataset {config.dataset} --data-root {config.data_root} has no images of the "
                f"split {split}: name another --dataset, or split its people (split_people and "
                "write_csv of reidblocks.data) and give the table as --dataset csv"
            )
    return data


def build_backbone(
    config: MDPRConfig, *, pretrained: bool = True, quiet: bool = False
) -> StagedBackbone:
    """Build the backbone, with pretrained weights if the configuration asks for them."""
    download = pretrained and config.weights == "pretrained"
    backbone = build_network(config.backbone, ceil_pool=config.ceil_pool, pretrained=download)
    if config.weights not in ("", "pretrained") and pretrained:
        report = load_backbone_weights(backbone, Path(config.weights))
        if not quiet:
            print(report)
    return backbone


def build_model(config: MDPRConfig, *, pretrained: bool = True, quiet: bool = False) -> Network:
    """Build MDPR, or the baseline that the configuration names, and try it on a black image."""
    backbone = build_backbone(config, pretrained=pretrained, quiet=quiet)
    model = MDPR(backbone, config) if config.network == "mdpr" else Baseline(backbone, config)
    try:
        with eval_mode(model), torch.no_grad():
            black = torch.zeros(1, 3, config.height, config.width)
            model(black, everything=True) if isinstance(model, MDPR) else model(black)
    except ValueError as error:
        what = f"{config.backbone} on images of {config.height}×{config.width}"
        raise ValueError(f"{what} (--height, --num-parts, --no-fusion): {error}") from error
    return model


def load_model(state: dict[str, Any], features: Sequence[str] | None = None) -> Network:
    """Rebuild the network of a checkpoint, giving other features if asked."""
    config = from_dict(state["config"])
    if features:
        config = config.with_features(features)
    return rebuild(config, state["model"], "the checkpoint")


def rebuild(config: MDPRConfig, weights: Mapping[str, Tensor], source: str | Path) -> Network:
    """Build the configuration's network with these weights, all of which must fit."""
    expect_finite(weights, source)
    model = build_model(config, pretrained=False)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        faults = str(error).split("\n\t")[1:]
        more = f" and {len(faults) - 2} faults more" if len(faults) > 2 else ""
        raise ValueError(
            f"{source} does not fit its configuration: {' '.join(faults[:2])}{more}"
        ) from error
    return model


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, or the newest of a run's folder; nothing in it is ever executed."""
    if path.is_dir():
        try:
            state, path, refused = Checkpoints(path).newest(device)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"no checkpoint at {path / 'last.pt'}; train.py writes last.pt and best.pt"
            ) from error
        for reason in refused:
            print(f"{reason}\ngoing on with the older {path}")
    else:
        state = read_checkpoint_file(path, device)
    if not {"config", "model", "epoch"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of train.py: it has no config, model and epoch")
    return state


def expect_finite(weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise where a network's weights hold NaN or infinite values."""
    if bad := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(bad)} of its {len(weights)} weights, "
            f"such as {bad[0]}: take a checkpoint from before the training diverged"
        )


def train_loader(
    config: MDPRConfig, data: reid.ReIDDataset, rank: int = 0, world_size: int = 1
) -> tuple[DataLoader[reid.Item], reid.PKBatchSampler]:
    """Build the batches that one process out of ``world_size`` trains on, as bytes."""
    sampler = reid.PKBatchSampler(
        [data.labels[sample.identity] for sample in data.train],
        num_identities=config.identities, num_images=config.images, seed=config.seed,
        rank=rank, world_size=world_size,
    )  # fmt: skip
    size = (config.height, config.width)
    images = reid.ImageDataset(
        data.train, reid.resize_transform(size), data.labels, target_size=size
    )
    pixels = reid.CachedImages(images, progress=rank == 0) if config.cache else images
    return loader_of(config, pixels, sampler, persistent=True), sampler


def loader_of(
    config: MDPRConfig, images: Dataset[reid.Item], batches: Any, *, persistent: bool = False
) -> DataLoader[reid.Item]:
    """Load batches in the processes that the configuration asks for; cached images need none."""
    workers = 0 if config.cache else config.workers
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=StopRequest.outlive,
        persistent_workers=persistent and workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def eval_loader(
    config: MDPRConfig,
    samples: Sequence[reid.Sample],
    transform: Callable[[Any], Tensor] | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[reid.Item]:
    """Build a loader that gives each image once, in order, as it is.

    Of several processes each takes every ``world_size``-th batch: a batch holds the same images
    however many there are, so that its features are the same to the last bit.
    """
    size = (config.height, config.width)
    transform = transform or reid.eval_transform(size)
    images: Dataset[reid.Item] = reid.ImageDataset(samples, transform, target_size=size)
    if config.cache:
        pixels = reid.ImageDataset(samples, reid.resize_transform(size), target_size=size)
        images = reid.CachedImages(pixels, transform)
    places = list(range(len(samples)))
    batches = [places[n : n + EVAL_BATCH] for n in range(0, len(places), EVAL_BATCH)]
    return loader_of(config, images, batches[rank::world_size])


def pick_precision(config: MDPRConfig, device: torch.device) -> torch.dtype:
    """Return what autocast computes in."""
    if config.precision == "auto":
        return autocast_dtype(device)
    dtype: torch.dtype = getattr(torch, config.precision)
    return dtype


def settle_precision(config: MDPRConfig, world: DistributedContext) -> MDPRConfig:
    """Replace precision "auto" by what rank 0 picks: all processes and all resuming keep to it."""
    name: Any = str(world.broadcast(pick_precision(config, world.device))).removeprefix("torch.")
    return dataclasses.replace(config, precision=name)
