"""A gallery of a million: added, killed in the middle, searched, removed.

    python benchmarks/gallery.py [--rows 1000000] [--dimension 512] [--folder FOLDER]

Embeddings are drawn: a person is a point, an image that point and as much noise. Half are added by
a process that is killed by kill -9 in between, and all that it acknowledged must be there.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measuring import machine, write
from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery import Gallery

IMAGES, CAMERAS, BATCH, QUERIES = 20, 20, 10_000, 32


class People:
    """Images of people, each person's by several cameras, the same at each call."""

    def __init__(self, rows: int, dimension: int) -> None:
        self.rows = rows
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(max(1, rows // IMAGES), dimension, generator=generator)

    def batch(self, start: int, end: int) -> dict[str, Any]:
        person = torch.arange(start, end) % len(self.points)
        return {
            "embeddings": self._of(person, seed=start + 1),
            "person": person,
            "camera": (torch.arange(start, end) // len(self.points)) % CAMERAS,
            "time": torch.arange(start, end).double(),
        }

    def queries(self) -> Tensor:
        return self._of(torch.arange(QUERIES) % len(self.points), seed=self.rows + 2)

    def _of(self, person: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(person), self.points.shape[1], generator=generator)
        return self.points[person] + noise


def fill(gallery: Gallery, people: People, start: int, end: int) -> None:
    """Add rows in batches, and print where each ends once it is added."""
    for first in range(start, end, BATCH):
        last = min(end, first + BATCH)
        gallery.add(**people.batch(first, last))
        print(last, flush=True)


def killed_while_filling(path: Path, options: argparse.Namespace, kill_after: int) -> list[int]:
    """Fill the second half in a process, kill it, and return what it acknowledged."""
    command = [sys.executable, __file__, "--fill", str(path), "--rows", str(options.rows)]
    command += ["--dimension", str(options.dimension)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(kill_after)]
    time.sleep(0.05)  # into the next
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.wait()
    return [int(line) for line in lines if line.endswith("\n")]


def timed(task: Callable[[], Any], rounds: int = 1) -> tuple[float, Any]:
    """Return the least seconds of a task, and what it gave."""
    seconds, given = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        given = task()
        seconds.append(time.perf_counter() - start)
    return min(seconds), given


def measure(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    people = People(options.rows, options.dimension)
    gallery = Gallery.create(path, EmbedderSpec("drawn", options.dimension, fingerprint="drawn"))
    half = options.rows // 2 // BATCH * BATCH
    found: dict[str, Any] = {}

    def tell(name: str, value: float) -> None:
        found[name] = round(value, 5)
        print(f"{name:<52}{value:>14,.4f}", flush=True)

    seconds, _ = timed(lambda: fill(gallery, people, 0, half))
    tell("rows added per second", half / seconds)
    acknowledged = killed_while_filling(path, options, max(1, half // BATCH // 2))
    seconds, gallery = timed(lambda: Gallery.open(path))
    tell("seconds to open after kill -9", seconds)
    kept = len(gallery)
    tell("rows acknowledged before kill -9", acknowledged[-1])
    tell("rows there after it", kept)
    assert kept in (acknowledged[-1], acknowledged[-1] + BATCH), "lost, or a part of a batch"
    fill(gallery, people, kept, options.rows)
    tell("rows", len(gallery))

    queries, one_camera = people.queries(), "camera = '3'"

    def search_all(what: str, exact: bool) -> None:
        for where, filtered in ((None, ""), (one_camera, ", one camera of 20")):
            ask = partial(gallery.search, k=10, where=where, exact=exact)
            seconds, _ = timed(partial(ask, queries[:1]), 5)
            tell(f"seconds, one query, {what}{filtered}", seconds)
            seconds, _ = timed(partial(ask, queries))
            tell(f"seconds per query of {QUERIES}, {what}{filtered}", seconds / QUERIES)

    search_all("exact", True)
    seconds, _ = timed(gallery.optimize)
    tell("seconds to compact and index", seconds)
    search_all("indexed", False)
    tell("recall of 10 by the index", gallery.recall(queries))
    names = [matches[0].person for matches in gallery.search(queries, k=1)]
    hits = [name == str(row % len(people.points)) for row, name in enumerate(names)]
    tell("rank-1", sum(hits) / QUERIES)
    tell("gigabytes on disk", size_of(path))
    seconds, number = timed(lambda: gallery.remove(person=7))
    tell("seconds to remove a person for good", seconds)
    tell("rows removed", number)
    assert number == len(range(7, options.rows, len(people.points)))
    assert all(match.person != "7" for match in gallery.search(queries[7:8], k=50)[0])
    tell("gigabytes on disk afterwards", size_of(path))
    seconds, _ = timed(lambda: gallery.add(**people.batch(options.rows, options.rows + 1)), 3)
    tell("seconds to add one row", seconds)
    track = {"embeddings": queries[:1], "camera": "3", "track": "t"}
    seconds, _ = timed(lambda: gallery.add(**track), 3)
    tell("seconds to update a track", seconds)
    return found


def size_of(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure; a temporary one if not"
    )
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        gallery = Gallery.open(options.fill)
        fill(gallery, People(options.rows, options.dimension), len(gallery), options.rows)
        return
    needed = 4 * 4 * options.rows * options.dimension  # the table twice, the index, versions
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if (free := shutil.disk_usage(folder).free) < needed:
            parser.error(f"needs {needed / 1e9:.0f} GB on {folder}, {free / 1e9:.0f} are free")
        settings = {"rows": options.rows, "dimension": options.dimension}
        results = {"machine": machine(), **settings}
        results["measured"] = measure(options, Path(folder, "people.lance"))
        name = "gallery" if options.rows >= 1_000_000 else "short_gallery"
        write(name, results)


if __name__ == "__main__":
    main()
