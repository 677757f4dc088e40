"""Draw the pictures of a run: python examples/mdpr/visualize.py RUN

curves.png (losses and test figures over the epochs), ranked.png (queries and their nearest
gallery images, the worst of them first), attention.png (A4 and A5 over the images), and
report.html: all of it and more in one file, with ranked lists to be filtered.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from assemble import eval_loader, pick_device, pick_precision, read_data
from baselines import Baseline
from checkpoint import load_checkpoint
from commands import run_script, script_parser
from config import MDPRConfig, from_dict
from evaluate import Score, load_model, score
from looks import attention_maps, ranked_queries, spread
from model import MDPR
from reidblocks.data import ReIDDataset
from reidblocks.training import atomic_path, read_records
from reidblocks.visualization import attention_overlay, ranked_list, training_curves
from run_report import training_records, write_run_report

QUERIES, ATTENDED = 8, 6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, help="run folder, or a checkpoint in it")
    run = parser.parse_args(arguments).run
    state = load_checkpoint(run)
    config, device = from_dict(state["config"]), pick_device()
    model, data = load_model(state).to(device), read_data(config)
    loaders = eval_loader(config, data.query), eval_loader(config, data.gallery)
    scored = score(model, *loaders, device, pick_precision(config, device))
    for path in draw_run(run.parent if run.is_file() else run, model, data, scored, config):
        print(path)


def draw_run(
    run: Path, model: MDPR | Baseline, data: ReIDDataset, scored: Score, config: MDPRConfig
) -> list[Path]:
    """Write the pictures and the report, and give their paths."""
    records = read_records(run / "metrics.jsonl")
    lists = ranked_queries(data, scored, shown_queries(data, scored))
    pictures = {
        "curves": training_curves(training_records(records), title="Training"),
        "ranked": ranked_list(lists, title="Nearest gallery images"),
    }
    if isinstance(model, MDPR) and model.soft is not None:
        pictures["attention"] = attention(model, data, config)
    for name, figure in pictures.items():
        with atomic_path(run / f"{name}.png") as partial:
            figure.savefig(partial, dpi=150)
    report = write_run_report(run / "report.html", model, data, scored, config, records)
    return [*(run / f"{name}.png" for name in pictures), report]


def shown_queries(data: ReIDDataset, scored: Score) -> list[int]:
    """Choose the worst queries and others from all over the set."""
    worst: list[int] = scored.result.worst(QUERIES // 2).tolist()
    others = [n for n in spread(len(data.query), QUERIES) if n not in worst]
    return worst + others[: QUERIES - len(worst)]


def attention(model: MDPR, data: ReIDDataset, config: MDPRConfig, count: int = ATTENDED) -> Figure:
    """Lay A4 and A5 over queries from all over the set."""
    samples = [data.query[n] for n in spread(len(data.query), count)]
    return attention_overlay(
        [sample.path for sample in samples],
        attention_maps(model, samples, config),
        labels=[f"id {sample.identity}" for sample in samples],
        title="Attention",
    )


if __name__ == "__main__":
    run_script(main)
