"""What each loss term has to say in the gradient."""

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn


def gradient_shares(
    terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]
) -> dict[str, float]:
    """The norm of each term's gradient as a share of the sum of these norms.

    Goes back through the graph once for each term and keeps it; gradients that parameters hold
    stay as they are. In a distributed run the norms are those of the mean gradient, and all
    processes must call it.

    Args:
        terms: scalars of one forward pass.
        parameters: by which to differentiate.

    Shape:
        {name: scalar} → {name: share}; the shares sum to 1, unless every gradient is zero

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> gradient_shares({"a": 3 * weight.sum(), "b": weight.sum()}, [weight])
    {'a': 0.75, 'b': 0.25}
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    norms: dict[str, float] = {}
    for name, term in terms.items():
        norms[name] = 0.0
        if term.requires_grad:
            found = torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)
            flat = torch.cat(
                [
                    (torch.zeros_like(own) if gradient is None else gradient).flatten()
                    for own, gradient in zip(wanted, found, strict=True)
                ]
            )
            if dist.is_initialized():
                dist.all_reduce(flat)
            norms[name] = torch.linalg.vector_norm(flat, dtype=torch.float64).item()
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}
