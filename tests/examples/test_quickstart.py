"""The short examples run, stay short, and import nothing that a reader has not got."""

import ast
import sys
from pathlib import Path

import pytest
from from_wheel import EXAMPLES, PICTURE, check_quickstart, draw, run

LINES = {"quickstart.py": 80, "stripes.py": 60}
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
