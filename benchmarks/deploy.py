"""How many images a second does an embedder take: in torch, compiled, and in ONNX Runtime?

    python benchmarks/deploy.py                      # compiling takes most of its time
    python benchmarks/deploy.py --backbones mobilenet_v2 --threads 2 --no-compile

Three networks at random weights, from uint8 images of their own size (256×128) to embeddings:
OSNet x0.25, and MobileNetV2 and ResNet-50 with a BNNeckHead. `torch` is the embedder as it is,
`folded` after `fold_for_inference`, `compiled` that one by `torch.compile(dynamic=True)`, `onnx`
what `export_onnx` writes of it for images of this size. Each number of threads has a process of its
own, in which all are timed in turns. Writes `benchmarks/results/deploy.json`, and prints the ratios
between medians, which are what counts on a machine that others use too.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from measuring import Task, fresh, in_turns, machine, write
from reidblocks.backbones import OSNet, StagedBackbone, mobilenet_v2, resnet
from reidblocks.blocks import BNNeckHead
from reidblocks.deploy import Embedder, export_onnx, fold_for_inference, load_embedder

SIZE = (256, 128)
BATCHES = (1, 16)


class WithHead(nn.Module):
    def __init__(self, backbone: StagedBackbone) -> None:
        super().__init__()
        self.backbone, self.head = backbone, BNNeckHead(backbone.stage5_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images).c5).embedding


NETWORKS = {
    "osnet_x0_25": lambda: OSNet(0.25),
    "mobilenet_v2": lambda: WithHead(mobilenet_v2()),
    "resnet50": lambda: WithHead(resnet(50)),
}


def measure(name: str, threads: int, rounds: int, compiles: bool) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = NETWORKS[name]().to(memory_format=torch.channels_last).eval()
    plain = Embedder(network, SIZE, name=name).eval().requires_grad_(False)
    folded = fold_for_inference(plain)
    found: dict[str, Any] = {"backbone": name, "threads": threads}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False), torch.no_grad():
        path = Path(folder, "a.onnx")
        found["largest difference"] = export_onnx(plain, path, image_size=SIZE)
        embedders = {"torch": plain, "folded": folded, "onnx": load_embedder(path)}
        if compiles:
            compiled = torch.compile(folded, dynamic=True)
            start = time.perf_counter()
            for batch in BATCHES[::-1]:
                compiled(torch.zeros(batch, 3, *SIZE, dtype=torch.uint8))
            found["seconds to compile"] = time.perf_counter() - start
            embedders["compiled"] = compiled
        for batch in BATCHES:
            images = torch.randint(0, 256, (batch, 3, *SIZE), dtype=torch.uint8)
            tasks: dict[str, Task] = {
                kind: partial(embedder, images) for kind, embedder in embedders.items()
            }
            found[f"batch {batch}, milliseconds"] = in_turns(tasks, rounds)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Images a second of torch as it is, and how many times that the others do."""
    lines = [
        "| network | threads | batch | torch, images/s | folded | compiled | ONNX Runtime |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        for batch in BATCHES:
            times = {k: ms["median"] for k, ms in row[f"batch {batch}, milliseconds"].items()}
            others = [
                f"{times['torch'] / times[kind]:.2f} ×" if kind in times else ""
                for kind in ("folded", "compiled", "onnx")
            ]
            rate = f"{1000 * batch / times['torch']:.1f}"
            cells = [f"`{row['backbone']}`", row["threads"], batch, rate, *others]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--one", action="store_true", help="what each process of this runs")
    options = parser.parse_args()
    if options.one:
        (name,), (threads,) = options.backbones, options.threads
        print(json.dumps(measure(name, threads, options.rounds, options.compile)))
        return
    before, rows = machine(), []
    for name in options.backbones:
        for threads in options.threads:
            flags = ["--one", "--backbones", name, "--threads", threads]
            flags += ["--rounds", options.rounds] + ["--no-compile"] * (not options.compile)
            rows.append(fresh(__file__, *flags))
            write("deploy", {"machine": before, "size": SIZE, "rows": rows})  # it takes long
    print(table(rows))


if __name__ == "__main__":
    main()
