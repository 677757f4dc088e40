"""Fill a backbone with pretrained weights, whichever toolbox saved them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reidblocks.backbones.files import read_checkpoint
from reidblocks.backbones.report import IncompatibleWeightsError, LoadReport, StageReport
from reidblocks.backbones.staged import StagedBackbone

_STAGES = ("stem", "stage4", "stage5")
_COUNTER = "num_batches_tracked"
_SLOW_COPIES = ("encoder_k.", "momentum_encoder.")  # MoCo's and MoCo v3's, beside the trained one


def load_backbone_weights(
    backbone: StagedBackbone,
    source: str | Path | Mapping[str, Any],
    *,
    prefix: str = "",
    partial: bool = False,
) -> LoadReport:
    """Copy pretrained weights into a backbone and report what went where.

    A toolbox puts a wrapper and a prefix around the names which a network's layers have:
    `state_dict` and `module.encoder_q.` (LUPerson's MoCo files), `model` and `backbone.`
    (fast-reid), `state_dict` and `module.` (torchreid), `features.` (torchvision's MobileNets),
    nothing (torchvision, IBN-Net). All of them are recognised in the same way: the prefix is what
    stands before the backbone's own names most often. Optimiser states, classifiers and other
    heads are left aside and listed.

    Args:
        backbone: the one to fill; left as it was when an error is raised.
        source: a file (see `read_checkpoint`), or a mapping already read from one.
        prefix: the end of what stands before the names, for a file that holds several networks
            (`"teacher"`); only needed where an error asks for it.
        partial: load what fits even if that is not the whole backbone.

    Returns:
        What matched, is missing, has another shape or is unexpected, by stage; `print` it.

    Raises:
        ValueError: the file cannot be read, nothing in it fits, or several networks in it fit
            equally well.
        IncompatibleWeightsError: not all of the backbone matches, or the file has more layers in
            a stage than the backbone has; a ValueError with the report in its message.

    >>> from reidblocks.backbones import resnet
    >>> from torchvision.models import resnet18
    >>> saved = {f"module.{name}": weight for name, weight in resnet18().state_dict().items()}
    >>> print(load_backbone_weights(resnet(18), {"epoch": 3, "state_dict": saved}))
    weights found under 'state_dict.module.'
             matched  missing  wrong shape  unexpected
    stem          50        0            0           0
    stage4        25        0            0           0
    stage5        25        0            0           0
    not used: state_dict.module.fc (2)
    """
    where = "the mapping" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else read_checkpoint(source)
    weights = dict(_flatten(content))
    own = backbone.state_dict()
    names, found = _locate(own, weights, prefix, where)
    report = _compare(own, weights, names, found)
    if not (partial or report.complete):
        raise IncompatibleWeightsError(
            f"{where} does not fit the backbone (partial=True loads what does fit):", report
        )
    taken = {
        key: weights[found + name]
        for key, name in names.items()
        if found + name in weights and weights[found + name].shape == own[key].shape
    }
    backbone.load_state_dict(taken, strict=False)
    return report


def _flatten(content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested mappings, each under the path that leads to it."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}{key}.")
        elif isinstance(value, Tensor):
            yield f"{path}{key}", value


def _locate(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], prefix: str, where: str
) -> tuple[dict[str, str], str]:
    """Return the file's name for each of the backbone's, and what stands before all of them."""
    with_stage = {key: key for key in own}  # a backbone of ours was saved
    without = {key: key.partition(".")[2] for key in own}  # the network itself was
    spellings = [with_stage]
    if len(set(without.values())) == len(without):  # a hand-built one may use a name twice
        spellings.append(without)
    ending = f".{prefix.strip('.')}." if prefix else "."
    counts: Counter[tuple[int, str]] = Counter()
    for index, names in enumerate(spellings):
        known = set(names.values())
        for key in weights:
            words = key.split(".")
            for i in range(len(words)):
                before = "".join(f"{word}." for word in words[:i])
                if ".".join(words[i:]) in known and f".{before}".endswith(ending):
                    counts[index, before] += 1
    if not counts:
        raise ValueError(
            f"nothing in {where} fits the backbone{f' under {prefix!r}' if prefix else ''}: it has "
            f"names such as {next(iter(own))}, the file {list(weights)[:3]}"
        )
    most = max(counts.values())
    best = [candidate for candidate, count in counts.items() if count == most]
    trained = [(i, p) for i, p in best if not p.endswith(_SLOW_COPIES)] or best
    if len({p for _, p in trained}) > 1:
        raise ValueError(
            f"{where} holds several networks that fit: pass prefix= one of "
            f"{sorted(p for _, p in trained)}"
        )
    index, found = trained[0]
    return spellings[index], found


def _compare(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], names: Mapping[str, str], found: str
) -> LoadReport:
    """Sort the backbone's names and the file's into what fits, lacks, differs and is left over."""
    wanted = {found + name for name in names.values()}
    owner = {found + name.partition(".")[0]: key.partition(".")[0] for key, name in names.items()}
    depth = found.count(".") + 1
    left: dict[str | None, list[str]] = {}
    for key in weights:
        if key not in wanted and not key.endswith(_COUNTER):
            left.setdefault(owner.get(".".join(key.split(".")[:depth])), []).append(key)
    stages = {}
    for stage in _STAGES:
        keys = [key for key in own if key.startswith(f"{stage}.") and not key.endswith(_COUNTER)]
        present = [key for key in keys if found + names[key] in weights]
        shapes = {
            key: (tuple(own[key].shape), tuple(weights[found + names[key]].shape))
            for key in present
        }
        stages[stage] = StageReport(
            matched=tuple(key for key in present if shapes[key][0] == shapes[key][1]),
            missing=tuple(key for key in keys if key not in shapes),
            wrong_shape={key: pair for key, pair in shapes.items() if pair[0] != pair[1]},
            unexpected=tuple(left.get(stage, ())),
        )
    return LoadReport(found, stages, tuple(left.get(None, ())))
