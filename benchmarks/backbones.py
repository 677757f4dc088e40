"""What does a backbone cost, what maps does it give, and does MDPR work on it?

    python benchmarks/backbones.py             # every backbone of the table in docs/guides/timm.md
    python benchmarks/backbones.py resnet50 timm:convnext_nano

Runs each network, at random weights, and writes `benchmarks/results/backbones.json`; without
names it also writes the table of `docs/guides/timm.md`. timm's networks are left out where timm is
missing.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from reidblocks.backbones import (
    StagedBackbone,
    mobilenet_v2,
    resnet,
    timm_backbone,
    torchvision_backbone,
)
from reidblocks.training import write_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/backbones.json"
PAGE = ROOT / "docs/guides/timm.md"
PLACE = re.compile(r"(<!-- backbones -->\n).*?(<!-- end -->)", re.DOTALL)
OURS: dict[str, Callable[[], StagedBackbone]] = {
    "resnet18": lambda: resnet(18),
    "resnet18_ibn": lambda: resnet(18, ibn=True),
    "resnet34": lambda: resnet(34),
    "resnet50": lambda: resnet(50),
    "resnet50_ibn": lambda: resnet(50, ibn=True),
    "resnet101_ibn": lambda: resnet(101, ibn=True),
    "mobilenet_v2": mobilenet_v2,
}
NAMES = [
    *OURS,
    "torchvision:mobilenet_v3_small",
    "torchvision:mobilenet_v3_large",
    "torchvision:efficientnet_b0",
    "torchvision:efficientnet_v2_s",
    "torchvision:regnet_y_400mf",
    "torchvision:regnet_y_3_2gf",
    "torchvision:resnext50_32x4d",
    "torchvision:convnext_tiny",
    "torchvision:swin_t",
    "timm:mobilenetv4_conv_small",
    "timm:efficientnet_b0",
    "timm:regnety_032",
    "timm:resnet50d",
    "timm:convnextv2_nano",
    "timm:swin_tiny_patch4_window7_224",
    "timm:deit_tiny_patch16_224",
    "timm:vit_small_patch16_224",
    "timm:vit_small_patch14_dinov2",
    "timm:vit_small_patch14_reg4_dinov2",
]


def build(name: str) -> StagedBackbone:
    source, _, rest = name.rpartition(":")
    if source == "":
        return OURS[name]()
    return {"torchvision": torchvision_backbone, "timm": timm_backbone}[source](rest)


def works_in_mdpr(backbone: StagedBackbone, images: Tensor) -> str:
    """Train one step of the paper's network on the backbone, if need be without its fusion."""
    sys.path.insert(0, str(ROOT / "examples/mdpr"))
    from config import MDPRConfig
    from model import MDPR

    reasons = []
    for fusion, works in ((True, "yes"), (False, "without fusion")):
        config = MDPRConfig(embed_dim=64, fusion=fusion)
        try:
            network = MDPR(backbone, config).to(images.device)
            output = network.train()(images)
            features = [output.features[name].embedding for name in config.trained_features()]
            torch.cat(features, 1).square().mean().backward()
            network.eval().embed(images)
        except (RuntimeError, ValueError) as error:
            reasons.append(str(error).partition("\n")[0])
        else:
            return works
    return f"no: {reasons[-1]}"


@torch.no_grad()
def images_per_second(backbone: StagedBackbone, images: Tensor, seconds: float) -> float:
    """Run batches for about this long and take the quickest: others use the machine too."""
    backbone.eval()
    backbone(images)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        backbone(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return len(images) / best


def measure(name: str, size: tuple[int, int], batch: int, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    if "patch14" in name:  # a whole, even number of patches
        size = (size[0] // 28 * 28, size[1] // 28 * 28)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = build(name).to(device)
    works = works_in_mdpr(backbone, torch.rand(2, 3, *size, device=device))
    image = torch.rand(1, 3, *size, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = backbone.eval()(image)
    return {
        "name": name,
        "size": list(size),
        "parameters": sum(weight.numel() for weight in backbone.parameters()),
        "stage4": list(features.c4.shape[1:]),
        "stage5": list(features.c5.shape[1:]),
        "operations": counter.get_total_flops(),
        "images_per_second": images_per_second(
            backbone, torch.rand(batch, 3, *size, device=device), seconds
        ),
        "mdpr": works,
    }


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0].partition(":")[2].strip() if models else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def table(results: dict[str, Any]) -> str:
    height, width = results["size"]
    on = results["machine"]
    device = on["gpu"] or f"{on['cores']} cores of {on['cpu']}"
    lines = [
        "`python benchmarks/backbones.py` wrote this table, by running each network on images of",
        f"{height}×{width} (whole patches where a patch is 14×14), last stride 1 where it can be",
        "had. Operations: multiplications and additions for one image, in 10⁹, counted by torch.",
        f"Images per second: inference, float32, batches of {results['batch']}, on {device},",
        f"torch {on['torch']}. MDPR: one training step and one embedding went through; its",
        "fusion needs two maps of one size.",
        "",
        "| backbone | 10⁶ weights | stage4 | stage5 | 10⁹ operations | images/s | MDPR |",
        "|---|--:|--:|--:|--:|--:|:-:|",
    ]
    for row in results["backbones"]:
        maps = ["×".join(str(n) for n in row[stage]) for stage in ("stage4", "stage5")]
        lines.append(
            f"| `{row['name']}` | {row['parameters'] / 1e6:.1f} | {maps[0]} | {maps[1]} "
            f"| {row['operations'] / 1e9:.2f} | {row['images_per_second']:.1f} "
            f"| {row['mdpr']} |"
        )
    return "\n".join(lines) + "\n"


def filled(page: str, results: dict[str, Any]) -> str:
    """Put the table in its place on the page."""
    return PLACE.sub(lambda found: f"{found[1]}\n{table(results)}\n{found[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="backbones; none: those of the docs' table")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), help="of an image")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing, each")
    options = parser.parse_args()
    rows = []
    for name in options.names or NAMES:
        if name.startswith("timm:") and importlib.util.find_spec("timm") is None:
            print(f"{name}: left out, timm is not installed")
            continue
        rows.append(measure(name, tuple(options.size), options.batch, options.seconds))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    results = {
        "machine": machine(),
        "size": list(options.size),
        "batch": options.batch,
        "backbones": rows,
    }
    if options.names:
        return
    RESULTS.parent.mkdir(exist_ok=True)
    write_file(RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_file(PAGE, filled(PAGE.read_text("utf-8"), results))


if __name__ == "__main__":
    main()
