"""One of the processes of test_gather.py: a model under DDP whose losses see the whole batch.

python gather_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE
"""

import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reidblocks._distributed import leave_group
from reidblocks.losses import (
    CircleClassifier,
    batch_hard_triplet_loss,
    circle_loss,
    gather_batch,
)

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 0])


class Network(nn.Module):
    """An embedding and, so that DDP averages their gradients too, class weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(6, 5, dtype=torch.float64)
        self.classifier = CircleClassifier(5, 4).double()

    def forward(self, loss_name: str, images: Tensor, labels: Tensor) -> Tensor:
        local = self.embed(images)
        embeddings, all_labels = gather_batch(local, labels)
        unused = 0 * self.classifier.weight.sum()
        if loss_name == "circle":
            return unused + circle_loss(embeddings, all_labels)
        if loss_name == "triplet":
            return unused + batch_hard_triplet_loss(embeddings, all_labels, margin=0.5)
        if loss_name == "classes":
            logits = self.classifier(embeddings, all_labels)
            return F.cross_entropy(logits, all_labels, label_smoothing=0.1)
        second = {"other_embeddings": embeddings, "other_labels": all_labels}
        return unused + circle_loss(local, labels, **second)  # "own anchors"


def gradients(loss_name: str, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    network = Network()
    distributed = dist.is_initialized()
    called = DistributedDataParallel(network) if distributed else network
    called(loss_name, images, labels).backward()
    return {name: each.grad for name, each in network.named_parameters()}


def penalty(images: Tensor, labels: Tensor) -> Tensor:
    """The gradient by the images of the square of the loss's own gradient by them."""
    images = images.clone().requires_grad_()
    loss = circle_loss(*gather_batch(images, labels), gamma=4.0)
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    return second


def images() -> Tensor:
    return torch.linspace(-3, 3, 48, dtype=torch.float64).view(8, 6).mul(5).sin()


def main(rank: int, world_size: int, rendezvous: str, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    found = {}
    for sizes in ([4, 4], [3, 5], [8, 0]):
        start = sum(sizes[:rank])
        own = slice(start, start + sizes[rank])
        for loss_name in ("circle", "triplet", "classes", "own anchors"):
            if loss_name != "own anchors" or sizes[0] == sizes[1]:
                found[loss_name, *sizes] = gradients(loss_name, images()[own], LABELS[own])
        gathered, labels = gather_batch(images()[own], LABELS[own])
        found["gathered", *sizes], found["labels", *sizes] = gathered, labels
        found["penalty", *sizes] = penalty(images()[own], LABELS[own])
    torch.save(found, output)
    leave_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
