"""What does a published checkpoint find on a test split, by torchreid's definition and by ours?

    python benchmarks/published.py --data DIR --weights osnet_x0_25_msmt17.pth

DIR is in the layout of Market-1501, its images of one size, as Market-1501's are. Each image is
resized as torchreid does it (PIL, bilinear, to 8 bits) and, in another row, by the embedder itself,
which takes it as it was read; the distance is the cosine one and, in a third row, the Euclidean.
The network with random weights is beside them, and a color histogram, which has no network: 16
bins of each channel in each of 4 stripes of the image as it was read, compared by their roots.
Writes `docs/results/published.json`; then `python docs/tools/results.py` writes the table of
docs/results.md.
"""

import argparse
import copy
import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from measuring import machine
from reidblocks.data import ImageDataset, ReIDDataset, read_market1501
from reidblocks.deploy import Embedder, load_embedder
from reidblocks.evaluation import Features, evaluate, extract_features
from reidblocks.training import write_file

RESULTS = Path(__file__).resolve().parents[1] / "docs/results/published.json"


def as_read(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def by_pil(size: tuple[int, int]) -> Callable[[Image.Image], Tensor]:
    return lambda image: as_read(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def histogram(images: Tensor, stripes: int = 4, bins: int = 16) -> Tensor:
    """Return the roots of the fractions of each channel's values in each stripe."""
    parts = (images.long() * bins // 256).chunk(stripes, 2)
    counts = [F.one_hot(part.flatten(2), bins).float().mean(2) for part in parts]  # (B, 3, bins)
    return torch.cat(counts, 1).flatten(1).sqrt()


def embedded(
    embedder: Callable[[Tensor], Tensor],
    data: ReIDDataset,
    prepare: Callable[[Image.Image], Tensor],
) -> tuple[Features, Features]:
    query, gallery = (
        extract_features(embedder, DataLoader(ImageDataset(side, prepare), batch_size=32))
        for side in (data.query, data.gallery)
    )
    return query, gallery


def result(sides: tuple[Features, Features], distance: Any) -> dict[str, float]:
    found = evaluate(*sides, distance=distance)
    return {"mAP": round(found.mAP, 7), "rank-1": round(found.rank(1), 7)}


def untrained(embedder: Embedder) -> Embedder:
    """Return the same embedder with the weights that its layers draw for themselves."""
    torch.manual_seed(0)
    fresh = copy.deepcopy(embedder)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return fresh


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="in the layout of Market-1501")
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint")
    parser.add_argument("--architecture", default="osnet_x0_25")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a split that is not the published one
        data = read_market1501(options.data)
    embedder = load_embedder(options.weights, options.architecture)
    with FlopCounterMode(display=False) as counter:
        size, spec = embedder.size, embedder.spec
    told = {
        "size": spec.dimension,
        "gmacs": round(counter.get_total_flops() / 2e9, 5),
        "parameters": sum(weight.numel() for weight in embedder.network.parameters()),
    }
    theirs, ours = embedded(embedder, data, by_pil(size)), embedded(embedder, data, as_read)
    before = embedded(untrained(embedder), data, by_pil(size))
    inside = embedded(untrained(embedder), data, as_read)
    name = options.weights.stem
    rows = [
        {"title": f"{name}, {resized}", "distance": distance, **told}
        | {"untrained": result(start, distance), "trained": result(end, distance)}
        for resized, distance, start, end in (
            ("resized by PIL", "cosine", before, theirs),
            ("resized by PIL", "euclidean", before, theirs),
            ("resized by the embedder", "cosine", inside, ours),
        )
    ]
    colors = result(embedded(histogram, data, as_read), "cosine")
    what = {"title": "color histogram: 4 stripes, 3 channels, 16 bins", "distance": "cosine"}
    rows.insert(0, {**what, "size": 192, "gmacs": 0.0, "parameters": 0, "trained": colors})
    content = {
        "weights": name,
        "sha256": hashlib.sha256(options.weights.read_bytes()).hexdigest(),
        "architecture": options.architecture,
        "height, width": size,
        "queries": len(data.query),
        "gallery": len(data.gallery),
        "machine": machine() | {"device": "cpu"},
        "tables": {"embedders": {"kind": "published", "rows": rows}},
    }
    write_file(RESULTS, json.dumps(content, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
