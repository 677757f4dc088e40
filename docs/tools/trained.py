"""Draw what a trained model sees, for the README and the site: python docs/tools/trained.py RUN

RUN is the folder of a run on drawn people, such as `make train` leaves. The pictures are
committed, as a run takes longer than a site's build. The one of the report needs playwright and
a Chromium; without them it stays as it was.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/mdpr"))
from build import load_checkpoint, load_model, read_data
from config import from_dict
from evaluate import score_split
from reidblocks.training import atomic_path, read_records
from reidblocks.visualization import ranked_list, training_curves
from report import attention, ranked, training_records, write_run_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    state = load_checkpoint(run)
    config = from_dict(state["config"])
    if config.dataset != "synthetic":
        parser.error(f"the run is on {config.dataset}; only drawn people may be shown")
    model, data = load_model(state), read_data(config)
    scored = score_split(model, config, data)
    lists = ranked(scored)[::2]  # two of the worst, two from all over
    save(ranked_list([row._replace(matches=row.matches[:5]) for row in lists]), "ranked.jpg")
    save(attention(model, data, config, count=3), "attention.jpg")
    records = read_records(run / "metrics.jsonl")
    save(training_curves(training_records(records)), "curves.jpg")
    report = write_run_report(run / "report.html", model, data, scored, config, records)
    photograph(report, "report.jpg")


def save(figure: Figure, name: str) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    write(buffer, name)


def photograph(page: Path, name: str) -> None:
    """Take a picture of the page's list of queries as a browser shows it."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print(f"{name} stays as it was: it needs playwright")
        return
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or driver.chromium.executable_path
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1000, "height": 720})
        view.goto(page.absolute().as_uri())
        view.get_by_label("Identity").select_option(index=1)
        view.locator(".filter").scroll_into_view_if_needed()
        view.evaluate("scrollBy(0, document.querySelector('.filter').getBoundingClientRect().y-90)")
        write(io.BytesIO(view.screenshot()), name)
        browser.close()


def write(buffer: io.BytesIO, name: str) -> None:
    """Write a JPEG, a tenth of the size of a PNG of the same sharpness."""
    path = Path(__file__).parents[1] / "assets" / name
    with atomic_path(path) as partial:
        Image.open(buffer).convert("RGB").save(partial, quality=80, optimize=True)
    print(path, path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
