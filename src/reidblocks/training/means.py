"""Means of named figures over the steps of an epoch."""

from typing import Any


class RunningMeans:
    """Add figures step by step; ``means`` gives the mean of each so far.

    >>> terms = RunningMeans()
    >>> for loss in (3.0, 5.0):
    ...     terms.add({"loss": loss})
    >>> terms.means()
    {'loss': 4.0}
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, values: dict[str, float]) -> None:
        """Count one step's figures."""
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The mean of each figure; nothing before the first step."""
        return {name: total / self.count for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Sums and count, for a checkpoint in the midst of an epoch."""
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that was taken before."""
        self.sums, self.count = dict(state["sums"]), state["count"]
