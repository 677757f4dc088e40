"""How many operators does a training step of MDPR call, and which part of it calls them?

    python benchmarks/operators.py                       # ResNet-50, the circle loss over classes
    python benchmarks/operators.py --backbone resnet18 --embed-dim 128

Each operator that is dispatched costs the host some microseconds, however little it computes: a
GPU that is quicker than that waits for it. Their number is the same on every machine, whatever
the size of batch and images. One step is counted, forward and backward, views included: an
operator of the backward pass belongs to the part whose forward pass recorded it. Written to
`benchmarks/results/operators.json`, for both forms of the circle loss.
"""

import argparse
import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from measuring import machine, write
from reidblocks.data import BatchAugmentation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from build import build_model
from config import PRESETS, MDPRConfig
from criterion import Criterion
from run import parameter_groups

MODEL = ("stem", "hard branch", "soft branch", "fusion")
PARTS = ("augmentation", *MODEL, "losses", "clipping", "optimizer", "other")


class Parts(TorchDispatchMode):
    """Count operators by the part at work, or that recorded what the gradient goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self.part = "other"
        self.recorded: list[tuple[int, int, str]] = []  # sequence numbers of each part's nodes
        self.owners: dict[Tensor, str] = {}  # of parameters

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        node = torch._C._current_autograd_node()
        part = self.part
        if hasattr(node, "variable"):  # the gradient of a parameter
            part = self.owners[node.variable]
        elif node is not None:
            part = self.of(node._sequence_nr())
        self.counts[part] += 1
        return function(*args, **(kwargs or {}))

    def of(self, number: int) -> str:
        """Name the part that recorded a node; the innermost, which ended first."""
        return next(
            (part for first, last, part in self.recorded if first <= number < last), "other"
        )

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """Count what is called within as this part's."""
        before, first = self.part, torch.autograd._get_sequence_nr()
        self.part = part
        try:
            yield
        finally:
            self.part = before
            self.recorded.append((first, torch.autograd._get_sequence_nr(), part))

    def watch(self, module: nn.Module | None, part: str) -> None:
        """Count all calls of a module as this part's."""
        if module is None:
            return
        call = module.forward
        self.owners.update(dict.fromkeys(module.parameters(), part))

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.at(part):
                return call(*args, **kwargs)

        module.forward = watched  # type: ignore[method-assign]


def count(config: MDPRConfig, half: bool, identities: int = 4) -> dict[str, int]:
    """Count one step on random images, the second: the optimizer's state is there then."""
    torch.manual_seed(0)
    model = build_model(config, pretrained=False)
    criterion = Criterion(config, model.sizes, identities)
    step = nn.ModuleList([model, criterion])
    augment = BatchAugmentation(config.flip, config.erase, config.patch)
    groups = parameter_groups(step, config)
    optimizer = torch.optim.Adam(groups, weight_decay=config.weight_decay, fused=True)
    images = torch.randint(256, (2 * identities, 3, config.height, config.width)).byte()
    labels = torch.arange(identities).repeat_interleave(2)
    parts = Parts()
    for module, part in (
        (augment, "augmentation"), (model.stem, "stem"), (model.soft_stem, "stem"),
        (model.hard, "hard branch"), (model.soft, "soft branch"), (model.fusion, "fusion"),
        (criterion, "losses"),
    ):  # fmt: skip
        parts.watch(module, part)
    for _ in range(2):
        parts.counts.clear()
        parts.recorded.clear()
        with parts:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                terms = criterion(model(augment(images)), labels)
            torch.stack([*terms.values()]).sum().backward()
            with parts.at("clipping"):
                norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters()])
                torch.nn.utils.clip_grads_with_norm_(step.parameters(), 1.0, norm)
            with parts.at("optimizer"):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    return {part: parts.counts[part] for part in PARTS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--embed-dim", type=int, default=512)
    options = parser.parse_args()
    base = dataclasses.replace(
        PRESETS["market1501"], backbone=options.backbone, embed_dim=options.embed_dim,
        weights="", height=64, width=32,
    )  # fmt: skip
    results: dict[str, Any] = {}
    for circle, half in itertools.product(("class", "pair"), (False, True)):
        counts = count(dataclasses.replace(base, circle=circle), half)
        total, kind = sum(counts.values()), "bfloat16" if half else "float32"
        beside = 1 - sum(counts[part] for part in MODEL) / total
        found = {"operators": counts, "total": total, "beside the model": beside}
        results[f"{circle}, {kind}"] = found
        over = "classes" if circle == "class" else "pairs"
        print(f"circle loss over {over}, {kind}: {total} operators")
        for part, number in counts.items():
            print(f"  {part:<14}{number:6}  {number / total:6.1%}")
        print(f"  beside the model's own layers {beside:.1%}\n")
    write("operators", {"machine": machine(), "backbone": options.backbone, **results})


if __name__ == "__main__":
    main()
