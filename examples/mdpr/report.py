"""Draw what came of a run: python examples/mdpr/report.py RUN

curves.png (losses and metrics over the epochs), ranked.png (queries and their nearest gallery
images, the worst of them first), attention.png (A4 and A5 over the images), and report.html: all
of it and more in one file, with ranked lists to be filtered.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from baselines import Baseline, Network
from build import load_checkpoint, load_model, read_data
from commands import run_script, script_parser
from config import MDPRConfig, from_dict
from evaluate import Score, figures, score_split, searched_with
from reidblocks import visualization as draw
from reidblocks.data import ReIDDataset, Sample, eval_transform, read_image
from reidblocks.evaluation import (
    Evaluation,
    Features,
    confidence_intervals,
    evaluate,
    top_matches,
    verify,
)
from reidblocks.training import atomic_path, read_records
from reidblocks.visualization import (
    PairDistances,
    ReportFigure,
    ReportPart,
    ReportTable,
    ReportWarning,
)

Parts = Iterable[ReportPart]

SHOWN, ATTENDED = 8, 6  # queries in ranked.png and attention.png
MATCHES = 10  # that count, in a ranked list; junk between them is shown beside
QUERIES = 50  # of the best, of those in the middle, of the worst
EXAMINED = 256  # queries whose attention maps are examined
PAIRED = 400  # queries in the curves over pairs
MAPPED = 12  # people on the map
CAMERAS = 12  # in the tables of pairs of cameras
FALSE_MATCHES = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint in it")
    run = parser.parse_args(arguments).run
    state = load_checkpoint(run)
    config, model = from_dict(state["config"]), load_model(state)
    data = read_data(config)
    scored = score_split(model, config, data)
    for path in draw_run(run.parent if run.is_file() else run, model, data, scored, config):
        print(path)


def draw_run(
    run: Path, model: Network, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> list[Path]:
    """Write the pictures and the report, and return their paths."""
    records = read_records(run / "metrics.jsonl")
    lists = ranked_queries(data, scored, shown_queries(data, scored))
    pictures = {
        "curves": draw.training_curves(training_records(records), title="Training"),
        "ranked": draw.ranked_list(lists, title="Nearest gallery images"),
    }
    if attended := attention(model, data, config):
        pictures["attention"] = attended
    for name, figure in pictures.items():
        with atomic_path(run / f"{name}.png") as partial:
            figure.savefig(partial, dpi=150)
    report = write_run_report(run / "report.html", model, data, scored, config, records)
    return [*(run / f"{name}.png" for name in pictures), report]


def write_run_report(
    path: Path,
    model: Network,
    data: ReIDDataset,
    scored: Score,
    config: MDPRConfig,
    records: Sequence[dict[str, Any]],
) -> Path:
    """Write everything there is to see of a run into one HTML file."""
    sections: dict[str, Sequence[ReportPart]] = {
        "Metrics": measured(scored, records),
        "Queries": [queries(model, data, scored, config)],
        "Attention": list(examined(model, data, config)),
        "Features": [by_feature(scored, {name: model.sizes[name] for name in model.features})],
        "Cameras": list(by_cameras(scored)),
        "Curves": list(curves(scored, records)),
        "Map": people(data, scored),
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


# What there is to look at


def ranked_queries(data: ReIDDataset, scored: Score, rows: Sequence[int]) -> list[draw.RankedQuery]:
    """Rank the gallery for these queries."""
    found = top_matches(scored.query[rows], scored.gallery, k=2 * MATCHES, keep_excluded=True)
    ranked = []
    for row, nearest in zip(rows, found, strict=True):
        query = data.query[row]
        matches, counted = [], 0
        for match in nearest:
            counted += match.correct is not None
            if counted > MATCHES:
                break
            image = data.gallery[match.index]
            camera = camera_of(data, image)
            matches.append(draw.RankedImage(image.path, match.correct, match.distance, camera))
        precision = scored.result.average_precision[row].item()
        label, camera = person_of(data, query), camera_of(data, query)
        ranked.append(draw.RankedQuery(query.path, matches, label, camera, precision))
    return ranked


def person_of(data: ReIDDataset, sample: Sample) -> str:
    """Call a person by the name, or by the number where there is none."""
    return data.identity_names.get(sample.identity, f"id {sample.identity}")


def camera_of(data: ReIDDataset, sample: Sample) -> str | int | None:
    """Return a camera's name, or its number where there is none; None is an unknown one."""
    return None if sample.camera is None else data.camera_names.get(sample.camera, sample.camera)


def shown_queries(data: ReIDDataset, scored: Score) -> list[int]:
    """Choose the worst queries and others from all over the set."""
    worst: list[int] = scored.result.worst(SHOWN // 2).tolist()
    others = [n for n in spread(len(data.query), SHOWN) if n not in worst]
    return worst + others[: SHOWN - len(worst)]


def attention(
    model: Network, data: ReIDDataset, config: MDPRConfig, count: int = ATTENDED
) -> Figure | None:
    """Lay A4 and A5 over queries from all over the set; None of a network without them."""
    samples = [data.query[n] for n in spread(len(data.query), count)]
    if not (maps := attention_maps(model, samples, config)):
        return None
    labels = [person_of(data, sample) for sample in samples]
    paths = [sample.path for sample in samples]
    return draw.attention_overlay(paths, maps, labels=labels, title="Attention")


def attention_maps(
    model: Network, samples: Sequence[Sample], config: MDPRConfig
) -> dict[str, Tensor]:
    """Compute A4 and A5 (B, K, H, W) of these images; nothing of a network without them."""
    if isinstance(model, Baseline) or model.soft is None:
        return {}
    transform = eval_transform((config.height, config.width))
    device = next(model.parameters()).device
    found = []
    model.eval()
    for start in range(0, len(samples), 64):
        chosen = samples[start : start + 64]
        images = torch.stack([transform(read_image(sample.path)) for sample in chosen])
        with torch.inference_mode():
            found.append(model.attention(images.to(device)))
    return {name: torch.cat([each[name].float().cpu() for each in found]) for name in ("A4", "A5")}


def spread(length: int, count: int) -> list[int]:
    """Return indices from all over a sequence, the same each time."""
    return sorted({round(n * (length - 1) / max(1, count - 1)) for n in range(count)})


# The report's sections


def measured(scored: Score, records: Sequence[dict[str, Any]]) -> list[ReportPart]:
    """Set the trained network's metrics beside the untrained one's."""
    trained, result = figures(scored), scored.result
    tested = result.query_ids[~result.average_precision.isnan()]
    sure = confidence_intervals(result) if len(set(tested.tolist())) > 1 else {}
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
    first, *rest = (line.strip() for line in str(result.report).splitlines())
    left = ReportWarning(first) if result.report.num_dropped else f"{first.capitalize()}."
    return [ReportTable(["", *trained], rows, "Cosine distance"), note, left, *rest]


def queries(
    model: Network, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> draw.ReportQueries:
    """List the queries that are found worst, those in the middle and those found best."""
    order = scored.result.worst(len(data.query))
    count, size = len(order), min(QUERIES, len(order) // 3)
    caption = f"All {count:,} queries with a right match in the gallery, by average precision."
    if count < 3:
        groups = {"Queries": order}
    elif count <= 3 * QUERIES:
        worst, middle, best = order.tensor_split(3)
        groups = {"Worst": worst, "Median": middle, "Best": best.flip(0)}
    else:
        middle = order[(count - size) // 2 :][:size]
        groups = {"Worst": order[:size], "Median": middle, "Best": order[-size:].flip(0)}
        caption = (
            f"The {size} worst, the {size} in the middle and the {size} best of the {count:,} "
            "queries with a right match in the gallery, by average precision. The filter searches "
            f"these {3 * size}."
        )
    rows = torch.cat(list(groups.values())).tolist()
    names = [name for name, group in groups.items() for _ in group]
    maps = attention_maps(model, [data.query[row] for row in rows], config)
    ranked = zip(ranked_queries(data, scored, rows), names, strict=True)
    cards = [
        draw.QueryCard(each, name, {group: values[n] for group, values in maps.items()})
        for n, (each, name) in enumerate(ranked)
    ]
    return draw.ReportQueries(cards, caption)


def examined(model: Network, data: ReIDDataset, config: MDPRConfig) -> Parts:
    """Say of each attention map whether it does its work."""
    rows = spread(len(data.query), EXAMINED)
    groups = attention_maps(model, [data.query[row] for row in rows], config)
    if groups:
        yield f"Over {some(len(rows), len(data.query))}."
    for name, maps in groups.items():
        health = draw.attention_health(maps)
        overlap = health.overlap - torch.eye(len(health.overlap), dtype=torch.float64)
        each = zip(health.coverage, health.peak, health.entropy, overlap.amax(1), strict=True)
        lines = [
            [f"map {k}", percent(taken), *(f"{value:.2f}" for value in others)]
            for k, (taken, *others) in enumerate(each, start=1)
        ]
        lines.append(["background", percent(health.background), "", "", ""])
        header = ["", "coverage", "peak", "entropy", "most overlap with another"]
        yield ReportTable(header, lines, f"{name}, {maps.shape[2]}×{maps.shape[3]} places")
        yield from (ReportWarning(f"{name}: {warning}") for warning in health.warnings)
        if not health.warnings:
            yield f"{name}: no map is dead or flat, no two maps are one."


def by_feature(scored: Score, sizes: Mapping[str, int]) -> ReportTable:
    """Search with each feature alone, with each branch, and with all."""
    subsets = {name: [name] for name in sizes}
    for branch, found in groupby(sizes, lambda name: name.split("_")[0]):
        if len(names := list(found)) > 1:
            subsets[f"{branch}, together"] = names
    subsets["all"] = list(sizes)
    rows = []
    for title, names in subsets.items():
        query, gallery = searched_with(scored, sizes, names)
        rows.append([title, query.values.shape[1], *row_of(evaluated(query, gallery))])
    return ReportTable(["feature", "numbers", "mAP", "rank-1", "rank-5", "mINP"], rows)


def by_cameras(scored: Score) -> Parts:
    """Search from each camera in each other."""
    query, gallery = scored.query, scored.gallery
    if query.cameras is None or gallery.cameras is None:
        yield "The cameras are not known."
        return
    images = torch.cat([query.cameras, gallery.cameras])
    seen, count = torch.unique(images[images != -1], return_counts=True)
    cameras = sorted(seen[count.argsort(descending=True)[:CAMERAS]].tolist())
    if len(cameras) < len(seen):
        yield f"The {CAMERAS} cameras of most images, out of {len(seen)}."
    sides = [*(gallery[gallery.cameras == other] for other in cameras), gallery]
    asked = [query[query.cameras == camera] for camera in cameras]
    grid = [[row_of(evaluated(each, side)) for side in sides] for each in asked]
    called = [query.camera_names.get(camera, f"camera {camera}") for camera in cameras]
    header = ["query in", *called, "all"]
    for place, name in enumerate(("mAP", "rank-1")):
        rows = [
            [camera, *(cell[place] for cell in cells)]
            for camera, cells in zip(called, grid, strict=True)
        ]
        yield ReportTable(header, rows, f"{name}; the gallery is the images of the column's camera")
    yield (
        "– where no query has a right match: images of a person by the query's own camera "
        "do not count."
    )


def curves(scored: Score, records: Sequence[dict[str, Any]]) -> Parts:
    """Draw what happened in training, and the curves over ranks and over pairs."""
    if records:
        figure = draw.training_curves(training_records(records))
        yield ReportFigure(figure, "Losses and test figures over the epochs")
    first = "Queries with a right image among the first"
    figure = draw.cmc_curves({"trained": scored.result.cmc[:20]}, first)
    yield ReportFigure(figure, "Cumulative matching curve")
    rows = spread(len(scored.query), PAIRED)
    query, gallery = scored.query[rows], scored.gallery
    pairs = pair_distances(query, gallery)
    if not pairs.positive.numel() or not pairs.negative.numel():
        return
    threshold, chosen = None, f"The threshold takes {FALSE_MATCHES:.0%} of the pairs of two people"
    try:
        result = verify(query, gallery, max_false_match_rate=FALSE_MATCHES)
        threshold, chosen = result.threshold_at(FALSE_MATCHES).distance, f"{chosen} for one."
    except ValueError as error:  # too few pairs
        chosen = f"No threshold: {error}."
    yield f"Pairs of {some(len(rows), len(scored.query))} with the gallery. {chosen}"
    figure = draw.distance_histogram(pairs, threshold, "Distances")
    yield ReportFigure(figure, "Distances of pairs of one person and of two people")
    figure = draw.precision_recall_curves({"trained": pairs}, "Is a pair one person?")
    yield ReportFigure(figure, "Precision against recall over all pairs")


def people(data: ReIDDataset, scored: Score) -> list[ReportPart]:
    """Lay out the embeddings of some people in a plane."""
    ids = torch.unique(scored.query.ids)
    chosen = ids[spread(len(ids), MAPPED)]
    values, labels, images = [], [], []
    for side, samples in ((scored.query, data.query), (scored.gallery, data.gallery)):
        for row in torch.isin(side.ids, chosen).nonzero().flatten().tolist():
            values.append(side.values[row])
            labels.append(person_of(data, samples[row]))
            images.append(samples[row].path)
    embeddings = F.normalize(torch.stack(values).float().cpu())
    figure = draw.embedding_map(embeddings, labels, images, f"Embeddings of {len(chosen)} people")
    return [ReportFigure(figure, "Embeddings in the plane of their largest variance")]


def configuration(config: MDPRConfig) -> ReportTable:
    """List every field, and mark where the run differs from the default."""
    rows = []
    for name, own in dataclasses.asdict(config).items():
        default = getattr(MDPRConfig(), name)
        rows.append([name, written(own), "" if own == default else written(default)])
    return ReportTable(["field", "this run", "default, where it differs"], rows)


def training_records(records: Sequence[dict[str, Any]]) -> list[draw.TrainingRecord]:
    return [
        draw.TrainingRecord(record["epoch"], record.get("train", {}), record.get("test", {}))
        for record in records
    ]


def pair_distances(query: Features, gallery: Features) -> PairDistances:
    """Return the cosine distances of all pairs that the Market rule counts."""
    sides = [F.normalize(side.values.float()) for side in (query, gallery)]
    distances = 1 - sides[0] @ sides[1].T
    same = query.ids[:, None] == gallery.ids
    counted = (query.ids != -1)[:, None] & (gallery.ids != -1)
    if query.cameras is not None and gallery.cameras is not None:
        own = (query.cameras[:, None] == gallery.cameras) & (gallery.cameras != -1)
        counted &= ~(same & own)
    return PairDistances(distances[same & counted].cpu(), distances[~same & counted].cpu())


def evaluated(query: Features, gallery: Features) -> Evaluation | None:
    """Evaluate, or return None where nothing can be: no right match, a feature that is zero."""
    try:
        return evaluate(query, gallery)
    except ValueError:
        return None


def row_of(result: Evaluation | None) -> list[str]:
    if result is None:
        return ["–"] * 4
    return [percent(v) for v in (result.mAP, result.rank(1), result.rank(5), result.mINP)]


def percent(value: float | Tensor) -> str:
    return f"{100 * float(value):.1f}%"


def some(count: int, whole: int) -> str:
    return f"all {whole:,} queries" if count == whole else f"{count:,} of the {whole:,} queries"


def written(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    run_script(main)
