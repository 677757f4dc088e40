"""Every docstring's example runs, and those of blocks and losses say what a user must know."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import reidblocks

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(reidblocks.__path__, "reidblocks.")
    if not module.name.endswith("__main__")
)
EXTRAS = {"matplotlib", "hypothesis", "pytest", "safetensors"}


def load(name: str) -> ModuleType:
    """Import a module, or skip where the extra it needs is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            pytest.skip(f"{name} needs {error.name}, an extra that is not installed")
        raise


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = load(name)
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for example in doctest.DocTestFinder().find(module, extraglobs={"torch": torch}):
        torch.manual_seed(0)
        runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


UNSOURCED = {  # no paper's own
    "cosine_similarity_matrix",
    "gather_batch",
    "pair_masks",
}
PUBLIC = [
    (room, name)
    for room in ("blocks", "losses")
    for name in importlib.import_module(f"reidblocks.{room}").__all__
]


def section(text: str, title: str) -> str:
    """Return what stands indented under a title, or behind it."""
    found = re.search(rf"^{title}:(.*(?:\n(?: .*|(?=\n)))*)", text, re.MULTILINE)
    return found[1].strip() if found else ""


@pytest.mark.parametrize(("room", "name"), PUBLIC)
def test_a_public_name_of_blocks_and_losses_is_explained(room: str, name: str) -> None:
    public = importlib.import_module(f"reidblocks.{room}")
    thing = getattr(public, name)
    text = inspect.getdoc(thing) or ""
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{name}("), f"{name} has the docstring Python made for it"
    assert text.splitlines()[0].endswith("."), f"{name} begins with a line that is no sentence"
    if inspect.isclass(thing) and not issubclass(thing, nn.Module):
        return  # what is passed on, such as a NamedTuple, has no more to say
    for title in ("Shape", "Raises"):
        assert section(text, title), f"{name} has no section {title}"
    twin = re.search(r"[Ss]ee `(\w+)`", text, re.MULTILINE)
    if name not in UNSOURCED:  # a class may leave it to its function twin
        assert section(text, "Source") or (twin and twin[1] in public.__all__), (
            f"{name} has no Source"
        )
    arguments = section(text, "Args")
    documented = re.findall(r"^ *([\w, ]+):", arguments, re.MULTILINE)
    named = {name for names in documented for name in names.split(", ")}
    assert named >= set(inspect.signature(thing).parameters), f"{name} leaves out arguments"
    assert ">>>" in text, f"{name} has no example"


def test_a_section_ends_where_its_indent_does() -> None:
    text = "Do.\n\nArgs:\n    a: one\n        line.\n\n    b: two.\n\nSource: a paper.\n\n>>> 1\n1"
    assert section(text, "Args") == "a: one\n        line.\n\n    b: two."
    assert section(text, "Source") == "a paper."
    assert section(text, "Shape") == ""
