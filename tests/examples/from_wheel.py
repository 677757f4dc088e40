"""Run the short examples in the environment of this Python: from_wheel.py [--pictures]

`make test-wheel` runs it where nothing but the wheel is installed, and once more with the extra
`visualization`; test_quickstart.py uses its parts. Nothing is downloaded.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import reidblocks
from reidblocks.data import read_market1501, synthetic_people

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PICTURE = "quickstart.png"
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nobody answers


def draw(folder: Path) -> tuple[Path, Path]:
    """Draw a few small people; return their folder, and a table of them."""
    few = {"num_train_identities": 4, "num_test_identities": 4, "images_per_camera": 2}
    people = synthetic_people(folder, num_cameras=2, size=(32, 16), **few)
    data, rows = read_market1501(people), ["path,identity,camera,split"]
    for split in ("train", "query", "gallery"):
        for path, identity, camera, *_ in getattr(data, split):
            rows.append(f"{path.relative_to(people)},{identity},{camera},{split}")
    table = people / "people.csv"
    table.write_text("\n".join(rows))
    return people, table


def run(
    name: str, folder: Path, *arguments: object, epochs: int | None = 1, **variables: str
) -> str:
    """Run an example as a process in the folder, and return what it printed."""
    known = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    trained = [] if epochs is None else ["--epochs", str(epochs)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments), *trained],
        cwd=folder,
        env=known | NO_NETWORK | {"TORCH_HOME": str(folder / "home"), **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check_quickstart(printed: str, folder: Path, *, pictures: bool) -> None:
    """Hold what the quickstart prints and leaves to what it promises."""
    for row in ("untrained", "trained"):
        assert re.search(rf"^{row} +mAP +\d+\.\d% +rank-1 +\d+\.\d%$", printed, re.MULTILINE)
    assert "epoch 1 of 1: loss " in printed
    assert (folder / PICTURE).is_file() == pictures
    assert ("pip install 'reidblocks[visualization]'" in printed) != pictures


def main() -> None:
    pictures = "--pictures" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people, table = draw(folder)
        check_quickstart(run("quickstart.py", folder, people), folder, pictures=pictures)
        assert "mAP" in run("stripes.py", folder, table)
    where = "with pictures" if pictures else "without pictures"
    print(f"the examples run {where} on reidblocks {reidblocks.__version__}, {reidblocks.__file__}")


if __name__ == "__main__":
    main()
