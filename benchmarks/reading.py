"""How long it takes to read the names of a large set, with the check that no image is twice.

    python benchmarks/reading.py [--images 130000] [--rounds 3]

It makes a set of empty files in the layout of Market-1501, in a folder that it deletes, and reads
it: once for the system to know the folders, then round by round. No image is opened. Beside it
stands the plainest loop that reads the same names, `os.scandir` and a regular expression, which
makes no paths and finds no image that is there twice: on a busy machine the ratio tells more than
the seconds.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reidblocks.data import read_market1501


def write_names(root: Path, images: int) -> None:
    """Write empty files: a tenth of the images are queries, of people of 26 images each."""
    for split, first, count in (
        ("bounding_box_train", 0, images // 2),
        ("query", images, images // 10),
        ("bounding_box_test", images, images - images // 2 - images // 10),
    ):
        (root / split).mkdir()
        for number in range(count):
            person = (first + number) // 26 + 1
            name = f"{person:05d}_c{number % 6 + 1}s1_{number:06d}_01.jpg"
            os.close(os.open(root / split / name, os.O_CREAT))


def scan(root: Path) -> list[tuple[str, int, int]]:
    """Read identity and camera of every name, and nothing else."""
    pattern = re.compile(r"(-1|\d+)_c(\d+)s\d+_\d+_\d+\.")
    found = []
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        with os.scandir(root / split) as entries:
            for entry in entries:
                if told := pattern.match(entry.name):
                    found.append((entry.path, int(told[1]), int(told[2])))
    return found


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """How long it takes: on the clock, and of one CPU."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=130_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_names(root, options.images)
        read_market1501(root)
        for _ in range(options.rounds):
            took, used = seconds(lambda: read_market1501(root))
            _, least = seconds(lambda: scan(root))
            print(
                f"{options.images:,} names: {took:.2f} s, {used:.2f} s of one CPU, "
                f"{used / least:.1f} times the plain loop's {least:.2f} s"
            )


if __name__ == "__main__":
    main()
