"""Learning rates over a training."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer, *, steps: int, warmup_steps: int, first: float, last: float
) -> LambdaLR:
    """Return a schedule: a linear rise to the optimizer's learning rates, then a cosine down.

    Call its ``step`` after each ``optimizer.step()``. Each group of parameters goes from ``first``
    to ``last`` times its own rate.

    Args:
        steps: of the whole training.
        warmup_steps: of the rise; 0 for none.
        first: the factor of the first step, such as 0.1.
        last: the factor after the last step, such as 0.001.

    Raises:
        ValueError: a number is negative.

    Source: Loshchilov and Hutter, arXiv 1608.03983; the warm-up: Luo et al., arXiv 1903.07071.

    >>> import torch
    >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=2.0)
    >>> schedule = warmup_cosine(optimizer, steps=4, warmup_steps=2, first=0.5, last=0.0)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates.append(round(schedule.get_last_lr()[0], 6))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 1.5, 2.0, 1.0, 0.0]
    """
    if min(steps, warmup_steps, first, last) < 0:
        raise ValueError(
            "warmup_cosine expects steps, warmup_steps, first and last of at least 0, got "
            f"{steps}, {warmup_steps}, {first} and {last}"
        )

    def factor(done: int) -> float:
        if done < warmup_steps:
            return first + done / warmup_steps * (1 - first)
        share = min(1.0, (done - warmup_steps) / max(1, steps - warmup_steps))
        return last + (1 + math.cos(math.pi * share)) / 2 * (1 - last)

    return LambdaLR(optimizer, factor)
