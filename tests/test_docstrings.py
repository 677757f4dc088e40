"""Every docstring's example runs, those of blocks and losses say what a user must know, and all use
the field's words.
"""

import ast
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
NEEDED = {"reidblocks.gallery.gallery": "lancedb"}  # by examples, which load it when they run


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
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"needs {NEEDED[name]}, an extra")
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
    twin = re.search(r"[Ss]ee `(\w+)`", text, re.MULTILINE)
    elsewhere = re.search(r"shapes\s+and\s+errors(\s+are\s+those\s+of\s+`(\w+)`)?", text, re.I)
    for title in ("Shape", "Raises"):  # a class may leave them to its function twin, or to another
        assert section(text, title) or (
            elsewhere and (elsewhere[2] or (twin and twin[1])) in public.__all__
        ), f"{name} has no section {title}"
    if name not in UNSOURCED:
        assert section(text, "Source") or (twin and twin[1] in public.__all__), (
            f"{name} has no Source"
        )
    arguments = section(text, "Args")
    documented = re.findall(r"^ *([\w, ]+):", arguments, re.MULTILINE)
    named = {name for names in documented for name in names.split(", ")}
    assert named >= set(inspect.signature(thing).parameters), f"{name} leaves out arguments"
    assert ">>>" in text, f"{name} has no example"


SUBPACKAGES = sorted({name.split(".")[1] for name in MODULES if name.split(".")[1][0] != "_"})
NO_VERBS = {"A", "All", "An", "How", "One", "The", "This", "What", "Which", "Why"}
PLURALS = {"Distances", "Embeddings", "Measures"}  # nouns that a class may begin with


def misbegun(text: str, acts: bool) -> str:
    """Return what is wrong with the first line of a docstring; ``acts`` is of what does something.

    A function and a module of torch begin with a verb in the imperative; any other class may also
    begin with a noun.
    """
    first = (text.splitlines() or [""])[0]
    word = re.match(r"`*([\w-]*)", first)[1]  # type: ignore[index]
    if not first.endswith((".", "!", "?")):
        return "is no sentence"
    if acts and (word in NO_VERBS or not word[:1].isupper()):
        return "does not begin with a verb"
    if word.endswith(("s", "ing")) and word not in {"Bring", *NO_VERBS, *PLURALS}:
        return "does not begin with a verb in the imperative"
    return ""


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_public_names_begin_as_the_others_do(subpackage: str) -> None:
    public = load(f"reidblocks.{subpackage}")
    wrong = {}
    for name in getattr(public, "__all__", ()):
        thing = getattr(public, name)
        ours = getattr(thing, "__module__", "").startswith("reidblocks")
        if not ours or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue  # a constant, an alias
        acts = not inspect.isclass(thing) or issubclass(thing, nn.Module)
        if fault := misbegun(inspect.getdoc(thing) or "", acts):
            wrong[name] = fault
    assert not wrong


def test_first_lines_that_are_refused() -> None:
    assert not misbegun("Return the sum.", acts=True)
    assert not misbegun("The sum of all.", acts=False)
    assert misbegun("Return the sum", acts=True) == "is no sentence"
    assert misbegun("The sum of all.", acts=True) == "does not begin with a verb"
    for text in ("Collects the sums.", "Adding up."):
        for acts in (True, False):
            assert misbegun(text, acts) == "does not begin with a verb in the imperative"


NOT_THE_FIELDS_WORDS = {  # phrases, and what a reader of papers would search for
    "the way back": "backward pass",
    "drawn people": "synthetic people",
    "anew": "again, with replacement",
    "hand on": "pass, share",
    "leaves the mean": "is excluded from the mean",
    "right match": "correct match",
    "wrong match": "incorrect match",
    "right image": "correct match",
    "wrong image": "incorrect match",
    "genuine": "positive pair",
    "impostor": "negative pair",
    "taken for one person": "false match",
    "the share of": "the fraction of",
    "as a share of": "as a fraction of",
    "cut short": "truncated",
    "length 1": "L2-normalized",
    "unit length": "L2-normalized",
    "photograph": "image",
    "one an image": "one per image",
    "one a channel": "one per channel",
    "per cent": "percent",
    "normalisation": "normalization",
    "unnormalise": "unnormalize",
    "optimiser": "optimizer",
    "recognised": "recognized",
    "the way forward": "forward pass",
    "invented people": "synthetic people",
    "in turns": "alternating",
    "dearest": "most expensive",
    "straight from the paper": "reference implementation",
    "paper version": "reference implementation",
    "images a second": "images per second",
    "if left out": "if omitted",
    "goes on with": "continues with",
    "the room": "subpackage",
    "greatest": "maximum, largest",
    "asked about": "query image",
    "at will": "at any time",
    "pictures asked": "query images",
    "to the last digit": "exactly, bit for bit",
    "to the last bit": "bit for bit",
    "what works where": "which features work",
    "whole or not at all": "atomically",
}
BRITISH = re.compile(
    r"colour|neighbour|behaviour|favour|honour|centre|centring|grey|licence|catalogue|towards"
    r"|(normal|initial|optim|recogn|quant|general|minim|maxim|summar|serial|visual)is(e|ing|ation)"
    r"|labelled|cancelling|travell|modelling",
    re.IGNORECASE,
)


ROOT = Path(__file__).resolve().parents[1]
PROSE = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("SECURITY.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
def test_pages_use_the_fields_words(path: Path) -> None:
    without_code = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.S | re.M)
    text = " ".join(without_code.split())
    found = {phrase: words for phrase, words in NOT_THE_FIELDS_WORDS.items() if phrase in text}
    assert not found
    assert not BRITISH.search(text)


def phrases_in(code: str) -> list[str]:
    """Return the phrases above that stand in a docstring or another text of a module."""
    texts = [
        " ".join(node.value.split())
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return sorted({phrase for phrase in NOT_THE_FIELDS_WORDS for text in texts if phrase in text})


SOURCE = Path(reidblocks.__path__[0])


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_texts_use_the_fields_words(path: Path) -> None:
    found = phrases_in(path.read_text("utf-8"))
    assert not found, {phrase: NOT_THE_FIELDS_WORDS[phrase] for phrase in found}
    assert not BRITISH.search(path.read_text("utf-8")), "write American English, names too"


def test_a_phrase_is_seen_across_lines_and_within_an_f_string() -> None:
    code = 'def f(x):\n    """Return the share\n    of pairs."""\n    return f"{x} is cut short"'
    assert phrases_in(code) == ["cut short", "the share of"]


def test_a_section_ends_where_its_indent_does() -> None:
    text = "Do.\n\nArgs:\n    a: one\n        line.\n\n    b: two.\n\nSource: a paper.\n\n>>> 1\n1"
    assert section(text, "Args") == "a: one\n        line.\n\n    b: two."
    assert section(text, "Source") == "a paper."
    assert section(text, "Shape") == ""
