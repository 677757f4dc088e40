"""Evaluate a checkpoint: python examples/mdpr/evaluate.py RUN [--features hard soft]

RUN is the folder that train.py wrote, one of its checkpoints, or a folder of share.py. The
test set is the run's own unless --dataset and --data-root name another.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from tqdm import tqdm

from baselines import Baseline
from build import eval_loader, pick_device, pick_precision, read_data
from commands import run_script, script_parser
from config import choices
from model import MDPR
from reidblocks.evaluation import (
    Evaluation,
    FeatureAccumulator,
    Features,
    eval_mode,
    evaluate,
)
from share import load_any


class Score(NamedTuple):
    """The features of both sides, as the pictures need them, and what they are worth."""

    query: Features
    gallery: Features
    result: Evaluation


def score(
    model: MDPR | Baseline,
    query: Iterable[Any],
    gallery: Iterable[Any],
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> Score:
    """Embed both sides of the test and rank the one for the other, by cosine distance.

    Several processes each embed what their loaders give, and all rank the whole.
    """

    def embed(images: Tensor) -> Tensor:
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            return model.embed(images).float()

    with eval_mode(model), torch.inference_mode():
        queries, images = (_features(embed, side) for side in (query, gallery))
    return Score(queries, images, evaluate(queries, images))


def _features(embed: Callable[[Tensor], Tensor], loader: Iterable[Any]) -> Features:
    """Embed what this process's loader gives, and join what all processes embedded."""
    together = distributed.is_available() and distributed.is_initialized()
    side = FeatureAccumulator()
    quiet = together and distributed.get_rank() > 0
    for batch in tqdm(loader, "test", unit="batch", leave=False, disable=quiet):
        side.update(embed(batch.image), batch.label, batch.camera, positions=batch.position)
    return side.compute(gather=together)


def figures(score: Score) -> dict[str, float]:
    """Give the five figures of the table, as fractions."""
    result = score.result
    ranks = {f"rank-{k}": result.rank(k) for k in (1, 5, 10)}
    return {"mAP": result.mAP, **ranks, "mINP": result.mINP}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Write figures in percent, a line for each row."""
    names = list(next(iter(rows.values())))
    lines = [" " * 12 + "".join(f"{name:>9}" for name in names)]
    for title, values in rows.items():
        lines.append(f"{title:<12}" + "".join(f"{100 * values[name]:>8.1f}%" for name in names))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, checkpoint or shared folder")
    parser.add_argument("--features", nargs="+", help="hard, soft, fusion or single ones")
    datasets = choices("dataset")
    parser.add_argument("--dataset", choices=datasets)
    parser.add_argument("--data-root")
    precisions = choices("precision")
    parser.add_argument("--precision", choices=precisions, help="the run's own if left out")
    options = parser.parse_args(arguments)

    shared = load_any(options.run, options.features)
    model, config = shared.model, shared.config
    if options.dataset:
        config = dataclasses.replace(config, dataset=options.dataset, data_root="")
    if options.data_root:
        config = dataclasses.replace(config, data_root=options.data_root)
    if options.precision:
        config = dataclasses.replace(config, precision=options.precision)
    data, device = read_data(config), pick_device()
    print(data.summary())
    query, gallery = (
        eval_loader(config, side, shared.preprocessing.transform())
        for side in (data.query, data.gallery)
    )
    result = score(model.to(device), query, gallery, device, pick_precision(config, device))
    print(f"{shared.origin}, features {', '.join(model.features)}")
    print(result.result)


if __name__ == "__main__":
    run_script(main)
