"""Draw what came of a run: python examples/mdpr/report.py RUN

curves.png (losses and metrics over the epochs), ranked.png (queries and their nearest gallery
images, the worst of them first), attention.png (A4 and A5 over the images), and report.html: all
of it and more in one file, with ranked lists to be filtered.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from baselines import Baseline, Network
from build import eval_loader, load_checkpoint, load_model, read_data
from commands import script_parser
from config import MDPRConfig
from evaluate import Score, score_split, searched_with
from reidblocks import visualization as draw
from reidblocks.data import ReIDDataset, Sample, mask_path, read_masks
from reidblocks.evaluation import eval_mode
from reidblocks.training import atomic_path, read_records, run_script

SHOWN, ATTENDED = 8, 6  # queries in ranked.png and attention.png
EXAMINED = 256  # queries whose attention maps are examined


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint in it")
    run = parser.parse_args(arguments).run
    state = load_checkpoint(run)
    model = load_model(state)
    data = read_data(config := model.config)
    scored = score_split(model, config, data)
    for path in draw_run(run.parent if run.is_file() else run, model, data, scored, config):
        print(path)


def draw_run(
    run: Path, model: Network, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> list[Path]:
    """Write the pictures and the report, and return their paths."""
    records = read_records(run / "metrics.jsonl")
    pictures = {
        "curves": draw.training_curves(training_records(records), title="Training"),
        "ranked": draw.ranked_list(ranked(scored), title="Nearest gallery images"),
    }
    if attended := attention(model, data, config):
        pictures["attention"] = attended
    for name, figure in pictures.items():
        with atomic_path(run / f"{name}.png") as partial:
            figure.savefig(partial, dpi=150)
    report = write_run_report(run / "report.html", model, data, scored, records)
    return [*(run / f"{name}.png" for name in pictures), report]


def write_run_report(
    path: Path, model: Network, data: ReIDDataset, scored: Score, records: list[dict[str, Any]]
) -> Path:
    """Write everything there is to see of a run into one HTML file."""
    config = model.config

    def maps(rows: Sequence[int]) -> dict[str, Tensor]:
        return attention_maps(model, [data.query[row] for row in rows], config)

    found = draw.evaluation_sections(scored.query, scored.gallery, name="trained", maps=maps)
    metrics, curves = found["Metrics"], found["Curves"]
    if records and records[0]["epoch"] == 0 and isinstance(metrics[0], draw.ReportTable):
        untrained = ["untrained", *map(percent, records[0]["test"].values())]
        metrics[0] = metrics[0]._replace(rows=[untrained, *metrics[0].rows])
    if records:
        figure = draw.training_curves(training_records(records))
        curves.insert(0, draw.ReportFigure(figure, "Losses and test metrics over the epochs"))
    sections: dict[str, Sequence[draw.ReportPart]] = {
        "Metrics": metrics,
        "Queries": found["Queries"],
        "Attention": examined(model, data.query, config),
        "Features": [by_feature(scored, {name: model.sizes[name] for name in model.features})],
        "Cameras": found["Cameras"],
        "Curves": curves,
        "Map": found["Map"],
        "Configuration": [configuration(config)],
    }
    counts = f"{len(data.query):,} queries, {len(data.gallery):,} gallery images"
    trained = f"{records[-1]['epoch']} epochs, " if records else ""
    return draw.write_report(
        path,
        f"{config.network.replace('mdpr', 'MDPR')} on {config.dataset}",
        {name: parts for name, parts in sections.items() if parts},
        f"{path.parent.name}: {trained}{counts}",
    )


def training_records(records: Sequence[dict[str, Any]]) -> list[draw.TrainingRecord]:
    return [draw.TrainingRecord(r["epoch"], r.get("train", {}), r.get("test", {})) for r in records]


def ranked(scored: Score) -> list[draw.RankedQuery]:
    """Rank the gallery for the worst queries, and for others from all over the set."""
    rows: list[int] = scored.result.worst(SHOWN // 2).tolist()
    rows += [n for n in spread(len(scored.query), SHOWN) if n not in rows][: SHOWN - len(rows)]
    return draw.ranked_queries(
        scored.query, scored.gallery, rows, keep_excluded=True, evaluation=scored.result
    )


def attention(
    model: Network, data: ReIDDataset, config: MDPRConfig, count: int = ATTENDED
) -> Figure | None:
    """Lay A4 and A5 over queries from all over the set; None of a network without them."""
    samples = [data.query[n] for n in spread(len(data.query), count)]
    if not (maps := attention_maps(model, samples, config)):
        return None
    labels = [f"person {data.identity_name(sample.identity)}" for sample in samples]
    return draw.attention_overlay([s.path for s in samples], maps, labels=labels, title="Attention")


def attention_maps(
    model: Network, samples: Sequence[Sample], config: MDPRConfig
) -> dict[str, Tensor]:
    """Compute A4 and A5 (B, K, H, W) of these images; nothing of a network without them."""
    if isinstance(model, Baseline) or model.soft is None:
        return {}
    device = next(model.parameters()).device
    loader = eval_loader(dataclasses.replace(config, workers=0, cache=False), samples)
    with eval_mode(model), torch.inference_mode():
        found = [model.attention(batch.image.to(device)) for batch in loader]
    return {name: torch.cat([each[name].float().cpu() for each in found]) for name in ("A4", "A5")}


def examined(
    model: Network, queries: Sequence[Sample], config: MDPRConfig
) -> list[draw.ReportPart]:
    """Say of each map whether it does its work and, where masks are, lies on the person."""
    samples = [queries[row] for row in spread(len(queries), EXAMINED)]
    paths = [sample.path for sample in samples]
    masked = all(mask_path(path).is_file() for path in paths)
    masks = read_masks(paths, (config.height, config.width)) if masked else None
    return draw.attention_section(attention_maps(model, samples, config), masks)


def by_feature(scored: Score, sizes: Mapping[str, int]) -> draw.ReportTable:
    """Search with each feature alone, with each branch, and with all."""
    subsets = {name: [name] for name in sizes}
    for branch, found in groupby(sizes, lambda name: name.split("_")[0]):
        if len(names := list(found)) > 1:
            subsets[f"{branch}, together"] = names
    subsets["all"] = list(sizes)
    rows = []
    for title, names in subsets.items():
        try:
            result = searched_with(scored, sizes, names).result
            values = [percent(v) for v in (result.mAP, *map(result.rank, (1, 5)), result.mINP)]
        except ValueError:  # a feature that is zero
            values = ["–"] * 4
        rows.append([title, sum(map(sizes.__getitem__, names)), *values])
    return draw.ReportTable(["feature", "dimensions", "mAP", "rank-1", "rank-5", "mINP"], rows)


def configuration(config: MDPRConfig) -> draw.ReportTable:
    """List every field, and mark where the run differs from the default."""
    rows = []
    for name, own in dataclasses.asdict(config).items():
        default = getattr(MDPRConfig(), name)
        values = [own] if own == default else [own, default]
        shown = [", ".join(v) if isinstance(v, tuple) else str(v) for v in values]
        rows.append([name, shown[0], "".join(shown[1:])])
    return draw.ReportTable(["field", "this run", "default, where it differs"], rows)


def spread(length: int, count: int) -> list[int]:
    """Return indices from all over a sequence, the same each time."""
    return sorted({round(n * (length - 1) / max(1, count - 1)) for n in range(count)})


def percent(value: float | Tensor) -> str:
    return f"{100 * float(value):.1f}%"


if __name__ == "__main__":
    run_script(main)
