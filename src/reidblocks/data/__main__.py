"""The check of data sets: ``python -m reidblocks.data DIR``."""

import argparse
import io
import sys
from pathlib import Path

from reidblocks.data.doctor import diagnose
from reidblocks.data.readers import READERS
from reidblocks.data.samples import ReIDDataset
from reidblocks.data.table import from_csv


def main(arguments: list[str] | None = None) -> int:
    """Examine the data set that the command line names.

    Returns:
        0; 1 where a line of what it prints begins with "!"; 2 where it cannot read the data set.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reidblocks.data",
        description="Examine a data set: counts, unreadable images, queries without a match, "
        "images in train and test, and batches that fit.",
    )
    parser.add_argument("path", type=Path, help="its folder, the folder above, or a CSV table")
    parser.add_argument("--layout", choices=READERS, help="how it is laid out; found by trying")
    parser.add_argument("--batch", type=int, default=64, help="images a training batch may hold")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch expects a number above 0, got {options.batch}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # paths and signs that the terminal cannot show
    try:
        data = READERS[options.layout](options.path) if options.layout else _read(options.path)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    troubles = 0
    for line in diagnose(data, batch=options.batch, progress=sys.stderr.isatty()):
        print(line)
        troubles += line.startswith("!")
    return min(troubles, 1)


def _read(path: Path) -> ReIDDataset:
    if path.is_file():
        return from_csv(path)
    refusals = []
    for name, reader in READERS.items():
        if reader is from_csv:
            continue
        try:
            return reader(path)
        except (OSError, ValueError) as error:
            refusals.append(f"--layout {name}: {error}")
    raise ValueError("no layout fits; name the one that is meant:\n" + "\n".join(refusals))


if __name__ == "__main__":
    sys.exit(main())
