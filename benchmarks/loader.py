"""Do images come as fast as a network can learn from them?

    python benchmarks/loader.py --data-root DIR [--workers 2] [--size 384 192]

Compares ways from a folder of images to augmented float batches, on the same processor cores:
the plain pipeline (PIL resizes, torchvision's transforms work on each image in the workers),
`train_transform` (each image in the workers, as uint8 tensors), `BatchAugmentation` (the workers
decode and resize, the batch is augmented after them) and `CachedImages` (decoded once, before).
The main process has one thread for it, as under torchrun: there are as many workers as cores.
Then each is put beside a training step of `--network`, and the slower of the two is named. Writes
`benchmarks/results/loader.json`, with the machine. All are timed in turns, in one run; the
quickest of the rounds is taken and the median given beside it. Without --data-root people are
drawn, in the size of Market-1501's images.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from measuring import machine, write
from reidblocks import BatchHardTriplet, EmbeddingHead
from reidblocks.backbones import resnet
from reidblocks.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BatchAugmentation,
    CachedImages,
    ImageDataset,
    PKBatchSampler,
    RandomPatch,
    ReIDDataset,
    read_market1501,
    resize_transform,
    synthetic_people,
    train_transform,
)

SETTINGS = ("size", "batch", "workers", "rounds", "seconds", "depth", "steps")
Batches = Generator[tuple[Tensor, Tensor], None, None]


def plain_transform(size: tuple[int, int]) -> transforms.Compose:
    """The usual pipeline: PIL resizes and flips, everything else works on one float image."""
    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            RandomPatch(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            transforms.RandomErasing(0.5, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3)),
        ]
    )


def ways(data: ReIDDataset, options: argparse.Namespace) -> dict[str, Callable[[], Batches]]:
    """Each way to get batches, as a function that begins anew."""
    size = tuple(options.size)
    augment = BatchAugmentation()

    def begin(images: Any, workers: int, after: nn.Module | None) -> Callable[[], Batches]:
        sampler = PKBatchSampler(
            [data.labels[sample.identity] for sample in data.train],
            num_identities=options.batch // 4,
            num_batches=1_000_000,
        )
        loader = DataLoader(images, batch_sampler=sampler, num_workers=workers)

        def batches() -> Batches:
            for batch in loader:
                yield (batch.image if after is None else after(batch.image)), batch.label

        return batches

    workers = options.workers
    resized = ImageDataset(data.train, resize_transform(size), data.labels, target_size=size)
    each = {
        "plain": ImageDataset(data.train, plain_transform(size), data.labels),
        "train_transform": ImageDataset(data.train, train_transform(size), data.labels),
    }
    return {
        **{name: begin(images, workers, None) for name, images in each.items()},
        "batch": begin(resized, workers, augment),
        "cached": begin(CachedImages(resized, progress=True), 0, augment),
    }


def images_per_second(batches: Batches, seconds: float) -> float:
    """Images that come in a while, after the first few batches have started the workers."""
    for _ in range(4):
        next(batches)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        count += len(next(batches)[0])
    return count / (time.perf_counter() - begun)


def learner(options: argparse.Namespace) -> Callable[[Tensor, Tensor], None]:
    """One step of training a ResNet."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = resnet(options.depth)
    network = nn.ModuleDict(
        {"backbone": backbone, "head": EmbeddingHead(backbone.stage5_channels, 256)}
    ).to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    triplet = BatchHardTriplet()

    def step(images: Tensor, labels: Tensor) -> None:
        embedding = network["head"](network["backbone"](images.to(device)).c5).embedding
        loss = triplet(embedding, labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def beside_training(batches: Batches, step: Callable[[Tensor, Tensor], None], steps: int) -> Any:
    """Images a second of training, and the share of the time that it waited for images."""
    step(*next(batches))
    begun, waited, count = time.perf_counter(), 0.0, 0
    for _ in range(steps):
        ready = time.perf_counter()
        images, labels = next(batches)
        waited += time.perf_counter() - ready
        step(images, labels)
        count += len(images)
    spent = time.perf_counter() - begun
    return {
        "images_per_second": count / spent,
        "waited": waited / spent,
        "bottleneck": "loader" if waited > spent / 2 else "network",
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", help="Market-1501; drawn people if left out")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 192), help="height, width")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch, P × 4")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each way in each round")
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet that learns")
    parser.add_argument("--steps", type=int, default=4, help="of training for each way")
    parser.add_argument("--name", default="loader", help="of the file under results/")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data_root or synthetic_people(
            scratch, num_train_identities=64, num_test_identities=1, progress=True
        )
        data = read_market1501(root)
        begin = ways(data, options)
        rates: dict[str, list[float]] = {name: [] for name in begin}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(options.rounds):
            for name, way in begin.items():
                batches = way()
                rates[name].append(images_per_second(batches, options.seconds))
                batches.close()  # ends the workers, which would go on drawing ahead
        torch.set_num_threads(threads)
        step, training = learner(options), {}
        for name, way in begin.items():
            batches = way()
            training[name] = beside_training(batches, step, options.steps)
            batches.close()
    best = {name: max(found) for name, found in rates.items()}
    result = {
        "question": "images a second of the loader alone, and beside training",
        "machine": machine(),
        "images": {"count": len(data.train), "drawn": options.data_root is None},
        "settings": {
            n: getattr(options, n) for n in ("size", "batch", "workers", "rounds", "depth")
        },
        "loader": {
            name: {
                "images_per_second": {"best": best[name], "median": statistics.median(found)},
                "over_plain": best[name] / best["plain"],
            }
            for name, found in rates.items()
        },
        "training": training,
    }
    write(options.name, result)
    for name, rate in best.items():
        told = training[name]
        print(
            f"{name:<16}{rate:>8.0f} images/s, {rate / best['plain']:.1f} × plain; training "
            f"{told['images_per_second']:.1f} images/s, bottleneck: {told['bottleneck']}"
        )


if __name__ == "__main__":
    sys.exit(main())
