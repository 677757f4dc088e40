"""An average of the weights over the training's last steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def ema_with_warmup(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return the ``multi_avg_fn`` of an exponential moving average with a warm-up of its decay.

    For ``torch.optim.swa_utils.AveragedModel``, whose first update copies the model. At the n-th
    update after that, the average becomes d times the old plus 1 − d times the model, with

        d = min(decay, (1 + n) / (10 + n)).

    Torch's own ``get_ema_multi_avg_fn`` keeps d at ``decay`` from the start. Whole
    numbers, as batch normalization counts, are copied.

    Args:
        decay: weight of the old average at each update, in [0, 1); 0.999 is usual.

    Raises:
        ValueError: decay is not in [0, 1).

    >>> from torch.optim.swa_utils import AveragedModel
    >>> model = torch.nn.Linear(2, 2)
    >>> averaged = AveragedModel(model, multi_avg_fn=ema_with_warmup(0.999), use_buffers=True)
    >>> averaged.update_parameters(model)  # after each optimizer.step()
    >>> averaged(torch.ones(1, 2)).shape
    torch.Size([1, 2])
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema_with_warmup expects decay in [0, 1), got {decay}")

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        first = averaged[0]  # all are of its device and dtype: AveragedModel groups them
        if not first.is_floating_point():
            for own, new in zip(averaged, current, strict=True):
                own.copy_(new)
            return
        # 1 − d, written so that nothing cancels; as a tensor, so that no GPU is waited for here.
        steps = torch.as_tensor(count, dtype=first.dtype, device=first.device)
        weight = (9 / (10 + steps)).clamp(min=1 - decay)
        for own, new in zip(averaged, current, strict=True):
            own.lerp_(new, weight)

    return update


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of a model's weights and running means, in eval mode.

    After each ``optimizer.step()`` call its ``update_parameters(model)``. The average is
    ``.module``, a copy of the model; `ema_with_warmup` says how it is weighted.

    Raises:
        ValueError: decay is not in [0, 1).

    >>> model = nn.Linear(2, 2)
    >>> average = averaged_model(model, decay=0.999)
    >>> average.module.weight.requires_grad
    False
    """
    average = AveragedModel(model, multi_avg_fn=ema_with_warmup(decay), use_buffers=True)
    average.update_parameters(model)  # copies: the next update is the first that averages
    return average.eval().requires_grad_(False)
