"""Every part of MDPR, the way to disconnect it silently, and what its gradient should reach.

A disconnection changes the code as a slip would: nothing fails, no value that is printed changes
(but for guidance and the sampler's), and a gradient no longer arrives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from criterion import Criterion
from model import Fusion, HardBranch, SoftBranch
from reidblocks import GuidedAttention, HardPartitionOutput, HeadOutput
from reidblocks.blocks import distillation
from reidblocks.data import sampling

Cut = Callable[[pytest.MonkeyPatch], None]


class Part(NamedTuple):
    """One part: how to cut it, and the modules whose gradient that changes, and no others'."""

    cut: Cut
    reaches: frozenset[str]


HARD, SOFT = {"stem", "hard.stage4", "hard.stage5"}, {"stem", "soft.stage4", "soft.stage5"}
HARD_MAPS = HARD | {"hard.head.whole", "hard.head.parts.0", "hard.head.parts.1"}
SOFT_MAPS = SOFT | {"soft.refine4", "soft.head4", "soft.head5"}
ATTENTION5 = SOFT | {"soft.attention5", "soft.bap5"}
ATTENTION4 = SOFT | {"soft.attention5", "soft.refine4", "soft.attention4", "soft.bap4"}
OF_FEATURE = {
    "hard_g5": HARD | {"hard.head.whole"},
    "hard_p1": HARD | {"hard.head.parts.0"},
    "hard_p2": HARD | {"hard.head.parts.1"},
    "soft_g5": SOFT | {"soft.head5"},
    "soft_g4": {"stem", "soft.stage4", "soft.refine4", "soft.head4"},
    "fusion": HARD_MAPS | SOFT_MAPS | {"fusion"},
}
OF_BAP = {"soft_bap5": ATTENTION5, "soft_bap4": ATTENTION4}


def term(name: str) -> Cut:
    """The term keeps its value and loses its gradient."""

    def cut(patch: pytest.MonkeyPatch) -> None:
        forward = Criterion.forward

        def without(self: Criterion, output: Any, labels: Tensor) -> dict[str, Tensor]:
            terms = forward(self, output, labels)
            return {**terms, name: terms[name].detach()}

        patch.setattr(Criterion, "forward", without)

    return cut


def guidance(patch: pytest.MonkeyPatch) -> None:
    """A4 sees zeros where A5 should lead it."""
    forward = GuidedAttention.forward

    def unguided(self: GuidedAttention, features: Tensor, guide: Tensor | None = None) -> Tensor:
        return forward(self, features, None if guide is None else torch.zeros_like(guide))

    patch.setattr(GuidedAttention, "forward", unguided)


def stop_gradient(patch: pytest.MonkeyPatch) -> None:
    """The targets of the distillation learn too."""

    def both_ways(predictions: list[Tensor], targets: list[Tensor]) -> Tensor:
        pairs = zip(predictions, targets, strict=True)
        return -torch.stack([F.cosine_similarity(a, b).mean() for a, b in pairs]).mean()

    patch.setattr(distillation, "mutual_distillation_loss", both_ways)


def shared_stem(branch: type[HardBranch] | type[SoftBranch]) -> Cut:
    """The branch no longer trains the stem."""

    def cut(patch: pytest.MonkeyPatch) -> None:
        forward = branch.forward
        patch.setattr(
            branch, "forward", lambda self, shared, *rest: forward(self, shared.detach(), *rest)
        )

    return cut


def own_stages(branch: type[HardBranch] | type[SoftBranch]) -> Cut:
    """The branch's heads no longer train its stages."""

    def cut(patch: pytest.MonkeyPatch) -> None:
        forward = branch.forward

        def heads_alone(self: Any, *inputs: Any) -> Any:
            hooks = [
                stage.register_forward_hook(lambda module, inputs, output: output.detach())
                for stage in (self.stage4, self.stage5)
            ]
            try:
                return forward(self, *inputs)
            finally:
                for hook in hooks:
                    hook.remove()

        patch.setattr(branch, "forward", heads_alone)

    return cut


def fused_maps(side: str) -> Cut:
    """The fusion no longer trains the branch whose maps it takes."""

    def detached(head: HeadOutput) -> HeadOutput:
        return head._replace(maps=head.maps.detach())

    def cut(patch: pytest.MonkeyPatch) -> None:
        forward = Fusion.forward

        def without(self: Fusion, hard: HardPartitionOutput, soft: Any) -> Tensor:
            if side == "hard":
                hard = HardPartitionOutput(
                    detached(hard.whole), tuple(detached(part) for part in hard.parts)
                )
            else:
                soft = soft._replace(g4=detached(soft.g4), g5=detached(soft.g5))
            return forward(self, hard, soft)

        patch.setattr(Fusion, "forward", without)

    return cut


def replacement(patch: pytest.MonkeyPatch) -> None:
    """An identity with fewer than K images brings them once, not K times."""
    deal = sampling.Deck.deal
    patch.setattr(
        sampling.Deck, "deal", lambda self, count: deal(self, min(count, len(self.cards)))
    )


def circle(name: str, reaches: set[str]) -> Part:
    return Part(term(f"circle_{name}"), frozenset(reaches | {f"criterion.circles.{name}"}))


TERMS = {
    **{f"circle_{name}": circle(name, own) for name, own in (OF_FEATURE | OF_BAP).items()},
    **{
        f"triplet_{name}": Part(term(f"triplet_{name}"), frozenset(own))
        for name, own in OF_FEATURE.items()
    },
    **{
        f"diversity_{name}": Part(term(f"diversity_{name}"), frozenset(own))
        for name, own in OF_BAP.items()
    },
    "distillation": Part(
        term("distillation"),
        frozenset(HARD | SOFT | {"hard.head.whole", "soft.head5", "criterion.distiller"}),
    ),
}
PARTS = {
    **TERMS,
    "guidance": Part(guidance, frozenset(ATTENTION4 | {"criterion.circles.soft_bap4"})),
    "stop gradient": Part(
        stop_gradient, frozenset(HARD | SOFT | {"hard.head.whole", "soft.head5"})
    ),
    "hard branch to the stem": Part(shared_stem(HardBranch), frozenset({"stem"})),
    "soft branch to the stem": Part(shared_stem(SoftBranch), frozenset({"stem"})),
    "hard branch to its stages": Part(own_stages(HardBranch), frozenset(HARD)),
    "soft branch to its stages": Part(own_stages(SoftBranch), frozenset(SOFT)),
    "fusion to the hard branch": Part(fused_maps("hard"), frozenset(HARD_MAPS)),
    "fusion to the soft branch": Part(fused_maps("soft"), frozenset(SOFT_MAPS)),
}
