"""What does a lower precision cost in mAP, on real images?

    python benchmarks/precision.py RUN [--data-root DIR] [--limit 60] [--float16]

Evaluates the checkpoint of a run of examples/mdpr in float32, folded, in bfloat16 (folded, the
whole network cast; with --float16 in float16 too), under bfloat16 autocast, and with its
convolutions' weights rounded to int8 (one scale an output channel): what storing them so would
cost. One reading of the images; mAP and rank-1, seconds for all images. Writes
`benchmarks/results/precision.json`, or `precision_float16.json`.
"""

import argparse
import copy
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from measuring import machine, write
from reidblocks import fold_for_inference
from reidblocks.evaluation import Features, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from assemble import eval_loader, read_data
from checkpoint import load_checkpoint
from config import from_dict
from evaluate import load_model


def with_int8_weights(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            scale = module.weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
            module.weight.data = (module.weight / scale).round() * scale
    return model


@torch.inference_mode()
def embed_all(networks: dict[str, Any], loader: Any, seconds: dict[str, float]) -> dict[str, Any]:
    """Give the features of every network for all images of one side."""
    values: dict[str, list[Tensor]] = {name: [] for name in networks}
    identities, cameras = [], []
    for batch in loader:
        images = batch.image.contiguous(memory_format=torch.channels_last)
        identities.append(torch.as_tensor(batch.label))
        cameras.append(torch.as_tensor(batch.camera))
        for name, network in networks.items():
            dtype = next(network.parameters()).dtype
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in name):
                values[name].append(network.embed(images.to(dtype)).float())
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    who, where = torch.cat(identities), torch.cat(cameras)
    return {name: Features(torch.cat(each), who, where) for name, each in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--data-root")
    parser.add_argument("--limit", type=int, help="people of the test set, the first so many")
    parser.add_argument("--float16", action="store_true", help="too: slow without hardware for it")
    options = parser.parse_args()
    state = load_checkpoint(options.run)
    config = from_dict(state["config"])
    for name in ("dataset", "data_root"):
        if getattr(options, name):
            config = dataclasses.replace(config, **{name: getattr(options, name)})
    data = read_data(config)
    query, gallery = data.query, data.gallery
    if options.limit:
        people = sorted({sample.identity for sample in query})[: options.limit]
        query, gallery = (
            [sample for sample in side if sample.identity in people] for side in (query, gallery)
        )
    plain = load_model(state).to(memory_format=torch.channels_last).eval()
    folded = fold_for_inference(plain)
    networks = {
        "float32": plain,
        "float32, folded": folded,
        "bfloat16, folded": copy.deepcopy(folded).bfloat16(),
        "bfloat16 autocast": plain,
        "int8 weights, folded": with_int8_weights(folded),
    }
    if options.float16:
        networks["float16, folded"] = copy.deepcopy(folded).half()
    seconds: dict[str, float] = {}
    sides = [embed_all(networks, eval_loader(config, side), seconds) for side in (query, gallery)]
    rows: dict[str, Any] = {}
    for name in networks:
        result = evaluate(sides[0][name], sides[1][name])
        rows[name] = {"mAP": result.mAP, "rank-1": result.rank(1), "seconds": seconds[name]}
        rows[name]["change of mAP, points"] = 100 * (result.mAP - rows["float32"]["mAP"])
    write(
        "precision_float16" if options.float16 else "precision",
        {
            "machine": machine(),
            "network": f"{config.backbone}, {config.height}×{config.width}, M={config.embed_dim}",
            "data": config.dataset,
            "queries": len(query),
            "gallery": len(gallery),
            **rows,
        },
    )


if __name__ == "__main__":
    main()
