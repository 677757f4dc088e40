"""Where a run's attention maps lie, checkpoint by checkpoint: on the person, or on the walls.

    python examples/mdpr/train.py --preset synthetic --out RUN --keep-checkpoints 100
    python benchmarks/attention.py RUN [RUN ...]

For each map of A5 and A4 and for their overlay: the fraction of the attention that lies on the
person, over the fraction of the image that the person fills; 1 is chance. It is measured on the
queries, whose masks lie beside them: synthetic people have them. The same on the mask of the query
before tells how much of it is that people stand in the middle. Results are written to
results/attention.json, one list for each run's name.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "mdpr"))

from build import load_checkpoint, load_model, read_data
from reidblocks.data import ReIDDataset, read_masks
from reidblocks.visualization import attention_health
from report import attention_maps, spread

RESULTS = Path(__file__).parent / "results" / "attention.json"
QUERIES = 256


def measured(checkpoint: Path, data: ReIDDataset | None) -> tuple[dict[str, object], ReIDDataset]:
    """Measure one checkpoint; return the data set too, for the next one of the run."""
    state = load_checkpoint(checkpoint)
    model = load_model(state).eval()
    data = data or read_data(model.config)
    samples = [data.query[row] for row in spread(len(data.query), QUERIES)]
    size = (model.config.height, model.config.width)
    masks = read_masks([sample.path for sample in samples], size)
    found: dict[str, object] = {"epoch": state["epoch"]}
    for name, maps in attention_maps(model, samples, model.config).items():
        health = attention_health(maps, masks)
        assert health.on_person is not None
        found[name] = [round(float(value), 3) for value in health.on_person]
        others = attention_health(maps, masks.roll(1, 0)).on_person
        assert others is not None
        found[f"{name} on another's mask"] = [round(float(value), 3) for value in others]
        found[f"{name} coverage"] = [round(float(value), 3) for value in health.coverage]
    return found, data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for run in options.runs:
        checkpoints = sorted(run.glob("step-*.pt"), key=lambda path: int(path.stem[5:]))
        if not checkpoints:
            parser.error(f"{run} holds no step-*.pt, as train.py --keep-checkpoints 100 leaves")
        print(f"{run.name}: maps and overlay, 1 is chance")
        rows, data = [], None
        for checkpoint in checkpoints:
            row, data = measured(checkpoint, data)
            rows.append(row)
            told = (
                f"{name} {' '.join(f'{value:.2f}' for value in row[name])}"  # type: ignore[attr-defined]
                for name in ("A5", "A4")
            )
            print(f"  epoch {row['epoch']:>3}: {', '.join(told)}")
        results[run.name] = rows
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
