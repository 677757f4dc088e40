"""Split off training identities to choose settings on, so that the test split stays unseen.

    python examples/mdpr/ablation/held_out.py --data-root DIR --identities 100 chosen.csv

writes a table that `train.py --dataset csv --data-root chosen.csv` reads: the other training
identities to train on, and these, drawn by the seed, to test on.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts' folder
from commands import run_script, script_parser
from reidblocks.data import READERS, ReIDDataset, split_people, write_csv


def hold_out(data: ReIDDataset, identities: int, seed: int = 0) -> ReIDDataset:
    """Return the training images alone, split by ``split_people``."""
    known = data.num_identities
    if not 0 < identities < known:
        raise ValueError(
            f"--identities must be from 1 to {known - 1} of the {known} training identities, got "
            f"{identities}"
        )
    seen = dataclasses.replace(data, query=(), gallery=())
    return split_people(seen, test=identities / known, seed=seed)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("out", type=Path, help="the CSV file to write")
    parser.add_argument("--dataset", choices=sorted(READERS), default="market1501")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--identities", type=int, default=100, help="how many to hold out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    data = hold_out(READERS[options.dataset](options.data_root), options.identities, options.seed)
    print(READERS["csv"](write_csv(data, options.out)).summary())


if __name__ == "__main__":
    run_script(main)
