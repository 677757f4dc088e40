"""Draw what a trained model sees, for the first page: python docs/tools/trained.py RUN

RUN is the folder of a run on drawn people, such as `make train` leaves. The two pictures are
committed, as a run takes longer than a site's build.
"""

import argparse
import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/mdpr"))
import visualize
from assemble import eval_loader, pick_device, read_data
from checkpoint import load_checkpoint
from config import from_dict
from evaluate import load_model, score
from looks import ranked_queries
from reidblocks.pictures import ranked_list


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    state = load_checkpoint(parser.parse_args().run)
    config = from_dict(state["config"])
    if config.dataset != "synthetic":
        parser.error(f"the run is on {config.dataset}; only drawn people may be shown")
    model, data = load_model(state).to(pick_device()), read_data(config)
    scored = score(
        model, *(eval_loader(config, s) for s in (data.query, data.gallery)), pick_device()
    )
    rows = visualize.shown_queries(data, scored)[::2]  # two of the worst, two from all over
    lists = ranked_queries(data, scored, rows)
    save(ranked_list([row._replace(matches=row.matches[:5]) for row in lists]), "ranked.jpg")
    save(visualize.attention(model, data, config, count=3), "attention.jpg")


def save(figure: Figure, name: str) -> None:
    """Write a JPEG, a tenth of the size of a PNG of the same sharpness."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    path = Path(__file__).parents[1] / "assets" / name
    Image.open(buffer).convert("RGB").save(path, quality=80, optimize=True)
    print(path, path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
