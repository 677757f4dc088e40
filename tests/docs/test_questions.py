"""What users ask has an answer: two clicks from the first page, or one search away."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


class Question(NamedTuple):
    asked: str  # what is typed into the search
    page: str  # where the answer is
    answer: str  # a phrase of it


QUESTIONS = [
    Question("install", "install.md", "pip install '.[visualization]'"),
    Question("which p GeM", "blocks/pooling.md", "starts at p = 3 and trains it"),
    Question("which loss first", "losses/choosing.md", "Start with [CircleClassifier]"),
    Question("why circle loss 50", "losses/choosing.md", "Circle loss starts near 50"),
    Question("before after BN", "faq.md", "search with what you trained"),
    Question("DDP own loop", "losses/gather.md", "In DDP, before any loss over pairs"),
    Question("own CSV", "guides/your-cameras.md", "from_csv("),
    Question("no cameras", "faq.md", "protocol=NO_CAMERAS"),
    Question("distance threshold", "evaluation-beyond.md", "threshold_at("),
    Question("export ONNX", "deployment.md", 'export_onnx(embedder, "person.onnx")'),
    Question("vision transformer ViT", "guides/timm.md", 'timm_backbone("vit_tiny_patch16_224")'),
    Question("fast-reid checkpoint", "guides/weights.md", "fastreid_resnet50"),
    Question("resume training", "guides/training.md", "`train.py --resume RUN` continues"),
    Question("reproduce MDPR", "reproduce.md", "--preset market1501"),
    Question("results real images", "results.md", "## How does MDPR compare with baselines?"),
    Question("block own", "extend.md", "check_block("),
    Question("cite", "cite.md", "@article{fu2024mutual"),
    Question("Windows Mac", "install.md", "On Windows and macOS it is untested"),
    Question("faster than", "benchmarks.md", "<!-- losses summary -->"),
    Question("what changed", "changelog.md", '--8<-- "CHANGELOG.md"'),
]


def links(page: str) -> set[str]:
    """Name the pages that a page links to."""
    text = (DOCS / page).read_text("utf-8")
    found = re.findall(r"\]\(([^)#\s:]+\.md)", text)
    folder = (DOCS / page).parent
    return {(folder / link).resolve().relative_to(DOCS).as_posix() for link in found}


def test_there_are_twenty() -> None:
    assert len({question.asked for question in QUESTIONS}) == 20


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.asked)
def test_the_answer_is_there_within_two_clicks(question: Question) -> None:
    assert question.answer in (DOCS / question.page).read_text("utf-8")
    near = links("index.md")
    assert question.page in near.union(*map(links, near))


@pytest.mark.slow
def test_one_search_finds_it(tmp_path: Path) -> None:
    """A section of the page, or one that links to it, holds all words of the question."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    index = json.loads((tmp_path / "search" / "search_index.json").read_text("utf-8"))
    sections = [
        (each["location"].partition("#")[0], each["title"] + " " + each["text"])
        for each in index["docs"]
    ]
    missed = []
    for question in QUESTIONS:
        words = question.asked.lower().split()
        found = {where for where, text in sections if all(word in text.lower() for word in words)}
        pages = {question.page.replace(".md", ".html"), "faq.html"}
        linked = question.page in links("faq.md") | {"faq.md"}
        if not (found & pages and (linked or question.page.replace(".md", ".html") in found)):
            missed.append(question.asked)
    assert not missed
