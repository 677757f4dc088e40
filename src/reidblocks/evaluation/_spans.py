"""Ragged rows in flat tensors: the places of many spans, one after the other."""

import torch
from torch import Tensor


def spread(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """(owner, place) of every element of the spans first[i] … first[i] + count[i] − 1.

    >>> spread(torch.tensor([7, 3]), torch.tensor([2, 1]))
    (tensor([0, 0, 1]), tensor([7, 8, 3]))
    """
    owner = torch.repeat_interleave(count)
    place = torch.arange(len(owner), device=owner.device)
    return owner, place + (first - count.cumsum(0) + count)[owner]
