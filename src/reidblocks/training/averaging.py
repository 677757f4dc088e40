"""An average of the weights over the training's last steps."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class WeightAverage(Generic[Module]):
    """Keep an exponential moving average of a module's parameters and buffers.

    After the n-th update the average is d times the old plus 1 − d times the module's, with
    d = min(decay, (1 + n) / (10 + n)): it forgets the random start soon. Whole-number buffers are
    taken over.

    Args:
        module: what to average; ``average`` is a copy of it, in eval mode.
        decay: what stays of the old average at each update, in [0, 1); 0.999 is usual.

    Raises:
        ValueError: decay is not in [0, 1).

    >>> module = nn.Linear(2, 2)
    >>> averaged = WeightAverage(module, 0.999)
    >>> averaged.update(module)
    >>> averaged.average(torch.ones(1, 2)).shape
    torch.Size([1, 2])
    """

    def __init__(self, module: Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"WeightAverage expects decay in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.average: Module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Draw the average towards the module's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for own, new in zip(_tensors(self.average), _tensors(module), strict=True):
            if own.is_floating_point():
                own.lerp_(new, 1 - decay)
            else:
                own.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and how often they were updated."""
        return {"updates": self.updates, "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that was taken before."""
        self.updates = state["updates"]
        self.average.load_state_dict(state["average"])


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
