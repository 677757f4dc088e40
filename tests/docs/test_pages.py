"""Every public name has a place on the site."""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import reidblocks
from reidblocks.evaluation import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = "\n".join(page.read_text() for page in sorted(DOCS.rglob("*.md")))
WHOLE = (
    "backbones",
    "data",
    "deploy",
    "evaluation",
    "gallery",
    "testing",
    "training",
    "visualization",
)  # each on one page as a whole


@pytest.mark.parametrize("name", [name for name in reidblocks.__all__ if name != "__version__"])
def test_a_block_or_loss_is_on_a_page(name: str) -> None:
    assert f"::: reidblocks.{name}\n" in PAGES, f"give {name} a page in docs/, or a place on one"


@pytest.mark.parametrize("subpackage", WHOLE)
def test_a_subpackage_is_on_a_page(subpackage: str) -> None:
    page = (DOCS / "api" / f"{subpackage}.md").read_text()
    assert f"<!-- api: reidblocks.{subpackage} -->" in page


def test_no_subpackage_is_forgotten() -> None:
    there = {init.parent.name for init in Path(reidblocks.__file__).parent.glob("*/__init__.py")}
    assert there == {*WHOLE, "blocks", "losses"}
    for subpackage in ("blocks", "losses"):  # each name has a page, and this one lists them
        page = (DOCS / "api" / f"{subpackage}.md").read_text()
        assert f"<!-- names: reidblocks.{subpackage} -->" in page


@pytest.mark.parametrize("subpackage", [*WHOLE, "blocks", "losses"])
def test_a_page_of_names_has_all_of_them_functions_before_exceptions(subpackage: str) -> None:
    pytest.importorskip("ziamath", reason="needs the extra docs")
    module = importlib.import_module(f"reidblocks.{subpackage}")
    written = hooks().on_page_markdown((DOCS / "api" / f"{subpackage}.md").read_text())
    names = re.findall(r"^\| \[`(\w+)`\]", written, re.MULTILINE)
    assert sorted(names) == sorted(module.__all__)
    if subpackage in WHOLE:
        assert re.findall(r"^::: reidblocks\.\w+\.(\w+)$", written, re.MULTILINE) == names
    errors = [name for name in names if name.endswith("Error")]
    assert names[len(names) - len(errors) :] == errors


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "tools" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_has_a_picture_on_its_page(name: str) -> None:
    assert f"](pictures/protocol-{name}.png)" in (DOCS / "protocols.md").read_text()
    drawn = (DOCS / "tools" / "pictures" / "protocols.py").read_text()
    function = f"protocol_{name.replace('-', '_')}"
    assert f"def {function}()" in drawn
    assert f"    {function},\n" in drawn.partition("\nALL = ")[2]


MIGRATION = sorted((DOCS / "coming-from").glob("*.md"))
SUBPACKAGES = [
    reidblocks,
    *(importlib.import_module(f"reidblocks.{name}") for name in ("backbones", "data", "deploy")),
    *(importlib.import_module(f"reidblocks.{name}") for name in ("evaluation", "training")),
]
OTHERS = {"torch", "CrossEntropyLoss", "DataLoader", "ranked_list"}  # torch's; an extra's


@pytest.mark.parametrize("page", MIGRATION, ids=lambda page: page.stem)
def test_a_migration_page_names_what_there_is(page: Path) -> None:
    """What the column "here" calls exists, and takes the arguments that it names."""
    rows = re.findall(r"^\|(?:[^|]*)\|([^|]*)\|$", page.read_text(), re.MULTILINE)[2:]
    assert len(rows) > 10
    calls = 0
    for code in re.findall(r"`([^`\n]+)`", "\n".join(rows)):
        found = re.match(r"([A-Za-z_]\w+)(?:\((.*)\))?$", code)
        if found is None or found[1] in OTHERS:
            continue
        (thing,) = {getattr(each, found[1]) for each in SUBPACKAGES if hasattr(each, found[1])}
        calls += 1
        for argument in re.findall(r"(\w+)=", found[2] or ""):
            assert argument in inspect.signature(thing).parameters, code
    assert calls > 5
