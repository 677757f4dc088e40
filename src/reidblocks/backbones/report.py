"""Which weights of a checkpoint a backbone took, and which it did not."""

from collections import Counter
from dataclasses import dataclass

_SHOWN = 3  # names of each kind; the counts say how many there are


@dataclass(frozen=True)
class StageReport:
    """The weights of one stage, by the backbone's names; `unexpected` by the file's."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # the backbone's, the file's
    unexpected: tuple[str, ...]


@dataclass(frozen=True)
class LoadReport:
    """What a backbone found in a checkpoint; `print` it.

    Batch norms' counters of batches are loaded where there are any and are not counted here: old
    files have none.

    Attributes:
        prefix: what stands before the backbone's names in the file, its wrapper included.
        stages: for "stem", "stage4" and "stage5" the names ``matched``, ``missing``,
            ``wrong_shape`` (with the backbone's shape and the file's) and ``unexpected``.
        unused: the file's names outside the stages: heads, optimizer states.
    """

    prefix: str
    stages: dict[str, StageReport]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the stages and the file's part for them are one to one."""
        return not any(
            stage.missing or stage.wrong_shape or stage.unexpected for stage in self.stages.values()
        )

    def __str__(self) -> str:
        lines = [
            f"weights found under {self.prefix!r}" if self.prefix else "weights found at the top",
            f"{'':6} {'matched':>9} {'missing':>8} {'wrong shape':>12} {'unexpected':>11}",
        ]
        for name, stage in self.stages.items():
            lines.append(
                f"{name:6} {len(stage.matched):9} {len(stage.missing):8} "
                f"{len(stage.wrong_shape):12} {len(stage.unexpected):11}"
            )
        for name, stage in self.stages.items():
            shapes = [
                f"{key} is {ours} here and {theirs} there"
                for key, (ours, theirs) in stage.wrong_shape.items()
            ]
            lines += _examples(f"missing in {name}", stage.missing)
            lines += _examples(f"wrong shape in {name}", shapes)
            lines += _examples(f"unexpected in {name}", stage.unexpected)
        if self.unused:
            groups = Counter(_group(key, self.prefix) for key in self.unused)
            lines.append(f"not used: {', '.join(f'{key} ({n})' for key, n in groups.items())}")
        return "\n".join(lines)


class IncompatibleWeightsError(ValueError):
    """A checkpoint does not fit a backbone; `report` lists the differences."""

    def __init__(self, message: str, report: LoadReport) -> None:
        super().__init__(f"{message}\n{report}")
        self.report = report


def _examples(title: str, names: tuple[str, ...] | list[str]) -> list[str]:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{title}: {', '.join(names[:_SHOWN])}{rest}"] if names else []


def _group(key: str, prefix: str) -> str:
    """Return the part of ``key`` that tells a head or another network from this one."""
    kept = []
    for word, ours in zip(key.split("."), [*prefix.split(".")[:-1], ""], strict=False):
        kept.append(word)
        if word != ours:
            break
    return ".".join(kept)
