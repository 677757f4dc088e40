"""How long it takes to read the names of a large set, with the check that no image is twice.

    python benchmarks/reading.py [--images 130000] [--rounds 3]

It makes a set of empty files in the layout of Market-1501, in a folder that it deletes, and reads
it: once for the system to know the folders, then round by round. No image is opened.
"""

import argparse
import os
import tempfile
import time
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
            start, used = time.perf_counter(), time.process_time()
            data = read_market1501(root)
            seconds, used = time.perf_counter() - start, time.process_time() - used
            images = len(data.train) + len(data.query) + len(data.gallery)
            print(f"{images:,} names: {seconds:.2f} s, {used:.2f} s of one CPU")


if __name__ == "__main__":
    main()
