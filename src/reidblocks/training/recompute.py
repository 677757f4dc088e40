"""Activation checkpointing: a part keeps only its input and is computed again for the gradient.

Torch's own counts a batch twice in the running statistics of batch normalization. Here the second
time counts for nothing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(*parts: nn.Module | None) -> None:
    """Apply activation checkpointing to parts of a network, for less memory in training.

    In the forward pass each keeps only its input; the backward pass computes it again, with the
    same random numbers. Running statistics of batch normalization count a batch once, which
    ``torch.utils.checkpoint`` by itself does not promise. In eval mode nothing changes.

    A sequence's last two members are checkpointed each alone, so that a ResNet's stem, whose maps
    are the largest of all, is never kept as a whole: these are its second and third stage.

    Args:
        parts: modules from tensors to tensors; None stands for no part.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    >>> recompute(network)
    >>> network(torch.rand(2, 3, 8, 8)).sum().backward()
    >>> network[1].num_batches_tracked
    tensor(1)
    """
    for part in parts:
        if part is not None:  # a partial is copied with the part, a closure would not be
            part.forward = partial(_recomputed, part, part.forward)


def _recomputed(part: nn.Module, forward: Any, *inputs: Any) -> Any:
    if not part.training:
        return forward(*inputs)
    if not (isinstance(part, nn.Sequential) and len(part) > 2):
        return _checkpointed(part, forward, *inputs)
    (maps,) = inputs
    for section in (part[:-2], *part[-2:]):
        maps = _checkpointed(section, section, maps)
    return maps


def _checkpointed(part: nn.Module, forward: Any, *inputs: Any) -> Any:
    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _StatisticsKept(part)  # around the first time, and the second

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


class _StatisticsKept(AbstractContextManager[None]):
    """``_statistics_kept``, which several backward passes through one part enter again."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._entered: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._entered.append(_statistics_kept(self._module))
        self._entered[-1].__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._entered.pop().__exit__(*raised)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Have norms take the batch's statistics as in training, without counting the batch again."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm, _, count in before:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
