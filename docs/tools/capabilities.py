"""Write the tables of docs/capabilities.md: what torch does with each block and loss, tried here.

    python docs/tools/capabilities.py

The blocks and losses are those of tests/contracts, the checks those of `reidblocks.testing`. A cell
is "yes", "no: REASON" or "not run: REASON". A promise that `check_block` gains is a row by itself.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidblocks.testing import _capabilities as can
from reidblocks.testing._promises import Check, Inputs, expect_same, gradients_of, keep_promises
from reidblocks.testing.blocks import promises_of_blocks
from reidblocks.testing.losses import as_module, promises_of_losses
from reidblocks.training import write_file

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "capabilities.md"
PLACE = re.compile(r"(<!-- (blocks|losses) -->\n).*?(<!-- end -->)", re.DOTALL)
SLOW = ("compiles", "exports")  # rows that the quick test leaves out
DEVICES = ("cuda", "mps")
REASONS = {  # what a check says, in the table's words
    "Batch norm got a batched tensor": "torch's batch norm updates its statistics in place",
    "does not have a setup_context": "an autograd.Function without setup_context",
    "must override the setup_context": "an autograd.Function without setup_context",
    "does not have vmap support": "an autograd.Function without a rule for vmap",
    "gives float64": "it computes in float64",
    "support dynamic shape": "an operator whose shape depends on values",
    "Proxy object cannot be iterated": "it iterates over a shape",
    "symbolically traced variables": "it branches on a shape or a dtype",
    "the derivative of a gradient penalty is": "they differ from finite differences",
}

NOT_PROMISED = {  # why a check has nothing to look at
    "pickled": "it is a function",
    "names of the labels": "it has no labels, or they are rows of what it learns",
    "identity": "it has no labels",
    "of its value": "it holds a constant by design",
}


class Column(NamedTuple):
    """One block or loss, and a check for each row."""

    make: Callable[[], nn.Module]
    inputs: Inputs
    checks: Mapping[str, Check]
    exact: bool = True  # whether its gradient is that of its value, with nothing held constant


def blocks() -> dict[str, Column]:
    contracts = _contracts("test_blocks")
    columns = {}
    for name, (make, inputs, height_multiple) in contracts.cases().items():
        if name != "function twins" and " " in name:
            continue  # another configuration of the same block
        exact = not contracts.holds_something_constant(name)
        checks = dict(promises_of_blocks(height_multiple, exact))
        checks["works under torch.func.vmap in training"] = can.is_vectorized
        checks["is traced by TorchScript"] = lambda block, inputs: can.is_traced_by_torchscript(
            block.eval(), inputs
        )
        columns["functions" if " " in name else name] = Column(
            make, inputs, checks | _devices(), exact
        )
    return columns


def losses() -> dict[str, Column]:
    columns = {}
    for name, (make, kinds, inputs) in _contracts("test_losses").CASES.items():
        if " " in name:
            continue

        def module(make: Callable[[], Callable[..., Tensor]] = make) -> nn.Module:
            return as_module(make())

        checks = promises_of_losses(module(), inputs, **kinds)
        checks["is traced by TorchScript"] = can.is_traced_by_torchscript
        exact = kinds.get("exact_gradient", True)
        columns[name] = Column(module, inputs, checks | _devices(), exact)
    return columns


def table(columns: Mapping[str, Column], row: Callable[[str], bool] = lambda name: True) -> str:
    """Run the checks of the rows that are asked for and lay them out as Markdown."""
    # of the columns that promise most; what one of the others does not, it says
    longest = max(columns.values(), key=lambda column: len(column.checks)).checks
    rows = [name for name in longest if row(name)]
    lines = [["", *(name if name == "functions" else f"`{name}`" for name in columns)]]
    lines += [[name, *(cell(column, name) for column in columns.values())] for name in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(column: Column, name: str) -> str:
    device = name.rpartition(" ")[2]
    if device in DEVICES and not _is_there(device):
        return "not run: no device"
    if name not in column.checks:
        return f"not run: {next(words for text, words in NOT_PROMISED.items() if text in name)}"
    torch.manual_seed(0)
    try:
        keep_promises("It", {name: column.checks[name]}, column.make(), column.inputs)
    except AssertionError as error:
        said = str(error).partition("': ")[2]
        reason = next((words for text, words in REASONS.items() if text in said), None)
        return f"no: {reason or said.splitlines()[0].partition(' differs by ')[0][:80]}"
    if name == "has true second derivatives" and not column.exact:
        return "not run: it holds a constant by design; they are finite"
    return "yes"


def filled(page: str, row: Callable[[str], bool] = lambda name: True) -> str:
    """Put each table in its place."""

    def write(found: re.Match[str]) -> str:
        columns = blocks() if found[2] == "blocks" else losses()
        return f"{found[1]}\n{table(columns, row)}\n\n{found[3]}"

    return PLACE.sub(write, page)


def _devices() -> dict[str, Check]:
    def on(device: str) -> Check:
        def gives_the_same(module: nn.Module, inputs: Inputs) -> None:
            expected, gradients = gradients_of(module, inputs)
            module.zero_grad()
            found, there = gradients_of(module.to(device), tuple(x.to(device) for x in inputs))
            expect_same([each.cpu() for each in found], expected, "the output", 1e-3)
            for name, gradient in gradients.items():
                if gradient is not None:
                    got = [] if there[name] is None else [there[name].cpu()]
                    expect_same(got, [gradient], f"the gradient of {name}", 1e-2)

        return gives_the_same

    return {f"gives what a CPU gives on {device}": on(device) for device in DEVICES}


def _is_there(device: str) -> bool:
    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def _contracts(name: str) -> ModuleType:
    path = DOCS.parent / "tests" / "contracts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"contracts_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # pickle finds it there
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    write_file(PAGE, filled(PAGE.read_text()))
