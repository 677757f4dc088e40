"""Who may know whom (docs/contributing/architecture.md), read from the imports of every file."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "reidblocks"

ROOMS_KNOWN = {
    "blocks": set(),
    "losses": set(),
    "backbones": set(),
    "data": set(),
    "deploy": {"blocks", "backbones"},  # which it has to know to fold them, and to fill them
    "evaluation": set(),
    "gallery": {"data", "deploy", "visualization"},  # its commands read, embed and draw
    "visualization": {"evaluation"},
    "training": set(),
    "testing": {
        "blocks",
        "losses",
        "backbones",
        "data",
        "deploy",
        "evaluation",
        "gallery",
        "visualization",
        "training",
    },
}
SHARED_BLOCKS = {"projection", "pooling", "neck", "head"}
AT_THE_ROOT = {"blocks", "losses"}  # what `import reidblocks` loads


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each module imported, by its full name, with the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                yield ".".join([*base, *filter(None, [node.module])]), names
            else:
                yield node.module or "", names


def module_of(path: Path) -> tuple[str, str]:
    """Name a file's module and its package."""
    parts = ["reidblocks", *path.relative_to(SOURCE).with_suffix("").parts]
    if parts[-1] == "__init__":
        return ".".join(parts[:-1]), ".".join(parts[:-1])
    return ".".join(parts), ".".join(parts[:-1])


def faults_within(code: str, module: str, package: str) -> list[str]:
    """Say what a module of reidblocks imports that it may not."""
    faults = []
    room, *inside = [*module.split(".")[1:], ""]
    examples = {path.stem for path in (ROOT / "examples").rglob("*.py")}
    for origin, names in imported(ast.parse(code), package):
        first, *rest = origin.split(".")
        if first in {"examples", "benchmarks", "tests"} | examples:
            faults.append(f"{module} imports {origin}: nothing in src knows it")
        if first != "reidblocks":
            continue
        # `from reidblocks import blocks` names the room where others have it in the path
        reached = [rest] if rest else [[name] for name in names] or [[""]]
        for target, *deeper in reached:
            if target.startswith("_") and target != "__version__":
                continue  # the root's private modules are for all
            if room == "":
                if target not in AT_THE_ROOT:
                    faults.append(f"{module} imports {origin}: import reidblocks must be light")
            elif target != room and target not in ROOMS_KNOWN[room]:
                faults.append(f"{module} imports {target or origin}: {room} may not know it")
            elif room == target == "blocks" and inside[0] != "":
                sibling = deeper[0] if deeper else names[0]
                if sibling not in SHARED_BLOCKS:
                    faults.append(f"{module} imports {sibling}: blocks share {SHARED_BLOCKS} only")
    return faults


def faults_outside(code: str, file: str) -> list[str]:
    """Say what an example or benchmark uses of reidblocks that is not public."""
    faults, taken = [], set()
    tree = ast.parse(code)
    for origin, names in imported(tree, ""):
        if origin.split(".")[0] != "reidblocks":
            continue
        taken |= {"reidblocks", *names}
        if origin.removeprefix("reidblocks.") not in {"reidblocks", *ROOMS_KNOWN}:
            faults.append(f"{file} imports {origin}: import from the room, reidblocks.<room>")
            continue
        public = {*importlib.import_module(origin).__all__, *ROOMS_KNOWN}
        faults += [f"{file} imports {name} of {origin}" for name in names if name not in public]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.endswith("__")
            if private and node.value.id in taken:
                faults.append(f"{file} uses {node.value.id}.{node.attr}")
    return faults


SOURCES = sorted(SOURCE.rglob("*.py"))
USERS = sorted([*(ROOT / "examples").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_knows_only_what_it_may(path: Path) -> None:
    assert faults_within(path.read_text(), *module_of(path)) == []


@pytest.mark.parametrize("path", USERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_and_benchmarks_use_public_names(path: Path) -> None:
    assert faults_outside(path.read_text(), path.name) == []


def test_every_room_has_its_rule() -> None:
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert rooms == set(ROOMS_KNOWN)


@pytest.mark.parametrize(
    ("module", "code", "fault"),
    [
        ("losses.circle", "from reidblocks.blocks import GeM", "losses may not know it"),
        ("losses.circle", "import reidblocks.blocks.pooling", "losses may not know it"),
        ("losses.circle", "from reidblocks import blocks", "losses may not know it"),
        ("losses.circle", "import reidblocks", "losses may not know it"),
        ("losses.circle", "from ..blocks import GeM", "losses may not know it"),
        ("losses.circle", "def f():\n    from reidblocks.data import x", "losses may not know it"),
        (
            "evaluation.ranking",
            "from reidblocks.visualization import x",
            "evaluation may not know it",
        ),
        (
            "visualization.ranked",
            "from reidblocks.testing import check_block",
            "visualization may not know",
        ),
        ("blocks.fusion", "from reidblocks.blocks.bilinear import BAP", "imports bilinear"),
        ("blocks.fusion", "from reidblocks.blocks import BAP", "imports BAP"),
        ("blocks.fusion", "from . import bilinear", "imports bilinear"),
        ("blocks.fusion", "from model import MDPR", "nothing in src knows it"),
        ("blocks.fusion", "from examples.mdpr import model", "nothing in src knows it"),
        ("", "from reidblocks.data import read_market1501", "must be light"),
    ],
)
def test_the_rule_sees_a_fault(module: str, code: str, fault: str) -> None:
    name = ".".join(filter(None, ["reidblocks", module]))
    package = name.rsplit(".", 1)[0] if module else name
    faults = faults_within(code, name, package)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("losses.circle", "from reidblocks._checks import expect_shape"),
        ("losses.circle", "from reidblocks import _checks"),
        ("losses.circle", "from reidblocks.losses.pairs import pair_masks"),
        ("losses.circle", "from .pairs import pair_masks"),
        ("losses.circle", "import torch, math"),
        ("visualization.ranked", "from reidblocks.evaluation import Matching"),
        ("testing.blocks", "from reidblocks.losses import circle_loss"),
        ("blocks.fusion", "from reidblocks.blocks.pooling import GeM"),
        ("blocks.fusion", "from . import pooling"),
        ("", "from reidblocks.blocks import GeM"),
    ],
)
def test_the_rule_lets_pass_what_is_allowed(module: str, code: str) -> None:
    name = ".".join(filter(None, ["reidblocks", module]))
    assert faults_within(code, name, name.rsplit(".", 1)[0] if module else name) == []


@pytest.mark.parametrize(
    "code",
    [
        "from reidblocks.blocks.pooling import GeM",
        "from reidblocks.blocks import _Bounded",
        "from reidblocks import _checks",
        "import reidblocks._checks",
        "from reidblocks.blocks import NotThere",
        "from reidblocks import blocks\nblocks._hidden()",
        "import reidblocks\nreidblocks._checks.expect_shape()",
    ],
)
def test_a_private_name_in_an_example_is_seen(code: str) -> None:
    assert faults_outside(code, "train.py")


def test_importing_reidblocks_is_light() -> None:
    code = (
        "import sys, reidblocks\n"
        "heavy = {'torchvision', 'PIL', 'matplotlib', 'hypothesis', 'pytest'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "rooms = {name for name in sys.modules if name.startswith('reidblocks.')}\n"
        "assert not any('data' in name or 'visualization' in name for name in rooms), rooms"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
