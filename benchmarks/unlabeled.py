"""What training on unlabeled crops gains from a network that was trained on other people.

    python benchmarks/unlabeled.py [--seeds 0 1 2] [--epochs 6]

All people are synthetic. A small network is trained on 96 people by cameras 1 and 2, with labels.
Then it meets 48 others by cameras 3 and 4, without labels: their crops are clustered, and it is
trained on the clusters, as in docs/guides/unlabeled.md; once with the labeled people in each
step, as SpCL does, and once without. For comparison the norms alone see the crops. B-cubed F is
of these crops; mAP, across cameras, is of 24 further people by cameras 3 and 4, whom no training
sees. A seed takes a minute or two on one core.
"""

import argparse
import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from reidblocks.data import PKBatchSampler, draw_person
from reidblocks.evaluation import (
    Features,
    dbscan_clusters,
    eval_mode,
    evaluate,
    evaluate_clusters,
)
from reidblocks.losses import circle_loss


class Crops(NamedTuple):
    images: Tensor
    ids: Tensor
    cameras: Tensor


def draw(people: Sequence[int], cameras: Sequence[int], shots: int) -> Crops:
    rows = [(n, camera, shot) for n in people for camera in cameras for shot in range(shots)]
    pixels = [pil_to_tensor(draw_person(*row, size=(64, 32))) for row in rows]
    ids, seen, _ = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Crops(torch.stack(pixels).float() / 127.5 - 1, ids, seen)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, wider in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(width, wider, 3, 2, 1), nn.BatchNorm2d(wider), nn.ReLU()]
        self.maps = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.maps(images), (4, 1)).flatten(1)

    def embed(self, images: Tensor) -> Tensor:
        with eval_mode(self), torch.no_grad():
            return F.normalize(self(images), dim=1)


def augmented(images: Tensor) -> Tensor:
    """Flip half of them, and change brightness and contrast of each color a little."""
    flip = torch.rand(len(images), 1, 1, 1) < 0.5
    gain, shift = (0.4 * (torch.rand(len(images), 3, 1, 1) - 0.5) for _ in range(2))
    return torch.where(flip, images.flip(3), images) * (1 + gain) + shift


def with_labels(model: Network, crops: Crops, rows: list[int]) -> Tensor:
    embeddings = model(augmented(crops.images[rows]))
    return circle_loss(embeddings, crops.ids[rows], margin=0.25, gamma=32)


def forever(sampler: PKBatchSampler) -> Iterator[list[int]]:
    while True:
        yield from sampler


def start(labeled: Crops, epochs: int = 25) -> Network:
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sampler = PKBatchSampler(labeled.ids.tolist(), num_identities=16, num_images=4)
    for _ in range(epochs):
        for rows in sampler:
            optimizer.zero_grad()
            with_labels(model, labeled, rows).backward()
            optimizer.step()
    return model


def clustered(embeddings: Tensor) -> Tensor:
    return dbscan_clusters(embeddings, eps=0.6, min_samples=3, k1=8, k2=3)


def train(model: Network, crops: Crops, labeled: Crops | None, epochs: int) -> None:
    """Train on the clusters of crops whose identities are not looked at."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    beside: Iterator[list[int]] = iter(())
    if labeled is not None:
        beside = forever(PKBatchSampler(labeled.ids.tolist(), num_identities=12, num_images=4))
    for epoch in range(epochs):
        embeddings = model.embed(crops.images)
        clusters = clustered(embeddings)
        number = int(clusters.max()) + 1
        if number < 2:
            return
        means = [embeddings[clusters == cluster].mean(0) for cluster in range(number)]
        memory, numbers = F.normalize(torch.stack(means), dim=1), torch.arange(number)
        inside = (clusters >= 0).nonzero().squeeze(1)
        sampler = PKBatchSampler(
            clusters[inside].tolist(), num_identities=min(12, number), num_images=4, seed=epoch
        )
        for places in sampler:
            rows = inside[places]
            found, own = model(augmented(crops.images[rows])), clusters[rows]
            second = {"other_embeddings": memory, "other_labels": numbers}
            loss = circle_loss(found, own, margin=0.25, gamma=32, **second)
            if labeled is not None:
                loss = loss + with_labels(model, labeled, next(beside))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for vector, cluster in zip(F.normalize(found.detach(), dim=1), own, strict=True):
                memory[cluster] = F.normalize(0.8 * memory[cluster] + 0.2 * vector, dim=0)


def adapt(model: Network, crops: Crops, epochs: int) -> None:
    """Let the norms alone see the crops: what is gained without any cluster."""
    model.train()
    with torch.no_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(crops.images)).split(48):
                model(augmented(crops.images[rows]))


def report(name: str, model: Network, crops: Crops, tested: Crops) -> None:
    found = evaluate_clusters(clustered(model.embed(crops.images)), crops.ids)
    side = Features(model.embed(tested.images), tested.ids, tested.cameras)
    told = f"B-cubed precision {found.bcubed_precision:.2f}, recall {found.bcubed_recall:.2f}"
    print(f"{name:<30} {told}, F {found.bcubed_f:.3f}; mAP {evaluate(side, side).mAP:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    labeled = draw(range(100, 196), (1, 2), 3)
    crops, tested = draw(range(48), (3, 4), 4), draw(range(48, 72), (3, 4), 4)
    for seed in options.seeds:
        torch.manual_seed(seed)
        begun = start(labeled)
        report(f"seed {seed}: start", begun, crops, tested)
        model = copy.deepcopy(begun)
        adapt(model, crops, options.epochs)
        report("  norms alone", model, crops, tested)
        for name, beside in (("with the labeled people", labeled), ("clusters alone", None)):
            torch.manual_seed(seed)
            model = copy.deepcopy(begun)
            train(model, crops, beside, options.epochs)
            report(f"  {name}", model, crops, tested)


if __name__ == "__main__":
    main()
