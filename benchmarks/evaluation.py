"""How long does an exact evaluation take, next to the product it cannot do without?

    python benchmarks/evaluation.py market      # Market-1501's size, D=2048, against peers
    python benchmarks/evaluation.py precision   # D=4608 in float32, float16, bfloat16
    python benchmarks/evaluation.py rerank      # k-reciprocal re-ranking, D=512
    python benchmarks/evaluation.py large       # Market-1501+500k's size, D=512
    python benchmarks/evaluation.py growth      # galleries of 10,000 to 1,000,000, with a plot

Each writes `benchmarks/results/evaluation_NAME.json`, with the machine it ran on; where there is
a GPU it runs there, and writes `evaluation_NAME_gpu.json`. What is
compared is timed in one run: in turns, but for what takes long, which comes after with fewer
rounds; the quickest of the rounds is taken, and the median given beside it, since others may use
the machine. Features are drawn: a place for each person and
noise around it. `--peer FOLDER` adds torchreid, installed there by
`pip install --target FOLDER --no-deps torchreid`.
"""

import argparse
import functools
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import DEVICE, in_turns, machine, peak_mb, write
from reidblocks.evaluation import Features, KReciprocal, evaluate, rerank
from reidblocks.training import atomic_path

PLOT = (
    Path(__file__).resolve().parents[1] / "docs/assets/evaluation-growth.svg"
)  # the page shows it
QUERIES, PEOPLE, PEOPLE_IMAGES, CAMERAS = 3368, 750, 13_115, 6


def draw(num_query: int, num_gallery: int, size: int, seed: int = 0) -> tuple[Features, Features]:
    """Features hard enough for an mAP well below 1, drawn in place: no copy is ever held.

    As in Market-1501 some 13,000 gallery images are of the queries' people, in any order; the
    others are distractors, identity 0, each with a place of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    people = torch.randn(PEOPLE + 1, size, generator=generator)
    noise = (size**0.5 / 4.5 - 1) ** 0.5

    def side(ids: Tensor) -> Features:
        values = torch.empty(len(ids), size)
        for start in range(0, len(ids), 4096):
            part, who = values[start : start + 4096], ids[start : start + 4096]
            part.normal_(generator=generator)
            strength = 0.5 + torch.rand(len(part), 1, generator=generator)
            strength[who == 0] = (strength[who == 0] ** 2 + noise**-2).sqrt()
            part.mul_(noise * strength).addcmul_(people[who], (who > 0).float()[:, None])
        cameras = torch.randint(0, CAMERAS, (len(ids),), generator=generator)
        return Features(values, ids, cameras).to(DEVICE)

    gallery_ids = torch.randint(1, PEOPLE + 1, (num_gallery,), generator=generator)
    gallery_ids[torch.randperm(num_gallery, generator=generator)[PEOPLE_IMAGES:]] = 0
    return side(torch.randint(1, PEOPLE + 1, (num_query,), generator=generator)), side(gallery_ids)


def seconds_of(rounds: int, **tasks: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """Seconds of each task: the minimum and the median over the rounds."""
    return {
        name: {"least": ms["least"] / 1000, "median": ms["median"] / 1000, "rounds": rounds}
        for name, ms in in_turns(tasks, rounds, warm_up=0).items()
    }


def argsort_and_cumsum(scores: Tensor, query: Features, gallery: Features) -> tuple[Tensor, Tensor]:
    """The usual way, tuned: blocks of rows, a stable argsort, all queries of a block at once."""
    precision, hits = [], torch.zeros(50, device=scores.device)
    for rows in torch.arange(len(query), device=scores.device).split(256):
        order = scores[rows].argsort(dim=1, descending=True, stable=True)
        same = gallery.ids[order] == query.ids[rows, None]
        left_out = same & (gallery.cameras[order] == query.cameras[rows, None])
        right = (same & ~left_out).float()
        place = (~left_out).cumsum(1).clamp_(min=1)
        total = right.sum(1)
        precision.append((right * right.cumsum(1) / place).sum(1) / total)
        first = place.gather(1, right.argmax(1, keepdim=True))[:, 0] - 1
        hits += torch.bincount(first[(total > 0) & (first < 50)], minlength=50)
    return torch.cat(precision).nanmean(), hits.cumsum(0)


def multiply_in_tiles(x: Tensor, y: Tensor) -> None:
    """The product as evaluate forms it, to tell its time from that of the ranking."""
    for rows in x.split(1024):
        block = torch.empty(len(rows), len(y), device=x.device)
        for part, out in zip(y.split(512), block.split(512, dim=1), strict=True):
            torch.mm(rows, part.t(), out=out)


def torchreid_module(folder: Path, name: str) -> Any:
    path = folder / "torchreid/reid" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def market(options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for num_gallery in (15_913, 19_732):
        query, gallery = draw(QUERIES, num_gallery, 2048)
        evaluate(query[torch.arange(64)], gallery[torch.arange(999)])  # loads what is loaded once
        peak = peak_mb(lambda q=query, g=gallery: evaluate(q, g), DEVICE)
        product = torch.empty(QUERIES, num_gallery, device=DEVICE)
        values = query.values / query.values.norm(dim=1, keepdim=True)
        others = gallery.values / gallery.values.norm(dim=1, keepdim=True)
        result: dict[str, Any] = {
            "seconds": seconds_of(
                options.rounds,
                mm=lambda v=values, o=others: torch.mm(v, o.t()),
                mm_in_tiles=lambda v=values, o=others: multiply_in_tiles(v, o),
                evaluate_cosine=lambda q=query, g=gallery: evaluate(q, g),
                evaluate_euclidean=lambda q=query, g=gallery: evaluate(q, g, distance="euclidean"),
            )
        }
        torch.mm(values, others.t(), out=product)
        usual = functools.partial(argsort_and_cumsum, product, query, gallery)
        result["seconds"] |= seconds_of(2, argsort_and_cumsum=usual)
        generator = torch.Generator(DEVICE).manual_seed(1)
        values.normal_(generator=generator)
        others.normal_(generator=generator)
        noise = [
            Features(random, side.ids, side.cameras)
            for random, side in ((values, query), (others, gallery))
        ]
        result["seconds"] |= seconds_of(2, evaluate_noise=lambda n=noise: evaluate(*n))
        del values, others, noise
        ours = evaluate(query, gallery)
        result |= {"mAP": ours.mAP, "mAP_of_argsort_and_cumsum": float(usual()[0])}
        if options.peer:
            rank = torchreid_module(options.peer, "metrics/rank.py").evaluate_rank
            labels = query.ids, gallery.ids, query.cameras, gallery.cameras
            arrays = [each.cpu().numpy() for each in (1 - product, *labels)]
            start = time.perf_counter()
            _, theirs = rank(*arrays, max_rank=50)
            result["seconds"]["torchreid_ranking"] = {"least": time.perf_counter() - start}
            result["mAP_of_torchreid"] = float(theirs)
            del arrays
        result["peak_mb_above_features"] = peak
        least = {name: times["least"] for name, times in result["seconds"].items()}
        ranking = least["evaluate_cosine"] - least["mm_in_tiles"]
        result["ratios"] = {
            "evaluate over mm": least["evaluate_cosine"] / least["mm"],
            "mm in tiles over mm": least["mm_in_tiles"] / least["mm"],
            "evaluate over mm in tiles": least["evaluate_cosine"] / least["mm_in_tiles"],
            "euclidean over mm": least["evaluate_euclidean"] / least["mm"],
            "evaluate over mm, features of noise": least["evaluate_noise"] / least["mm"],
            "ranking part over argsort and cumsum": ranking / least["argsort_and_cumsum"],
        }
        result["ranking_seconds"] = ranking
        found[f"{QUERIES} x {num_gallery}, D=2048"] = result
    return found


def precision(options: argparse.Namespace) -> dict[str, Any]:
    query, gallery = draw(QUERIES, 15_913, 4608)
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        sides = [Features(s.values.to(dtype), s.ids, s.cameras) for s in (query, gallery)]
        result = evaluate(*sides)
        found[str(dtype).removeprefix("torch.")] = {
            "mb_of_features": sum(s.values.nbytes for s in sides) / 2**20,
            "seconds": seconds_of(options.rounds, evaluate=lambda s=sides: evaluate(*s)),
            "peak_mb_above_features": peak_mb(lambda s=sides: evaluate(*s), DEVICE),
            "mAP": result.mAP,
            "rank-1": result.rank(1),
        }
    for one in found.values():
        one["change_of_mAP"] = one["mAP"] - found["float32"]["mAP"]
    return found


def reranking(options: argparse.Namespace) -> dict[str, Any]:
    query, gallery = draw(QUERIES, 15_913, 512)
    how = KReciprocal()
    found: dict[str, Any] = {
        "seconds": seconds_of(options.rounds, ours=lambda: evaluate(query, gallery, reranking=how)),
        "mAP": evaluate(query, gallery).mAP,
        "mAP_reranked": evaluate(query, gallery, reranking=how).mAP,
        "peak_mb_above_features": peak_mb(lambda: evaluate(query, gallery, reranking=how), DEVICE),
    }
    if options.peer:
        dense = torchreid_module(options.peer, "utils/rerank.py").re_ranking
        q, g = (torch.nn.functional.normalize(side.values) for side in (query, gallery))
        kept: dict[str, Any] = {}

        def theirs() -> None:
            matrices = (torch.cdist(x, y).cpu().numpy() for x, y in ((q, g), (q, q), (g, g)))
            kept["distances"] = dense(*matrices)

        found["peak_mb_above_features_of_torchreid"] = peak_mb(
            lambda: found["seconds"].update(seconds_of(1, torchreid=theirs)), DEVICE
        )
        ours = rerank(query, gallery, how).cpu()
        away = (ours - torch.from_numpy(kept["distances"])).abs()
        found["largest_difference_to_torchreid"] = float(away.max())
        found["share_of_differences_above_1e-4"] = float((away > 1e-4).double().mean())
        seconds = found["seconds"]
        found["times_as_fast"] = seconds["torchreid"]["least"] / seconds["ours"]["least"]
    return found


def large(options: argparse.Namespace) -> dict[str, Any]:
    query, gallery = draw(QUERIES, 520_000, 512)
    kept: dict[str, Any] = {}

    def run() -> None:
        kept["result"] = evaluate(query, gallery)

    evaluate(query[torch.arange(64)], gallery[torch.arange(2000)])  # loads what is loaded once
    seconds: dict[str, dict[str, float]] = {}
    peak = peak_mb(lambda: seconds.update(seconds_of(1, evaluate=run)), DEVICE)
    return {
        "seconds": seconds,
        "peak_mb_above_features": peak,
        "mb_of_features": (query.values.nbytes + gallery.values.nbytes) / 2**20,
        "mAP": kept["result"].mAP,
    }


def growth(options: argparse.Namespace) -> dict[str, Any]:
    query, gallery = draw(500, 1_000_000, 128)
    gallery = gallery[(gallery.ids == 0).long().argsort(stable=True)]  # distractors are added last
    rows = []
    for number in (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000):
        part = Features(gallery.values[:number], gallery.ids[:number], gallery.cameras[:number])
        seconds = seconds_of(options.rounds, evaluate=lambda p=part: evaluate(query, p))["evaluate"]
        peak = peak_mb(lambda p=part: evaluate(query, p), DEVICE)
        rows.append({"gallery": number, "seconds": seconds, "peak_mb_above_features": peak})
    _plot(rows)
    return {"queries": 500, "D": 128, "rows": rows}


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    time_axis, memory_axis = figure.subplots(1, 2)
    sizes = [row["gallery"] for row in rows]
    seconds = [row["seconds"]["least"] for row in rows]
    time_axis.loglog(sizes, seconds, "o-", color="#3b4cc0", label="evaluate")
    line = [seconds[-1] * size / sizes[-1] for size in sizes]
    time_axis.loglog(sizes, line, "--", color="grey", label="in proportion to the gallery")
    time_axis.set(xlabel="gallery images", ylabel="seconds, 500 queries, D=128")
    time_axis.legend()
    peaks = [row["peak_mb_above_features"] for row in rows]
    memory_axis.semilogx(sizes, peaks, "o-", color="#3b4cc0")
    memory_axis.set(xlabel="gallery images", ylabel="MB above the features", ylim=(0, None))
    for axis in (time_axis, memory_axis):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    settings = {"svg.fonttype": "none", "svg.hashsalt": "growth"}
    with matplotlib.rc_context(settings), atomic_path(PLOT) as partial:
        figure.savefig(partial, metadata={"Date": None})


TASKS = {
    "market": market,
    "precision": precision,
    "rerank": reranking,
    "large": large,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="where torchreid is installed")
    options = parser.parse_args()
    described = machine()  # the load before, not ours
    results = {"machine": described, options.task: TASKS[options.task](options)}
    write(f"evaluation_{options.task}", results, DEVICE)


if __name__ == "__main__":
    main()
