"""How much of MDPR's inference is left to win on this machine, and where does its time go?

    python benchmarks/roofline.py [--backbone resnet50] [--size 384 192] [--batch 2]

Times each part of the network, and each of its convolutions alone, at its own size: the sum of
the latter is how fast the network could be if nothing else took time. For the network as it is
and folded, in float32 and bfloat16. Beside it what the machine reaches at best: the product of two
matrices of 2,048.
Writes `benchmarks/results/roofline.json`.
"""

import argparse
import copy
import dataclasses
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from measuring import ceiling, in_turns, machine, write
from reidblocks.deploy import fold_for_inference

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from build import build_model
from config import MDPRConfig

PARTS = ("stem", "hard.stage4", "hard.stage5", "hard.head", "soft.stage4", "soft.stage5")
PARTS += ("soft.refine4", "soft.head5", "soft.head4", "fusion.stripes", "fusion.hard")
PARTS += ("fusion.soft", "fusion.both")


def time_of_parts(network: Any, images: Tensor, rounds: int) -> dict[str, float]:
    """Milliseconds of each part and of all, medians."""
    times: dict[str, list[float]] = defaultdict(list)
    started: dict[str, float] = {}
    hooks = []
    for name in PARTS:

        def before(*_: Any, name: str = name) -> None:
            started[name] = time.perf_counter()

        def after(*_: Any, name: str = name) -> None:
            times[name].append(1000 * (time.perf_counter() - started[name]))

        part = network.get_submodule(name)
        hooks += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
    network.embed(images)
    times.clear()
    for _ in range(rounds):
        start = time.perf_counter()
        network.embed(images)
        times["all"].append(1000 * (time.perf_counter() - start))
    for hook in hooks:
        hook.remove()
    found = {name: median(each) for name, each in times.items()}
    return found | {
        "the rest": found["all"] - sum(ms for name, ms in found.items() if name != "all")
    }


def convolutions_of(network: Any, images: Tensor) -> list[tuple[nn.Module, Tensor, int]]:
    """Each convolution of its own kind and size, what it takes, and how often it runs."""
    kinds: dict[tuple[Any, ...], tuple[nn.Module, Tensor]] = {}
    counts: Counter[tuple[Any, ...]] = Counter()
    hooks = []

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        key = (repr(module), inputs[0].shape)
        kinds.setdefault(key, (module, inputs[0]))
        counts[key] += 1

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(remember))
    network.embed(images)
    for hook in hooks:
        hook.remove()
    return [(*kinds[key], counts[key]) for key in kinds]


def multiplications(module: Any, maps: Tensor) -> float:
    """10⁹ multiply-adds of a convolution."""
    places = module(maps).shape[2:].numel() * maps.shape[0]
    return places * module.weight.numel() / 1e9


def measure(network: Any, images: Tensor, rounds: int) -> dict[str, Any]:
    parts = time_of_parts(network, images, rounds)
    rows = []
    for module, maps, count in convolutions_of(network, images):
        times = in_turns({"it": lambda module=module, maps=maps: module(maps)}, rounds)["it"]
        gmacs = multiplications(module, maps)
        rows.append(
            {
                "layer": repr(module),
                "maps": list(maps.shape),
                "runs": count,
                "milliseconds of all runs": count * times["least"],
                "10^9 operations a second": 2000 * gmacs / times["least"],
            }
        )
    rows.sort(key=lambda row: -row["milliseconds of all runs"])
    return {
        "milliseconds of parts": parts,
        "milliseconds of convolutions alone": sum(row["milliseconds of all runs"] for row in rows),
        "the longest of them": rows[:12],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 192))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    height, width = options.size
    config = dataclasses.replace(
        MDPRConfig(), backbone=options.backbone, height=height, width=width
    )
    model = build_model(config).to(memory_format=torch.channels_last).eval()
    images = torch.rand(options.batch, 3, height, width)
    images = images.contiguous(memory_format=torch.channels_last)
    networks = {"plain": model, "folded": fold_for_inference(model)}
    results: dict[str, Any] = {
        "machine": machine(),
        "backbone": options.backbone,
        "images": list(images.shape),
        "10^9 operations a second": ceiling(),
    }
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            for name, network in networks.items():
                cast = copy.deepcopy(network).to(dtype)
                key = f"{name}, {dtype}".replace("torch.", "")
                results[key] = measure(cast, images.to(dtype), options.rounds)
                del cast
    write("roofline", results)
    for name, row in results.items():
        if not isinstance(row, dict) or "the longest of them" not in row:
            continue
        parts = row["milliseconds of parts"]
        alone = row["milliseconds of convolutions alone"]
        print(f"\n{name}: {parts['all']:.0f} ms, its convolutions alone {alone:.0f} ms")
        shares = sorted(((ms, part) for part, ms in parts.items() if part != "all"), reverse=True)
        print("  ", ", ".join(f"{part} {100 * ms / parts['all']:.0f}%" for ms, part in shares))
        for each in row["the longest of them"][:8]:
            print(
                f"  {each['milliseconds of all runs']:7.1f} ms"
                f"{each['10^9 operations a second']:7.0f} · 10⁹/s"
                f"  {each['runs']} × {each['layer']} on {each['maps']}"
            )


if __name__ == "__main__":
    main()
