"""Draw the pictures of a run: python examples/mdpr/visualize.py RUN

curves.png (losses and test figures over the epochs), ranked.png (queries and their nearest
gallery images, the worst of them first) and attention.png (A4 and A5 over the images).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from assemble import eval_loader, pick_device, read_data
from baselines import Baseline
from checkpoint import load_checkpoint, read_records
from config import MDPRConfig, from_dict
from evaluate import Score, load_model, score
from model import MDPR
from reidblocks.data import ReIDDataset, eval_transform, read_image
from reidblocks.evaluation import top_matches
from reidblocks.pictures import (
    Match,
    RankedQuery,
    TrainingRecord,
    attention_overlay,
    ranked_list,
    training_curves,
)

QUERIES, MATCHES, ATTENDED = 8, 10, 6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder that train.py wrote")
    run = parser.parse_args(arguments).run
    state = load_checkpoint(run)
    config, device = from_dict(state["config"]), pick_device()
    model, data = load_model(state).to(device), read_data(config)
    loaders = eval_loader(config, data.query), eval_loader(config, data.gallery)
    for path in draw_run(run, model, data, score(model, *loaders, device), config):
        print(path)


def draw_run(
    run: Path, model: MDPR | Baseline, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> list[Path]:
    """Write the pictures and give their paths."""
    records = [
        TrainingRecord(record["epoch"], record.get("train", {}), record.get("test", {}))
        for record in read_records(run / "metrics.jsonl")
    ]
    pictures = {
        "curves": training_curves(records, title="Training"),
        "ranked": ranked_list(ranked_queries(data, scored), title="Nearest gallery images"),
    }
    if isinstance(model, MDPR) and model.soft is not None:
        pictures["attention"] = attention(model, data, config)
    for name, figure in pictures.items():
        figure.savefig(run / f"{name}.png", dpi=150)
    return [run / f"{name}.png" for name in pictures]


def ranked_queries(data: ReIDDataset, scored: Score) -> list[RankedQuery]:
    """Rank the gallery for the worst queries and for others from all over the set."""
    worst = scored.result.worst(QUERIES // 2).tolist()
    others = [n for n in spread(len(data.query), QUERIES) if n not in worst]
    rows = worst + others[: QUERIES - len(worst)]
    nearest = top_matches(scored.query[rows], scored.gallery, k=MATCHES)
    ranked = []
    for row, found in zip(rows, nearest, strict=True):
        query = data.query[row]
        images = [data.gallery[match.index] for match in found]
        matches = [
            Match(image.path, match.correct, match.distance, image.camera)
            for image, match in zip(images, found, strict=True)
        ]
        precision = scored.result.average_precision[row].item()
        label = f"id {query.identity}"
        ranked.append(RankedQuery(query.path, matches, label, query.camera, precision))
    return ranked


def attention(model: MDPR, data: ReIDDataset, config: MDPRConfig) -> Figure:
    """Lay A4 and A5 over queries from all over the set."""
    samples = [data.query[n] for n in spread(len(data.query), ATTENDED)]
    transform = eval_transform((config.height, config.width))
    images = torch.stack([transform(read_image(sample.path)) for sample in samples])
    model.eval()
    with torch.inference_mode():
        maps5, maps4 = model.attention(images.to(next(model.parameters()).device))
    return attention_overlay(
        [sample.path for sample in samples],
        {"A4": maps4.cpu(), "A5": maps5.cpu()},
        labels=[f"id {sample.identity}" for sample in samples],
        title="Attention",
    )


def spread(length: int, count: int) -> list[int]:
    """Indices from all over a sequence, the same each time."""
    return sorted({round(n * (length - 1) / max(1, count - 1)) for n in range(count)})


if __name__ == "__main__":
    main()
