"""The page of capabilities says what the checks say, and no cell is silent."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from reidblocks import blocks, losses
from reidblocks.testing.blocks import promises_of_blocks
from reidblocks.testing.losses import promises_of_losses

DOCS = Path(__file__).resolve().parents[2] / "docs"
CELL = re.compile(r"yes|no: .+|not run: .+")
Table = dict[str, dict[str, str]]  # row, column, cell


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("capabilities", DOCS / "tools/capabilities.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables(page: str, tool: ModuleType) -> dict[str, Table]:
    return {found[2]: read(found[0]) for found in tool.PLACE.finditer(page)}


def read(text: str) -> Table:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = ([each.strip("` ") for each in line] for line in lines)
    return {name: dict(zip(head, cells, strict=True)) for name, *cells in rows}


def test_no_cell_is_silent(tool: ModuleType) -> None:
    found = tables(tool.PAGE.read_text(), tool)
    assert set(found) == {"blocks", "losses"}
    for table in found.values():
        for row, cells in table.items():
            for column, cell in cells.items():
                assert CELL.fullmatch(cell), f"{row}, {column}: {cell!r}"


def test_every_promise_and_every_part_is_there(tool: ModuleType) -> None:
    found = tables(tool.PAGE.read_text(), tool)
    assert set(promises_of_blocks()) < set(found["blocks"])
    batch = (torch.rand(4, 8), torch.tensor([0, 0, 1, 1]))
    assert set(promises_of_losses(losses.BatchHardTriplet(), batch)) < set(found["losses"])
    for name, module in (("blocks", blocks), ("losses", losses)):
        columns = set(next(iter(found[name].values())))
        classes = {n for n in module.__all__ if isinstance(getattr(module, n), type)}
        assert {n for n in classes if hasattr(getattr(module, n), "forward")} <= columns


def test_the_page_is_what_the_checks_say(tool: ModuleType) -> None:
    """The quick rows; those that compile are held by tests/contracts, and the slow test."""

    def is_quick(row: str) -> bool:
        return not row.startswith(tool.SLOW) and row.rpartition(" ")[2] not in tool.DEVICES

    page = tool.PAGE.read_text()
    found = tables(tool.filled(page, is_quick), tool)
    for name, table in tables(page, tool).items():
        quick = {row: cells for row, cells in table.items() if is_quick(row)}
        assert found[name] == quick, "run python docs/tools/capabilities.py"


@pytest.mark.slow
def test_the_page_is_what_the_slow_checks_say(tool: ModuleType) -> None:
    page = tool.PAGE.read_text()
    found = tables(tool.filled(page, lambda row: row.startswith(tool.SLOW)), tool)
    for name, table in tables(page, tool).items():
        assert found[name] == {row: each for row, each in table.items() if row in found[name]}
