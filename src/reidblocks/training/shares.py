"""How much each loss term contributes to the gradient."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from reidblocks._checks import at_least_float32
from reidblocks._distributed import sum_over_ranks


def gradient_shares(
    terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]
) -> dict[str, float]:
    """Return the norm of each term's gradient as a fraction of the sum of these norms.

    One backward pass for each term, which keeps the graph; gradients that parameters hold stay as
    they are. In a distributed run the norms are those of the mean gradient, and all
    processes must call it.

    Args:
        terms: scalars of one forward pass.
        parameters: by which to differentiate.

    Shape:
        {name: scalar} → {name: fraction}; they sum to 1, unless every gradient is zero

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> gradient_shares({"a": 3 * weight.sum(), "b": weight.sum()}, [weight])
    {'a': 0.75, 'b': 0.25}
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    norms: dict[str, float] = {}
    for name, term in terms.items():
        norms[name] = 0.0
        if term.requires_grad:
            found = torch.autograd.grad(term, wanted, retain_graph=True, materialize_grads=True)
            flat = torch.cat([at_least_float32(gradient).flatten() for gradient in found])
            norms[name] = torch.linalg.vector_norm(sum_over_ranks(flat)).item()
    total = sum(norms.values())
    return {name: norm / total if total else 0.0 for name, norm in norms.items()}
