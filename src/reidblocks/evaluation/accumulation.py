"""Features gathered batch by batch, and from all the processes of a distributed run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from reidblocks.evaluation._gathering import in_order, parts_of_all_ranks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels


class FeatureAccumulator:
    """Collect features of the query or the gallery over batches; ``compute`` joins them.

    In a distributed run each process accumulates what its sampler gives it, and ``compute(...)``
    with ``gather=True`` returns the features of all processes, on each of them. A distributed
    sampler repeats some images, so that all processes get equally many. With ``positions`` (an
    image's place in the data set) each counts once and the order is the data set's; without them
    both count, and the processes' features follow each other by rank. Paths are kept with them.

    >>> side = FeatureAccumulator()
    >>> side.update(torch.rand(4, 8), torch.tensor([1, 1, 2, 2]))
    >>> side.update(torch.rand(2, 8), torch.tensor([3, 3]))
    >>> len(side.compute())
    6
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard all batches."""
        self._parts: list[dict[str, Any]] = []

    def update(
        self,
        values: Tensor,
        ids: Tensor,
        cameras: Tensor | None = None,
        sequences: Tensor | None = None,
        positions: Tensor | None = None,
        paths: Sequence[str | None] | None = None,
        clothes: Tensor | None = None,
        times: Tensor | None = None,
    ) -> None:
        """Add a batch: features (B, D), labels, paths and times (B,). A copy is kept, on the CPU.

        Raises:
            ValueError: the size D or the labels given differ from the batches before; bad
                features or labels, as for ``Features``.
            TypeError: likewise.
        """
        batch = Features(values, ids, cameras, sequences, paths, clothes, times)
        part: dict[str, Any] = {"values": batch.values, "ids": batch.ids}
        if positions is not None:
            positions = as_labels("FeatureAccumulator", "positions", positions, len(batch))
        extra = {
            "cameras": batch.cameras,
            "sequences": batch.sequences,
            "clothes": batch.clothes,
            "times": batch.times,
            "positions": positions,
            "paths": batch.paths,
        }
        part |= {name: given for name, given in extra.items() if given is not None}
        if self._parts and part.keys() != self._parts[0].keys():
            raise ValueError(
                f"FeatureAccumulator expects {', '.join(self._parts[0])} in every batch, got "
                f"{', '.join(part)}"
            )
        size = (self._parts[0]["values"] if self._parts else values).shape[1]
        if values.shape[1] != size:
            raise ValueError(
                f"FeatureAccumulator expects values (B, {size}) as in the batches before, got "
                f"{tuple(values.shape)}; call reset between models"
            )
        self._parts.append({name: _copied(given) for name, given in part.items()})

    def compute(self, *, gather: bool = False, group: dist.ProcessGroup | None = None) -> Features:
        """Return all features so far; with ``gather``, those of every process of the group.

        Raises:
            ValueError: there is no batch yet; the processes' batches hold different labels or
                features of different sizes.
        """
        parts = self._parts
        if gather:
            parts = parts_of_all_ranks("FeatureAccumulator", parts, group)
        if not parts:
            raise ValueError("FeatureAccumulator expects at least one batch before compute")
        names = [name for name in parts[0] if name != "positions"]
        return in_order(
            Features(**{name: _joined([part[name] for part in parts]) for name in names}), parts
        )


def _copied(given: Any) -> Any:
    return given.detach().to("cpu", copy=True) if isinstance(given, Tensor) else list(given)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return [path for paths in parts for path in paths]
