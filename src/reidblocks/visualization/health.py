"""Whether attention maps work: each attends to something, and to something else."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reidblocks._checks import expect_shape

DEAD_PEAK = 0.05
FLAT_ENTROPY = 0.999
ONE_OVERLAP = 0.95


class AttentionHealth(NamedTuple):
    """Measures of K attention maps over a set of images, between 0 and 1 but for the last.

    ``coverage`` (K,): the fraction of the image a map covers; with ``background`` they sum to 1.
    ``peak`` (K,): a map's maximum, averaged over the images.
    ``entropy`` (K,): 0 for a map of one point, 1 for one that is the same everywhere.
    ``overlap`` (K, K): what two maps have in common, each scaled to a sum of 1.
    ``on_person`` (K + 1,), where masks were given: the fraction of a map's attention that lies on
    the person over the fraction of the image that the person fills; 1 is chance. The last is of
    the overlay, the maximum of all maps at each place.
    ``warnings``: problems, as text; empty if there are none.
    """

    coverage: Tensor
    peak: Tensor
    entropy: Tensor
    overlap: Tensor
    background: float
    warnings: tuple[str, ...]
    on_person: Tensor | None = None


def attention_health(maps: Tensor, masks: Tensor | None = None) -> AttentionHealth:
    r"""Measure attention maps over a set of images; warn about dead, flat or equal ones.

    With $p_k = A_k / \sum_{hw} A_k$ in each image, averaged over the images:

    $$\text{entropy}_k = -\frac{1}{\log HW}\sum_{hw} p_k \log p_k,\qquad
      \text{overlap}_{ij} = \sum_{hw} \min(p_i, p_j),\qquad
      \text{on person}_k = \frac{\sum_{hw} p_k m}{\frac{1}{HW}\sum_{hw} m}$$

    where $m$ is how much of a place the person fills, and numerator and denominator of the last
    are averaged over the images each by itself.

    A map is called dead when its mean peak is below 0.05, flat when its entropy is above 0.999,
    and two maps are called equal when they overlap by more than 0.95. The maps lie off the person
    when the overlay's attention on it is below chance.

    Args:
        maps: the K maps of a softmax over K and a background, without the background.
        masks: where the person is in each image, from 0 to 1, of any size, such as `read_masks`
            gives; each is averaged over the places of the maps.

    Shape:
        (B, K, H, W), (B, H', W')

    Raises:
        ValueError: maps is not 4-dimensional, is empty, or does not come from a softmax: a value
            is not finite or below 0, or the maps of a place add up to more than 1; masks are of
            other images, not from 0 to 1, or show nobody.

    Source: the failures of unguided maps in MDPR Fig. 10.

    >>> left = torch.tensor([[0.8, 0.0], [0.8, 0.0]])
    >>> health = attention_health(torch.stack([left, left / 40, left.flip(1)])[None])
    >>> health.warnings
    ('map 2 is dead: its peak is 0.02', 'maps 1 and 2 are one: they overlap by 1.00')
    """
    expect_shape("attention_health", "maps", maps, "B K H W")
    maps = maps.detach().cpu().double()
    if not maps.numel() or not (maps.min() >= 0 and maps.sum(1).max() <= 1.01):  # also for NaN
        raise ValueError(
            "attention_health expects maps of a softmax, none below 0 and no place above 1 in "
            f"sum, got {tuple(maps.shape)} of which that is not true"
        )
    flat = maps.flatten(2)  # (B, K, HW)
    coverage = flat.mean((0, 2))
    peak = flat.amax(2).mean(0)
    fractions = flat / flat.sum(2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    places = math.log(max(flat.shape[2], 2))
    entropy = torch.special.entr(fractions).sum(2).mean(0) / places
    overlap = torch.stack(
        [
            torch.minimum(fractions, fractions[:, k : k + 1]).sum(2).mean(0)
            for k in range(maps.shape[1])
        ]
    )
    warnings = _warn(peak, entropy, overlap)
    on_person = None if masks is None else _on_person(maps, masks)
    if on_person is not None and on_person[-1] < 1:
        warnings += (f"the maps lie off the person: {on_person[-1]:.2f} of what chance would give",)
    background = 1 - float(coverage.sum())
    return AttentionHealth(coverage, peak, entropy, overlap, background, warnings, on_person)


def _on_person(maps: Tensor, masks: Tensor) -> Tensor:
    """Compare the attention on the person with the person's part of the image, of all maps too."""
    expect_shape("attention_health", "masks", masks, "B H W")
    masks = masks.detach().cpu().double()
    fits = len(masks) == len(maps) and masks.numel() and 0 <= masks.min() <= masks.max() <= 1
    if not fits or not masks.any():
        raise ValueError(
            f"attention_health expects masks of {len(maps)} images, from 0 to 1 and not all 0, "
            f"got {tuple(masks.shape)} of which that is not true"
        )
    size = (maps.shape[2], maps.shape[3])
    person = F.adaptive_avg_pool2d(masks, size).flatten(1).unsqueeze(1)  # (B, 1, HW)
    flat = torch.cat([maps, maps.amax(1, keepdim=True)], 1).flatten(2)
    fractions = flat / flat.sum(2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return (fractions * person).sum(2).mean(0) / person.mean()


def _warn(peak: Tensor, entropy: Tensor, overlap: Tensor) -> tuple[str, ...]:
    warnings = []
    for k, (high, spread) in enumerate(zip(peak.tolist(), entropy.tolist(), strict=True), 1):
        if high < DEAD_PEAK:
            warnings.append(f"map {k} is dead: its peak is {high:.2f}")
        elif spread > FLAT_ENTROPY:
            warnings.append(f"map {k} is flat: it is the same everywhere")
    for i, j in (overlap.triu(1) > ONE_OVERLAP).nonzero().tolist():
        warnings.append(f"maps {i + 1} and {j + 1} are one: they overlap by {overlap[i, j]:.2f}")
    return tuple(warnings)
