"""Modules in eval mode for a while, and in their own modes again."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Set modules to eval mode within ``with``, then restore the mode of each part.

    A norm that was frozen in a model that trains stays frozen. The modes alone are set: no
    ``train()`` or ``eval()`` of a part runs, which may do more (merge weights) or raise, as that
    of an exported program does.

    >>> model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5).eval())
    >>> with eval_mode(model):
    ...     model.training
    False
    >>> model.training, model[1].training
    (True, False)
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode
