"""What do the losses over pairs cost, against a plain version and against a peer?

    python benchmarks/losses.py                          # B = 64 to 4,096, D = 512
    python benchmarks/losses.py --sizes 64 256 --seconds 3

Forward and backward of circle loss and batch-hard triplet loss, 16 images an identity, written to
`benchmarks/results/losses.json` with the machine it ran on; where there is a GPU, on it, to
`losses_gpu.json`. All that is compared is timed in one run, alternating; the least and the median
of the rounds are given, since others may use the machine, and `ratios` are of medians. `plain` is
the equation on the whole matrix in a few lines of torch, without any care for its precision;
pytorch-metric-learning is of the extra "dev". `chunked` is ours with `chunk_size=256`. Peak memory
is what the process grows by, gradient included, each in a process of its own, or what is allocated
on a GPU; `keeps` is what is held from the forward to the backward pass; `operators` is how many of
torch's are dispatched, views included. `MDPR` are the fourteen pair terms of its criterion, and
those with the circle loss over classes, on features of its sizes.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from measuring import (
    DEVICE,
    fresh,
    in_turns,
    kept_mb,
    machine,
    operators,
    peak_mb,
    write,
)
from reidblocks.losses import (
    BatchHardTriplet,
    CircleClassifier,
    CircleLoss,
    batch_hard_triplet_loss,
    circle_loss,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from criterion import circle_over_classes, over_pairs

Loss = Callable[[Tensor, Tensor], Tensor]


def plain_circle(embeddings: Tensor, labels: Tensor) -> Tensor:
    unit = F.normalize(embeddings)
    s = unit @ unit.T
    same = labels[:, None] == labels
    pairs = same & ~torch.eye(len(labels), dtype=torch.bool, device=s.device)
    positive = -64 * (1.35 - s.detach()).relu() * (s - 0.65)
    negative = 64 * (s.detach() + 0.35).relu() * (s - 0.35)
    positive = positive.masked_fill(~pairs, -1e9).logsumexp(1)
    return F.softplus(positive + negative.masked_fill(same, -1e9).logsumexp(1)).mean()


def plain_triplet(embeddings: Tensor, labels: Tensor) -> Tensor:
    distances = torch.cdist(embeddings, embeddings)
    same = labels[:, None] == labels
    farthest = distances.masked_fill(~same, 0).amax(1)
    return F.relu(0.3 + farthest - distances.masked_fill(same, torch.inf).amin(1)).mean()


def peers() -> dict[str, Loss]:
    from pytorch_metric_learning import distances, losses, miners

    euclidean = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=euclidean)
    triplet = losses.TripletMarginLoss(margin=0.3, distance=euclidean)
    # over the triplets whose loss is not 0; so, unlike ours, is its mean
    return {
        "circle": losses.CircleLoss(m=0.35, gamma=64),
        "triplet": lambda embeddings, labels: triplet(
            embeddings, labels, miner(embeddings, labels)
        ),
    }


def step(loss: Loss, embeddings: Tensor, labels: Tensor) -> Tensor:
    embeddings.grad = None
    value = loss(embeddings, labels)
    value.backward()
    return value.detach()


def batch(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(size) // 16
    centres = 0.3 * torch.randn(size // 16, 512, generator=generator)[labels]
    embeddings = centres + torch.randn(size, 512, generator=generator)
    return embeddings.to(DEVICE).requires_grad_(), labels.to(DEVICE)


def peak(loss: Loss, size: int) -> float:
    embeddings, labels = batch(size)
    step(loss, embeddings, labels)
    embeddings.grad = None
    return peak_mb(lambda: step(loss, embeddings, labels), DEVICE)


def measure(name: str, losses: dict[str, Loss], size: int, rounds: int) -> dict[str, Any]:
    embeddings, labels = batch(size)
    tasks = {
        kind: lambda loss=loss: step(loss, embeddings, labels) for kind, loss in losses.items()
    }
    values = {kind: float(task()) for kind, task in tasks.items()}
    milliseconds = in_turns(tasks, rounds, warm_up=2)
    counts = {kind: operators(task) for kind, task in tasks.items()}
    ours = milliseconds["ours"]["median"]
    return {
        "rounds": rounds,
        "values": values,
        "peak_mb_above_inputs": {
            kind: peak(loss, size)
            if DEVICE.type == "cuda"
            else fresh(__file__, "--peak", name, kind, size)
            for kind, loss in losses.items()
        },
        "operators": counts,
        "keeps, MB": {kind: kept_mb(loss, (embeddings, labels)) for kind, loss in losses.items()},
        "milliseconds": milliseconds,
        "ratios": {
            "operators over plain": counts["ours"] / counts["plain"],
            "time over plain": ours / milliseconds["plain"]["median"],
            "times as fast as pytorch-metric-learning": (
                milliseconds["pytorch_metric_learning"]["median"] / ours
            ),
        },
    }


WIDTHS = {"hard_g5": 512, "hard_p1": 512, "hard_p2": 512, "soft_g5": 512, "soft_g4": 512}
WIDTHS |= {"fusion": 2048, "soft_bap5": 1024, "soft_bap4": 1024}


def terms_of_mdpr(
    circle: Callable[[int], nn.Module], size: int, rounds: int, num_classes: int | None = None
) -> dict[str, Any]:
    """Operators and time of eight circle and six triplet terms, ours and plain ones one by one."""
    _, labels = batch(size)
    features = {
        name: torch.randn(size, width, device=DEVICE, requires_grad=True)
        for name, width in WIDTHS.items()
    }
    circles = nn.ModuleDict({name: circle(width) for name, width in WIDTHS.items()}).to(DEVICE)
    compared = {name: each for name, each in features.items() if "bap" not in name}
    triplet = BatchHardTriplet(margin=0.05)

    def ours() -> None:
        if num_classes is None:
            terms = over_pairs(circles["fusion"], features, labels)
        else:
            terms = circle_over_classes(circles, features, labels, smoothing=0.1)
        triplets = over_pairs(triplet, compared, labels)
        torch.stack([*terms.values(), *triplets.values()]).sum().backward()

    def one_by_one() -> None:
        terms = [plain_triplet(each, labels) for each in compared.values()]
        for name, each in features.items():
            if num_classes is None:
                terms.append(plain_circle(each, labels))
            else:
                terms.append(plain_classes(each, labels, circles[name].weight))
        torch.stack(terms).sum().backward()

    tasks = {"ours": ours, "plain": one_by_one}
    return {
        "operators": {kind: operators(task) for kind, task in tasks.items()},
        "milliseconds": in_turns(tasks, rounds, warm_up=2),
    }


def plain_classes(embeddings: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    s = F.normalize(embeddings) @ F.normalize(weight).T
    own = F.one_hot(labels, len(weight)).bool()
    positive = 64 * (1.35 - s.detach()).relu() * (s - 0.65)
    negative = 64 * (s.detach() + 0.35).relu() * (s - 0.35)
    return F.cross_entropy(torch.where(own, positive, negative), labels, label_smoothing=0.1)


def many_classes(rounds: int) -> dict[str, Any]:
    """50,000 classes at B = 256, D = 512."""
    embeddings, labels = batch(256)
    head = CircleClassifier(512, 50_000).to(DEVICE)

    def task() -> None:
        F.cross_entropy(head(embeddings, labels), labels).backward()

    return {"milliseconds": in_turns({"ours": task}, rounds), "operators": operators(task)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--seconds", type=float, default=10, help="about how long for each")
    parser.add_argument("--short", action="store_true", help="a result of its own, short_losses")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)  # LOSS KIND SIZE, by itself
    options = parser.parse_args()
    compared: dict[str, dict[str, Loss]] = {
        "circle": {
            "ours": circle_loss,
            "plain": plain_circle,
            "chunked": partial(circle_loss, chunk_size=256),
        },
        "triplet": {
            "ours": batch_hard_triplet_loss,
            "plain": plain_triplet,
            "chunked": partial(batch_hard_triplet_loss, chunk_size=256),
        },
    }
    for name, loss in peers().items():
        compared[name]["pytorch_metric_learning"] = loss
    if options.peak:
        name, kind, size = options.peak
        print(json.dumps(peak(compared[name][kind], int(size))))
        return
    results: dict[str, Any] = {
        "machine": machine(),
        "D": 512,
    }
    for name, losses in compared.items():
        for size in options.sizes:
            rounds = min(max(3, int(options.seconds * 50_000 / size**2)), 300)
            results[f"{name}, B={size}"] = measure(name, losses, size, rounds)
            print(
                f"{name}, B={size}", json.dumps(results[f"{name}, B={size}"]["ratios"]), flush=True
            )
    rounds = min(max(3, int(options.seconds * 10)), 100)
    results["MDPR, 14 pair terms, B=64"] = terms_of_mdpr(lambda _: CircleLoss(), 64, rounds)
    results["MDPR, circle loss over 751 classes, B=64"] = terms_of_mdpr(
        lambda width: CircleClassifier(width, 751), 64, rounds, num_classes=751
    )
    results["CircleClassifier, 50,000 classes, B=256"] = many_classes(3)
    write("short_losses" if options.short else "losses", results, DEVICE)


if __name__ == "__main__":
    main()
