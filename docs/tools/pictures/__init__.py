"""The site's pictures, from formulas, from our own blocks and from people drawn by the program.

To look at them without the site: python -c "import pictures; pictures.main()" FOLDER here.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure

from pictures import attention, blocks, circle, diagrams, gallery, losses, people, protocols
from pictures.style import encode
from reidblocks.training import write_file

ROOMS = (attention, blocks, circle, diagrams, gallery, losses, people, protocols)


def draw_all() -> dict[str, bytes]:
    """Each picture by its file's name: every function in the rooms' ALL draws one."""
    drawings: dict[str, Callable[[], Figure]] = {
        f"{draw.__name__.replace('_', '-')}.png": draw for room in ROOMS for draw in room.ALL
    }
    return {name: _draw(draw) for name, draw in drawings.items()}


def _draw(draw: Callable[[], Figure]) -> bytes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return encode(draw())


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in draw_all().items():
        write_file(folder / name, content)
