"""What a finished run is worth and what it costs: figures, per query too, in its folder."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines import Network
from build import build_model, load_checkpoint, load_model, read_data
from config import MDPRConfig, from_dict, read_json
from evaluate import Score, figures, score_split, searched_with
from reidblocks.training import atomic_path, read_records, write_file

OUTCOME, QUERIES = "outcome.json", "queries.pt"
OF_A_QUERY = "average_precision", "inverse_negative_penalty", "first_match_rank", "query_ids"
ALL = "all"  # the name of the set of every feature


def key(features: Sequence[str]) -> str:
    """Name a set of features."""
    return " ".join(features) or ALL


def measure(run: Path, wanted: Iterable[tuple[str, ...]], changes: dict[str, Any]) -> None:
    """Evaluate a run's last checkpoint by each set of features; write outcome.json, queries.pt."""
    state = load_checkpoint(run)
    config = from_dict(state["config"])
    names, data = config.trained_features(), read_data(config)
    model = load_model(state, names)
    sets = sorted(set(wanted), key=key)
    trained = by_features(score_split(model, config, data), model, sets)
    torch.manual_seed(config.seed)  # the network as train.py began with it
    start = build_model(dataclasses.replace(config, features=names or config.features))
    untrained = by_features(score_split(start, config, data), start, sets)

    records, here = read_records(run / "metrics.jsonl"), read_json(run / "environment.json")[-1]
    settings = dataclasses.asdict(config)
    del settings["data_root"], settings["weights"], here["machine"]["system"]  # of one place
    outcome = {
        "run": run.name,
        "seed": config.seed,
        "changes": changes,
        "config": settings,
        "seconds": round(sum(record.get("seconds", 0.0) for record in records), 1),
        "machine": {"devices": here["devices"], **here["machine"], **here["versions"]},
        "curve": [
            {"epoch": each["epoch"], **rounded(each.get("train", {}) | each.get("test", {}))}
            for each in records
        ],
        "parameters_in_training": sum(p.numel() for p in model.parameters()),
        "features": {
            key(each): {
                "trained": rounded(figures(trained[key(each)])),
                "untrained": rounded(figures(untrained[key(each)])),
                **cost(load_model(state, each or names), config),
            }
            for each in sets
        },
    }
    queries = {
        name: {field: getattr(scored.result, field) for field in OF_A_QUERY}
        for name, scored in trained.items()
    }
    with atomic_path(run / QUERIES) as partial:
        torch.save(queries, partial)
    write_file(run / OUTCOME, json.dumps(outcome, indent=1) + "\n")


def by_features(scored: Score, model: Network, sets: Sequence[tuple[str, ...]]) -> dict[str, Score]:
    """Evaluate each set by its columns of the whole embedding."""
    sizes = {name: model.sizes[name] for name in model.features}
    results = {}
    for each in sets:
        names = model.config.feature_names(each) if each else ()
        results[key(each)] = searched_with(scored, sizes, names or model.features)
    return results


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Keep the digits that mean something."""
    return {name: round(value, 5) for name, value in values.items()}


def cost(model: Network, config: MDPRConfig) -> dict[str, float | int]:
    """Give what embedding one image takes: values, 10⁹ multiplications, parameters that took part.

    Multiplications are those of convolutions and matrix products.
    """
    model.eval().zero_grad()
    with FlopCounterMode(display=False) as counter:
        vector = model.embed(torch.zeros(1, 3, config.height, config.width))
    torch.autograd.backward(vector.sum())
    used = sum(p.numel() for p in model.parameters() if p.grad is not None)
    gmacs = round(counter.get_total_flops() / 2e9, 5)
    return {"size": vector.shape[1], "gmacs": gmacs, "parameters": used}
