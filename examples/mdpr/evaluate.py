"""Evaluate a checkpoint: python examples/mdpr/evaluate.py RUN [--features hard soft]

RUN is the folder that train.py wrote, one of its checkpoints, or a folder of share.py. The
test set is the run's own unless --dataset and --data-root name another.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from baselines import Network
from build import eval_loader, pick_precision, read_data
from commands import script_parser
from config import MDPRConfig, choices
from reidblocks.data import ReIDDataset
from reidblocks.evaluation import Evaluation, Features, eval_mode, evaluate, extract_features
from reidblocks.training import pick_device, run_script
from share import load_any


class Score(NamedTuple):
    """The features of both sides, as the pictures need them, and what they are worth."""

    query: Features
    gallery: Features
    result: Evaluation


def score(
    model: Network,
    query: Iterable[Any],
    gallery: Iterable[Any],
    device: torch.device,
    precision: torch.dtype = torch.float32,
    *,
    names: ReIDDataset | None = None,
    progress: bool = True,
) -> Score:
    """Embed both sides of the test and rank the one for the other, by cosine distance.

    Several processes each embed what their loaders give, and all rank the whole. The features
    keep the names of people and cameras of the data set ``names``, for reports. ``progress`` is
    shown on a terminal.
    """

    def embed(images: Tensor) -> Tensor:
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            return model.embed(images).float()

    def features(side: Iterable[Any]) -> Features:
        off = None if progress else True  # None: where stderr is no terminal
        bar = tqdm(side, "test", unit="batch", leave=False, ncols=79, disable=off)
        return extract_features(embed, bar, names=names, gather=True)

    with eval_mode(model):
        queries, images = features(query), features(gallery)
    return Score(queries, images, evaluate(queries, images))


def score_split(
    model: Network,
    config: MDPRConfig,
    data: ReIDDataset,
    transform: Callable[[Any], Tensor] | None = None,
) -> Score:
    """Score a network on the queries and the gallery of a data set, in this process alone."""
    device = pick_device()
    query, gallery = (eval_loader(config, side, transform) for side in (data.query, data.gallery))
    precision = pick_precision(config, device)
    return score(model.to(device), query, gallery, device, precision, names=data)


def searched_with(scored: Score, sizes: Mapping[str, int], names: Sequence[str]) -> Score:
    """Search with the columns of some features alone; ``sizes`` are those of all."""

    def columns(side: Features) -> Features:
        split = torch.split(side.values, list(sizes.values()), 1)
        parts = dict(zip(sizes, split, strict=True))
        return dataclasses.replace(side, values=torch.cat([parts[name] for name in names], 1))

    query, gallery = columns(scored.query), columns(scored.gallery)
    return Score(query, gallery, evaluate(query, gallery))


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
    parser.add_argument("--dataset", choices=choices("dataset"))
    parser.add_argument("--data-root")
    parser.add_argument("--precision", choices=choices("precision"), help="the run's by default")
    options = parser.parse_args(arguments)

    shared = load_any(options.run, options.features)
    model, config = shared.model, shared.config
    others: dict[str, Any] = {"data_root": ""} if options.dataset else {}
    for name in ("dataset", "data_root", "precision"):
        others |= {name: value} if (value := getattr(options, name)) else {}
    config = dataclasses.replace(config, **others)
    data = read_data(config)
    print(data.summary())
    scored = score_split(model, config, data, shared.preprocessing.transform())
    print(f"{shared.origin}, features {', '.join(model.features)}\n{scored.result}")


if __name__ == "__main__":
    run_script(main)
