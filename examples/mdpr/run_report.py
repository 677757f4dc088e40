"""The report of a run: one HTML file with its settings, figures, ranked lists and attention."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from baselines import Baseline
from breakdown import by_cameras, by_feature, percent
from config import MDPRConfig
from evaluate import Score, figures
from looks import attention_maps, ranked_queries, spread
from model import MDPR
from reidblocks.data import ReIDDataset
from reidblocks.evaluation import Features, confidence_intervals, verify
from reidblocks.visualization import (
    PairDistances,
    QueryCard,
    ReportFigure,
    ReportPart,
    ReportQueries,
    ReportTable,
    ReportWarning,
    TrainingRecord,
    attention_health,
    cmc_curves,
    distance_histogram,
    embedding_map,
    precision_recall_curves,
    training_curves,
    write_report,
)

QUERIES = 50  # of the best, of those in the middle, of the worst
ATTENDED = 256  # queries whose maps are examined
PAIRED = 400  # queries in the curves over pairs
MAPPED = 12  # people on the map
FALSE_MATCHES = 0.01


def write_run_report(
    path: Path,
    model: MDPR | Baseline,
    data: ReIDDataset,
    scored: Score,
    config: MDPRConfig,
    records: Sequence[dict[str, Any]],
) -> Path:
    """Write everything there is to see of a run into one HTML file."""
    sections: dict[str, Sequence[ReportPart]] = {
        "Metrics": measured(scored, records),
        "Queries": [queries(model, data, scored, config)],
    }
    if attention := attended(model, data, config):
        sections["Attention"] = attention
    sections |= {
        "Features": [by_feature(scored, {name: model.sizes[name] for name in model.features})],
        "Cameras": list(by_cameras(scored)),
        "Curves": list(curves(scored, records)),
        "Map": people(data, scored),
        "Configuration": [configuration(config)],
    }
    counts = f"{len(data.query):,} queries, {len(data.gallery):,} gallery images"
    trained = f"{records[-1]['epoch']} epochs, " if records else ""
    return write_report(
        path,
        f"{config.network.replace('mdpr', 'MDPR')} on {config.dataset}",
        sections,
        f"{path.parent.name}: {trained}{counts}",
    )


def measured(scored: Score, records: Sequence[dict[str, Any]]) -> list[ReportPart]:
    """Set the trained network's figures beside the untrained one's."""
    trained = figures(scored)
    tested = scored.result.query_ids[~scored.result.average_precision.isnan()]
    sure = confidence_intervals(scored.result) if len(set(tested.tolist())) > 1 else {}
    rows: list[list[str]] = []
    if records and records[0]["epoch"] == 0 and "test" in records[0]:
        rows.append(["untrained", *map(percent, records[0]["test"].values())])
    rows.append(["trained", *map(percent, trained.values())])
    ends = [sure[n][1:] if n in sure else None for n in trained]
    between = [f"{100 * both[0]:.1f} to {100 * both[1]:.1f}" if both else "" for both in ends]
    rows.append(["95% interval", *between])
    note = "The interval is that of the trained network over other people, by bootstrap."
    if not sure:
        note = "One person alone was tested: an interval over people takes at least two."
    first, *rest = (line.strip() for line in str(scored.result.report).splitlines())
    left_out = (
        ReportWarning(first) if scored.result.report.num_dropped else f"{first.capitalize()}."
    )
    return [ReportTable(["", *trained], rows, "Cosine distance"), note, left_out, *rest]


def queries(
    model: MDPR | Baseline, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> ReportQueries:
    """List the queries that are found worst, those in the middle and those found best."""
    order = scored.result.worst(len(data.query))
    count = len(order)
    if count < 3:
        groups = {"Queries": order}
    elif count <= 3 * QUERIES:
        worst, middle, best = order.tensor_split(3)
        groups = {"Worst": worst, "Median": middle, "Best": best.flip(0)}
    else:
        start = (count - QUERIES) // 2
        groups = {
            "Worst": order[:QUERIES],
            "Median": order[start : start + QUERIES],
            "Best": order[-QUERIES:].flip(0),
        }
    rows = torch.cat(list(groups.values())).tolist()
    names = [name for name, group in groups.items() for _ in group]
    maps = attention_maps(model, [data.query[row] for row in rows], config)
    cards = [
        QueryCard(ranked, name, {group: values[n] for group, values in maps.items()})
        for n, (ranked, name) in enumerate(
            zip(ranked_queries(data, scored, rows), names, strict=True)
        )
    ]
    if len(rows) < count:
        caption = (
            f"The {QUERIES} worst, the {QUERIES} in the middle and the {QUERIES} best of the "
            f"{count:,} queries with a right match in the gallery, by average precision. The "
            f"filter searches these {len(rows)}."
        )
    else:
        caption = f"All {count:,} queries with a right match in the gallery, by average precision."
    return ReportQueries(cards, caption)


def attended(model: MDPR | Baseline, data: ReIDDataset, config: MDPRConfig) -> list[ReportPart]:
    """Say of each attention map whether it does its work."""
    rows = spread(len(data.query), ATTENDED)
    groups = attention_maps(model, [data.query[row] for row in rows], config)
    parts: list[ReportPart] = [f"Over {some(len(rows), len(data.query))}."] if groups else []
    for name, maps in groups.items():
        health = attention_health(maps)
        overlap = health.overlap - torch.eye(len(health.overlap), dtype=torch.float64)
        lines = [
            [f"map {k + 1}", percent(taken), f"{peak:.2f}", f"{entropy:.2f}", f"{shared:.2f}"]
            for k, (taken, peak, entropy, shared) in enumerate(
                zip(health.coverage, health.peak, health.entropy, overlap.amax(1), strict=True)
            )
        ]
        lines.append(["background", percent(health.background), "", "", ""])
        header = ["", "coverage", "peak", "entropy", "most overlap with another"]
        parts.append(ReportTable(header, lines, f"{name}, {maps.shape[2]}×{maps.shape[3]} places"))
        parts += [ReportWarning(f"{name}: {warning}") for warning in health.warnings]
        if not health.warnings:
            parts.append(f"{name}: no map is dead or flat, no two maps are one.")
    return parts


def curves(scored: Score, records: Sequence[dict[str, Any]]) -> Iterable[ReportPart]:
    """Draw what happened in training, and the curves over ranks and over pairs."""
    if records:
        yield ReportFigure(
            training_curves(training_records(records)),
            "Losses and test figures over the epochs",
        )
    yield ReportFigure(
        cmc_curves(
            {"trained": scored.result.cmc[:20]}, "Queries with a right image among the first"
        ),
        "Cumulative matching curve",
    )
    rows = spread(len(scored.query), PAIRED)
    query, gallery = scored.query[rows], scored.gallery
    pairs = pair_distances(query, gallery)
    if not pairs.same.numel() or not pairs.different.numel():
        return
    try:
        threshold = (
            verify(query, gallery, max_false_match_rate=FALSE_MATCHES)
            .threshold_at(FALSE_MATCHES)
            .distance
        )
        chosen = f"The threshold takes {FALSE_MATCHES:.0%} of the pairs of two people for one."
    except ValueError as error:  # too few pairs
        threshold, chosen = None, f"No threshold: {error}."
    yield f"Pairs of {some(len(rows), len(scored.query))} with the gallery. {chosen}"
    yield ReportFigure(
        distance_histogram(pairs, threshold, "Distances"),
        "Distances of pairs of one person and of two people",
    )
    yield ReportFigure(
        precision_recall_curves({"trained": pairs}, "Is a pair one person?"),
        "Precision against recall over all pairs",
    )


def people(data: ReIDDataset, scored: Score) -> list[ReportPart]:
    """Lay out the embeddings of some people in a plane."""
    ids = torch.unique(scored.query.ids)
    chosen = ids[spread(len(ids), MAPPED)]
    values, labels, images = [], [], []
    for side, samples in ((scored.query, data.query), (scored.gallery, data.gallery)):
        for row in torch.isin(side.ids, chosen).nonzero().flatten().tolist():
            values.append(side.values[row])
            labels.append(f"id {samples[row].identity}")
            images.append(samples[row].path)
    embeddings = F.normalize(torch.stack(values).float().cpu())
    figure = embedding_map(embeddings, labels, images, f"Embeddings of {len(chosen)} people")
    return [ReportFigure(figure, "Embeddings in the plane of their largest variance")]


def configuration(config: MDPRConfig) -> ReportTable:
    """List every field, and mark where the run differs from the paper's setting."""
    paper = MDPRConfig()
    rows = []
    for field in dataclasses.fields(config):
        own, theirs = getattr(config, field.name), getattr(paper, field.name)
        rows.append([field.name, written(own), "" if own == theirs else written(theirs)])
    return ReportTable(["field", "this run", "paper, where it differs"], rows)


def training_records(records: Sequence[dict[str, Any]]) -> list[TrainingRecord]:
    return [
        TrainingRecord(record["epoch"], record.get("train", {}), record.get("test", {}))
        for record in records
    ]


def pair_distances(query: Features, gallery: Features) -> PairDistances:
    """Cosine distances of all pairs that the Market rule counts."""
    sides = [F.normalize(side.values.float()) for side in (query, gallery)]
    distances = 1 - sides[0] @ sides[1].T
    same = query.ids[:, None] == gallery.ids
    counted = (query.ids != -1)[:, None] & (gallery.ids != -1)
    if query.cameras is not None and gallery.cameras is not None:
        own = (query.cameras[:, None] == gallery.cameras) & (gallery.cameras != -1)
        counted &= ~(same & own)
    return PairDistances(distances[same & counted].cpu(), distances[~same & counted].cpu())


def some(count: int, whole: int) -> str:
    return f"all {whole:,} queries" if count == whole else f"{count:,} of the {whole:,} queries"


def written(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
