"""Fill a backbone with pretrained weights, whichever toolbox saved them."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reidblocks._weights import expect_usable, flatten
from reidblocks.backbones.architectures import name_architecture
from reidblocks.backbones.files import read_checkpoint
from reidblocks.backbones.report import IncompatibleWeightsError, LoadReport, StageReport
from reidblocks.backbones.staged import StagedBackbone

_STAGES = ("stem", "stage4", "stage5")
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params")  # a norm's; thop's, a profiler
_SLOW_COPIES = ("encoder_k.", "momentum_encoder.")  # MoCo's and MoCo v3's, next to the trained one


def load_backbone_weights(
    backbone: StagedBackbone,
    source: str | Path | Mapping[str, Any],
    *,
    prefix: str = "",
    partial: bool = False,
) -> LoadReport:
    """Copy pretrained weights into a backbone and report what matched.

    A toolbox puts a wrapper and a prefix around the names which a network's layers have:
    `state_dict` and `module.encoder_q.` (LUPerson's MoCo files), `model` and `backbone.`
    (fast-reid), `state_dict` and `module.` (torchreid), `features.` (torchvision's MobileNets),
    nothing (torchvision, IBN-Net). All of them are recognized in the same way: the prefix is what
    stands before the backbone's own names most often. Optimizer states, classifiers, other heads
    and profilers' counters are not used; heads and optimizer states are listed.

    Args:
        backbone: the one to fill, also inside `torch.compile`, `DataParallel`,
            `DistributedDataParallel` or `AveragedModel`; left as it was when an error is raised.
        source: a file (see `read_checkpoint`), or a mapping of names to tensors or NumPy arrays,
            as read from one.
        prefix: the end of what stands before the names, for a file that holds several networks
            (`"teacher"`); only needed where an error asks for it.
        partial: load what fits even if that is not the whole backbone.

    Returns:
        What matched, is missing, has another shape or is unexpected, by stage; `print` it.

    Raises:
        TypeError: the backbone is not a StagedBackbone, or the source neither file nor mapping.
        ValueError: the file cannot be read, nothing in it fits, several networks in it fit
            equally well, weights in it are not floating-point numbers, or NaN or infinite in the
            backbone's precision, a running variance is negative, or the backbone or the source is
            on the meta device, which holds no values.
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
    if isinstance(source, nn.Module):
        raise TypeError(
            "load_backbone_weights expects a file or a mapping of names to tensors, got a "
            f"{type(source).__name__}: pass its state_dict()"
        )
    if not isinstance(source, str | os.PathLike | Mapping):
        raise TypeError(
            "load_backbone_weights expects a file or a mapping of names to tensors, got "
            f"{source!r:.80}"
        )
    backbone = _unwrap(backbone)
    where = "the mapping" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else read_checkpoint(source)
    weights = dict(flatten(content))
    own = backbone.state_dict()
    if on_meta := [name for name, value in own.items() if value.is_meta]:
        raise ValueError(
            f"the backbone is on the meta device ({on_meta[0]} has no values to fill): call "
            'backbone.to_empty(device="cpu") first, or build it without torch.device("meta")'
        )
    names, found = _locate(own, weights, prefix, where, content)
    report = _compare(own, weights, names, found)
    if not (partial or report.complete):
        raise IncompatibleWeightsError(
            f"{where} does not fit the backbone{_architectures(own, weights)} "
            "(partial=True loads what does fit):",
            report,
        )
    taken = {
        key: weights[found + name]
        for key, name in names.items()
        if found + name in weights and weights[found + name].shape == own[key].shape
    }
    expect_usable(taken, own, where)
    backbone.load_state_dict(taken, strict=False)
    return report


def _unwrap(backbone: nn.Module) -> StagedBackbone:
    """Take the backbone out of what torch puts around it to compile or to distribute it."""
    inner: Any = backbone
    while not isinstance(inner, StagedBackbone):
        if isinstance(inner, _WRAPPERS):
            inner = inner.module
        elif isinstance(inner, nn.Module) and "_orig_mod" in inner._modules:
            inner = inner._orig_mod
        else:
            raise TypeError(
                "load_backbone_weights expects a StagedBackbone, such as resnet(50) of "
                f"reidblocks.backbones, got a {type(inner).__name__}"
            )
    return inner


def _architectures(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Name the two networks where they are known and not the same."""
    theirs = name_architecture(weights)
    ours = name_architecture({key.partition(".")[2]: value for key, value in own.items()})
    if theirs is None or theirs == ours:
        return ""
    return f": it holds {theirs}{f', the backbone is {ours}' if ours else ''}"


def _locate(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    prefix: str,
    where: str,
    content: Mapping[Any, Any],
) -> tuple[dict[str, str], str]:
    """Return the file's name for each of the backbone's, and what stands before all of them."""
    spellings = [{key: key for key in own}]  # a backbone of ours was saved
    plain = {key: key.replace("_orig_mod.", "") for key in own}  # stages may be compiled
    if plain != spellings[0]:
        spellings.append(plain)
    without = {key: name.partition(".")[2] for key, name in plain.items()}  # the network itself was
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
            f"names such as {next(iter(own))}, {_describe(content, weights)}"
        )
    most = max(counts.values())
    best = [candidate for candidate, count in counts.items() if count == most]
    trained = [(i, p) for i, p in best if not p.endswith(_SLOW_COPIES)] or best
    if len({p for _, p in trained}) > 1:
        if told := _architectures(own, weights):  # parts of another network repeat a few names
            raise ValueError(f"nothing in {where} fits the backbone{told}")
        raise ValueError(
            f"{where} holds several networks that fit: pass prefix= one of "
            f"{sorted(p for _, p in trained)}"
        )
    index, found = trained[0]
    return spellings[index], found


def _describe(content: Mapping[Any, Any], weights: Mapping[str, Tensor]) -> str:
    """Say what is there in place of the weights."""
    if {"state", "param_groups"} <= set(content) and len(content) <= 3:
        return "the file the state of an optimizer alone: take the one with the network's weights"
    modules = [key for key, value in content.items() if isinstance(value, nn.Module)]
    if modules:
        return f"the file a whole module under {modules[0]!r}: pass its state_dict()"
    if not weights:
        return f"the file no tensors, but {', '.join(map(str, list(content)[:3])) or 'nothing'}"
    found = name_architecture(weights)
    return f"the file {f'those of {found}: ' if found else ''}{list(weights)[:3]}"


def _compare(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], names: Mapping[str, str], found: str
) -> LoadReport:
    """Sort the backbone's names and the file's: matched, missing, wrong shape, unexpected."""
    wanted = {found + name for name in names.values()}
    owner = {found + name.partition(".")[0]: key.partition(".")[0] for key, name in names.items()}
    depth = found.count(".") + 1
    left: dict[str | None, list[str]] = {}
    for key in weights:
        if key not in wanted and not key.endswith(_COUNTERS):
            left.setdefault(owner.get(".".join(key.split(".")[:depth])), []).append(key)
    stages = {}
    for stage in _STAGES:
        keys = [key for key in own if key.startswith(f"{stage}.") and not key.endswith(_COUNTERS)]
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
