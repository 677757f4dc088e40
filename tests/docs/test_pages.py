"""Every public name has a place on the site."""

from pathlib import Path

import pytest

import reidblocks
import reidblocks.evaluation
from reidblocks.evaluation import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = "\n".join(page.read_text() for page in sorted(DOCS.rglob("*.md")))
ROOMS = (
    "backbones",
    "data",
    "deploy",
    "gallery",
    "testing",
    "training",
    "visualization",
)  # each on one page as a whole


@pytest.mark.parametrize("name", [name for name in reidblocks.__all__ if name != "__version__"])
def test_a_block_or_loss_is_on_a_page(name: str) -> None:
    assert f"::: reidblocks.{name}\n" in PAGES, f"give {name} a page in docs/, or a place on one"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_on_a_page(room: str) -> None:
    assert f"::: reidblocks.{room}\n" in PAGES


@pytest.mark.parametrize("name", reidblocks.evaluation.__all__)
def test_a_part_of_the_evaluation_is_on_a_page(name: str) -> None:
    assert f"::: reidblocks.evaluation.{name}\n" in PAGES or (
        name.isupper() and f"`{name}`" in PAGES
    )


def test_no_room_is_forgotten() -> None:
    rooms = {init.parent.name for init in Path(reidblocks.__file__).parent.glob("*/__init__.py")}
    assert rooms == {*ROOMS, "blocks", "losses", "evaluation"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_has_a_picture_on_its_page(name: str) -> None:
    assert f"](pictures/protocol-{name}.png)" in (DOCS / "protocols.md").read_text()
    drawn = (DOCS / "tools" / "pictures" / "protocols.py").read_text()
    function = f"protocol_{name.replace('-', '_')}"
    assert f"def {function}()" in drawn
    assert f"    {function},\n" in drawn.partition("\nALL = ")[2]
