"""The example can be read from the top: no file uses one that its README lists below it."""

import ast
import re
from pathlib import Path

import pytest

import train

EXAMPLE = Path(train.__file__).parent


def listed(readme: Path) -> list[str]:
    """Name the files of a README's first table, in its order."""
    table = readme.read_text().split("|---|---|\n")[1].split("\n\n")[0]
    return re.findall(r"`(\w+)\.py`", "\n".join(row.split("|")[1] for row in table.splitlines()))


def used_by(file: Path) -> set[str]:
    """Name the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", [EXAMPLE, EXAMPLE / "ablation"], ids=lambda path: path.name)
def test_the_readme_lists_every_file(folder: Path) -> None:
    names = listed(folder / "README.md")
    assert sorted(names) == sorted(path.stem for path in folder.glob("*.py"))


def test_a_file_uses_only_those_above_it() -> None:
    names = listed(EXAMPLE / "README.md")
    for place, name in enumerate(names):
        below = used_by(EXAMPLE / f"{name}.py") & {*names[place:]}
        assert not below, f"{name}.py uses {', '.join(sorted(below))}"


def test_the_example_does_not_use_its_ablation() -> None:
    there = {path.stem for path in (EXAMPLE / "ablation").glob("*.py")}
    for path in EXAMPLE.glob("*.py"):
        assert not used_by(path) & there, path.name
