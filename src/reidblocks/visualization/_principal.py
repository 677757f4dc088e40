"""The plane in which embeddings spread most."""

import torch
from torch import Tensor
from torch.nn import functional as F


def principal_plane(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Project embeddings (B, D) on the two directions in which they vary most.

    Returns:
        The points (B, 2), and the two directions' fractions of the variance (2,); a direction
        that does not exist is 0.

    >>> points, fractions = principal_plane(torch.tensor([[0.0, 0, 1], [2, 0, 1], [4, 0, 1]]))
    >>> points.round(decimals=6).tolist(), fractions.round(decimals=6).tolist()
    ([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], [1.0, 0.0])
    """
    if len(embeddings) < 2 or not embeddings.isfinite().all():
        raise ValueError(
            f"embedding_map expects at least two finite embeddings, got {tuple(embeddings.shape)}"
        )
    centered = embeddings.detach().cpu().double().contiguous()  # no rounding depends on the layout
    centered = centered - centered.mean(0)
    size = centered.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    centered /= size  # a copy by now
    # Orthogonal iteration: exact where D is small, and seconds where a whole SVD takes minutes.
    # The generator is its own, as a picture must not move the user's random numbers.
    start = torch.Generator().manual_seed(0)
    width = min(8, *centered.shape)
    size_of_basis = centered.shape[1], width
    basis = torch.randn(size_of_basis, generator=start, dtype=torch.float64, device="cpu")
    for _ in range(40):
        basis = torch.linalg.qr(centered.T @ (centered @ basis)).Q
    left, strength, right = torch.linalg.svd(centered @ basis, full_matrices=False)
    directions = basis @ right.T
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    points = left * strength * size * largest.sign()  # the sign is arbitrary: fix it
    fractions = strength.square() / centered.norm().square().clamp_min(
        torch.finfo(torch.float64).tiny
    )
    missing = 2 - min(2, width)
    return F.pad(points[:, :2], (0, missing)), F.pad(fractions[:2], (0, missing))
