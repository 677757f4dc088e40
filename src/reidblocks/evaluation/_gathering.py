"""The features of all processes, each image once."""

from typing import Any

import torch
from torch import distributed as dist

from reidblocks._distributed import world_size
from reidblocks.evaluation.features import Features

Part = dict[str, Any]  # of a batch: values, labels and, where it is known, positions


def parts_of_all_ranks(
    caller: str, parts: list[Part], group: dist.ProcessGroup | None = None
) -> list[Part]:
    """Return the batches of all processes by rank; alone, a process's own.

    Raises:
        ValueError: their features differ in size, or in what is known of the images.
    """
    if world_size() > 1:
        everyone: list[list[Part]] = [[]] * dist.get_world_size(group)
        dist.all_gather_object(everyone, parts, group=group)
        parts = [part for one in everyone for part in one]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise ValueError(f"{caller} expects the same labels from every process")
    if len(sizes := {part["values"].shape[1] for part in parts}) > 1:
        raise ValueError(
            f"{caller} expects features of one size from every process, got "
            f"{' and '.join(map(str, sorted(sizes)))}"
        )
    return parts


def in_order(features: Features, parts: list[Part]) -> Features:
    """Return each image once, in the data set's order, by the parts' positions if they have any."""
    if "positions" not in parts[0]:
        return features
    positions = torch.cat([part["positions"] for part in parts])
    order = positions.argsort(stable=True)
    ordered = positions[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return features[order[first]]
