"""What is `spare_strided_depthwise` worth in a training step on a CPU?

    python benchmarks/depthwise.py [--size 128 64] [--batch 64]

MobileNetV2 with last stride 1, forward and backward: in float32, under bfloat16 autocast, and so
with its strided depthwise convolutions in float32. Writes `benchmarks/results/depthwise.json`.
"""

import argparse
from typing import Any

import torch
from torch import Tensor, nn

from measuring import Task, in_turns, machine, write
from reidblocks.backbones import mobilenet_v2
from reidblocks.training import spare_strided_depthwise


def step(network: nn.Module, images: Tensor, autocast: bool) -> None:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        maps = network(images).stage5
    maps.float().square().mean().backward()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(128, 64))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.manual_seed(0)
    images = torch.rand(options.batch, 3, *options.size)
    images = images.contiguous(memory_format=torch.channels_last)
    tasks: dict[str, Task] = {}
    for name in ("float32", "bfloat16", "bfloat16, spared"):
        network = mobilenet_v2().to(memory_format=torch.channels_last).train()
        if name.endswith("spared"):
            spare_strided_depthwise(network)
        tasks[name] = lambda network=network, name=name: step(network, images, name != "float32")
    milliseconds = in_turns(tasks, options.rounds)
    before = milliseconds["bfloat16"]["median"]
    results: dict[str, Any] = {
        "machine": machine(),
        "images": list(images.shape),
        "milliseconds": milliseconds,
        "over bfloat16": {name: times["median"] / before for name, times in milliseconds.items()},
    }
    write("depthwise", results)


if __name__ == "__main__":
    main()
