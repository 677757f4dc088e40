"""Split off training identities to choose settings on, so that the test split stays unseen.

    python examples/mdpr/ablation/held_out.py --data-root DIR --identities 100 chosen.csv

writes a table that `train.py --dataset csv --data-root chosen.csv` reads: the other training
identities to train on, and these, drawn by the seed, to test on: of each camera's images of an
identity the first is a query, the rest is the gallery.
"""

import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts' folder
from commands import run_script, script_parser
from reidblocks.data import READERS, ReIDDataset
from reidblocks.training import atomic_path


def hold_out(data: ReIDDataset, identities: int, seed: int = 0) -> list[tuple[str, int, str, str]]:
    """Give path, identity, camera and split of every training image.

    Raises:
        ValueError: there would be no identity to train on, or none to test on.
    """
    known = sorted(data.labels)
    if not 0 < identities < len(known):
        raise ValueError(
            f"--identities must be from 1 to {len(known) - 1} of the {len(known)} training "
            f"identities, got {identities}"
        )
    chosen = set(random.Random(seed).sample(known, identities))
    seen: set[tuple[int, int | None]] = set()
    rows = []
    for sample in sorted(data.train):
        split = "train"
        if sample.identity in chosen:
            view = (sample.identity, sample.camera)
            split = "gallery" if view in seen else "query"
            seen.add(view)
        camera = "" if sample.camera is None else str(sample.camera)
        rows.append((str(sample.path.resolve()), sample.identity, camera, split))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("out", type=Path, help="the CSV file to write")
    parser.add_argument("--dataset", choices=sorted(READERS), default="market1501")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--identities", type=int, default=100, help="how many to hold out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    data = READERS[options.dataset](options.data_root)
    rows = hold_out(data, options.identities, options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(options.out) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([("path", "identity", "camera", "split"), *rows])
    print(READERS["csv"](str(options.out)).summary())


if __name__ == "__main__":
    run_script(main)
