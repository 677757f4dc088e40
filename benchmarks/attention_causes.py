"""Why attention maps miss the person: one thing changed at a time, one epoch of the soft branch.

    python benchmarks/attention_causes.py [NAME ...]

Each variant trains on synthetic people as the preset does, but for what it changes, and is
measured on the queries: how much of each stage's overlay, of its background and of its features'
norm lies on the person, over the fraction of the image that the person fills (1 is chance). The
runs lie in runs/attention-causes; results go to "causes" in results/attention.json.
"""

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models.resnet import BasicBlock

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "mdpr"))

import train
from attention import QUERIES, RESULTS
from build import eval_loader, load_checkpoint, load_model, read_data
from config import PRESETS
from networks import NETWORKS, small_resnet
from reidblocks import AttentionGenerator
from reidblocks.backbones import StagedBackbone
from reidblocks.blocks import AttentionOutput
from reidblocks.data import mask_path, read_masks, synthetic_people
from reidblocks.training import read_records
from reidblocks.visualization import attention_health
from report import spread

RUNS = Path("runs/attention-causes")


def coarse() -> StagedBackbone:
    """Build a network of twice the depth and half the resolution behind the same stem."""

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
        )

    return StagedBackbone.measured(small_resnet().stem, stage(64, 128, 2), stage(128, 256, 1))


@contextmanager
def uniform_maps() -> Iterator[None]:
    """Let every map be the same everywhere: there is no attention."""
    draw = AttentionGenerator.forward

    def forward(self: AttentionGenerator, features: Tensor) -> AttentionOutput:
        maps, background, raw = draw(self, features)
        share = 1 / raw.shape[1]
        return AttentionOutput(0 * maps + share, 0 * background + share, raw)

    with patch.object(AttentionGenerator, "forward", forward):
        yield


def plain_people() -> Path:
    """Draw people before one color each, another for each picture, and return their folder."""
    folder = synthetic_people(RUNS / "plain-people", progress=True)
    if not (done := folder / "plain.txt").exists():
        rng = random.Random(0)
        for path in sorted(folder.glob("*/*.jpg")):
            with Image.open(path) as picture, Image.open(mask_path(path)) as mask:
                color = tuple(rng.randrange(40, 220) for _ in range(3))
                plain = Image.new("RGB", picture.size, color)
                Image.composite(picture.convert("RGB"), plain, mask.convert("L")).save(path)
        done.write_text("the backgrounds are plain\n")
    return folder


BEFORE = {"backbone": "coarse", "refine4": "conv", "background_bias": None}
VARIANTS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "8x4 maps": (BEFORE, nullcontext),
    "8x4 maps, uniform": (BEFORE, uniform_maps),
    "8x4 maps, plain backgrounds": (BEFORE, nullcontext),
    "8x4 maps, bias 2": (BEFORE | {"refine4": "block", "background_bias": 2.0}, nullcontext),
    "16x8 maps": (BEFORE | {"backbone": "small_resnet"}, nullcontext),
    "16x8 maps, bias 0": ({"background_bias": 0.0}, nullcontext),
    "16x8 maps, bias 1": ({"background_bias": 1.0}, nullcontext),
    "16x8 maps, bias 2": ({}, nullcontext),
    "16x8 maps, bias 3": ({"background_bias": 3.0}, nullcontext),
    "16x8 maps, bias 2, no ReLU before A4": ({"refine4": "conv"}, nullcontext),
}


def measured(name: str) -> dict[str, Any]:
    """Train a variant and measure it."""
    NETWORKS.setdefault("coarse", coarse)
    changes, context = VARIANTS[name]
    run = RUNS / name.replace(",", "").replace(" ", "-")
    plain = {"dataset": "market1501", "data_root": str(plain_people())} if "plain" in name else {}
    config = dataclasses.replace(
        PRESETS["synthetic"], branches="soft", epochs=1, cache=True, pictures=False,
        **{"data_root": str(RUNS / "people"), **plain, **changes},
    )  # fmt: skip
    with context():
        if not (run / "metrics.json").exists():
            train.launch(config, out=run)
        model: Any = load_model(load_checkpoint(run)).eval()
        data = read_data(config)
        samples = [data.query[row] for row in spread(len(data.query), QUERIES)]
        masks = read_masks([sample.path for sample in samples], (config.height, config.width))
        found: list[dict[str, Tensor]] = []
        for batch in eval_loader(config, samples):
            with torch.inference_mode():
                c4 = model.soft.stage4(model.stem(batch.image))
                features = {"C4": c4, "C5": model.soft.stage5(c4)}
                found.append(model.attention(batch.image) | features)
    values = {stage: torch.cat([each[stage] for each in found]) for stage in found[0]}
    result: dict[str, Any] = {}
    for n in ("5", "4"):
        maps, norm = values[f"A{n}"], values[f"C{n}"].norm(dim=1, keepdim=True)
        health = attention_health(maps, masks)
        result[f"A{n}"] = rounded(health.on_person)
        background = 1 - maps.sum(1, keepdim=True)
        result[f"A{n} background"] = rounded(attention_health(background, masks).on_person)[0]
        result[f"A{n} background coverage"] = round(health.background, 3)
        result[f"C{n} norm"] = rounded(attention_health(norm / norm.amax(), masks).on_person)[0]
    *_, last = read_records(run / "metrics.jsonl")
    circle = sum(value for term, value in last["train"].items() if term.startswith("circle"))
    return result | {"circle": round(circle, 1), "mAP": round(100 * last["test"]["mAP"], 1)}


def references() -> dict[str, dict[str, float]]:
    """Measure maps that are the mask itself, and the mean of all masks, the same for all images."""
    data = read_data(dataclasses.replace(PRESETS["synthetic"], data_root=str(RUNS / "people")))
    samples = [data.query[row] for row in spread(len(data.query), QUERIES)]
    masks = read_masks([sample.path for sample in samples], (128, 64))
    found = {}
    for height, width in ((8, 4), (16, 8)):
        person = adaptive_avg_pool2d(masks, (height, width)).unsqueeze(1)
        middle = person.mean(0, keepdim=True).expand_as(person)
        found[f"{height}x{width}"] = {
            "the mask": rounded(attention_health(person, masks).on_person)[0],
            "the mean mask": rounded(attention_health(middle, masks).on_person)[0],
        }
    return found


def rounded(values: Tensor | None) -> list[float]:
    return [] if values is None else [round(float(value), 3) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(VARIANTS)}")
    names = parser.parse_args().names or list(VARIANTS)
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in ["references", *names]:
        result = references() if name == "references" else measured(name)
        print(name, result, flush=True)
        results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        results.setdefault("causes", {})[name] = result
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
