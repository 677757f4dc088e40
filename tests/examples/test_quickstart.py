"""The short examples run, stay short, and import nothing that a reader has not got."""

import ast
import re
import sys
from pathlib import Path

import pytest
from from_wheel import EXAMPLES, PICTURE, check_quickstart, draw, run
from PIL import Image

LINES = {"quickstart.py": 80, "search_folder.py": 60, "stripes.py": 60}
PACKAGES = {"torch", "torchvision", "reidblocks"}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return draw(tmp_path_factory.mktemp("people"))


@pytest.mark.parametrize("name", LINES)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= LINES[name]


@pytest.mark.parametrize("name", LINES)
def test_an_example_needs_torch_and_reidblocks_alone(name: str) -> None:
    taken = set()
    for node in ast.walk(ast.parse((EXAMPLES / name).read_text())):
        if isinstance(node, ast.Import):
            taken |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            taken.add((node.module or "").partition(".")[0])
    assert taken - set(sys.stdlib_module_names) <= PACKAGES


def test_every_short_example_has_its_limit() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(LINES)


def test_the_quickstart_on_a_folder(people: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra visualization)")
    printed = run("quickstart.py", tmp_path, people[0])
    check_quickstart(printed, tmp_path, pictures=True)
    assert "cannot download https://" in printed  # ImageNet's weights; it goes on without them
    assert "random weights" in printed


def test_the_quickstart_on_a_table_without_the_extra(
    people: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('as if not installed')")
    path = f"{tmp_path}:{Path(EXAMPLES.parent, 'src')}"
    printed = run("quickstart.py", tmp_path, people[1], PYTHONPATH=path)
    check_quickstart(printed, tmp_path, pictures=False)


def test_stripes_run(people: tuple[Path, Path], tmp_path: Path) -> None:
    printed = run("stripes.py", tmp_path, people[1])
    assert printed.index("untrained") < printed.index("epoch 1 of 1") < printed.index("\ntrained")
    assert not (tmp_path / PICTURE).exists()


def test_a_folder_is_searched(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs LanceDB (extra gallery)")
    shades = {"anna": (200, 40, 30), "ben": (20, 160, 60), "carl": (30, 50, 210)}
    for person, shade in shades.items():
        (tmp_path / "people" / person).mkdir(parents=True)
        for shot in range(3):
            image = Image.new("RGB", (24, 48), tuple(part + 5 * shot for part in shade))
            image.save(tmp_path / "people" / person / f"{shot}.png")
    printed = run("search_folder.py", tmp_path, "people", epochs=None)
    assert re.search(r"^person anna: anna, 0\.\d+ away$", printed, re.MULTILINE)
    assert re.search(r"^person ben: ben, ", printed, re.MULTILINE)
    assert "person carl: nobody" in printed  # is not in the gallery
    assert "2 images of person anna are deleted for good\nand nobody finds them: True" in printed


def test_the_search_runs_on_synthetic_people(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs LanceDB (extra gallery)")
    printed = run("search_folder.py", tmp_path, epochs=None)
    assert len(re.findall(r"^person \d+: ", printed, re.MULTILINE)) == 8
    assert "nobody finds them: True" in printed


@pytest.mark.slow
def test_the_quickstart_learns(tmp_path: Path) -> None:
    """Train it as a reader does: minutes."""
    printed = run("quickstart.py", tmp_path, epochs=8)
    before, after = (
        float(line.split("mAP")[1].split("%")[0])
        for line in printed.splitlines()
        if line.startswith(("untrained", "trained"))
    )
    assert after > 5 * before
