"""Fewer, larger linear steps for a network that is no longer trained."""

import copy
import inspect
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from reidblocks._checks import at_least_float32
from reidblocks.blocks.attention import AttentionGenerator
from reidblocks.blocks.bilinear import BAP
from reidblocks.blocks.fusion import FusionModule
from reidblocks.blocks.projection import ConvBNReLU

Model = TypeVar("Model", bound=nn.Module)
Block = TypeVar("Block", bound=nn.Module)

LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # with the output's channels first in weight
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fold_for_inference(model: Model) -> Model:
    r"""Give a copy of the model that computes the same in eval mode, in fewer steps.

    A batch norm right after a convolution or linear layer becomes part of it,

    $$\mathrm{BN}(W x + b) = s \odot W x + s \odot (b - \mu) + \beta, \qquad
      s = \gamma / \sqrt{\sigma^2 + \epsilon}$$

    the 1×1 of a `FusionModule` part of its 3×3 (unless it has been given a bias, which the 3×3's
    border of zeros would not see), and both convolutions of an `AttentionGenerator` one. In `BAP`
    the map comes between convolution and norm: s goes into the convolution, a shift is left. The
    norm after a pooling stays, as nothing linear comes before it; so does an `IBN`.

    Which norm follows which layer is read from `nn.Sequential`, from our own blocks, and from
    the `forward` of any other module that takes one input and that torch.fx can trace, such as
    torchvision's. What cannot be read stays as it is, and so does a layer that has a forward hook
    or a parametrization, and a norm without running statistics or in training mode: the result
    is the model's own, up to rounding, in every case.

    Args:
        model: in eval mode. It is left as it was. To compile it, fold it first.

    Shape:
        a module → one of its class, which takes and gives the same; its parameters take no
        gradients, and its state_dict has other keys

    Raises:
        ValueError: the model is in training mode, where a norm takes the batch's statistics.

    Source: RepVGG (Ding et al., arXiv 2101.03697) for branches of convolutions made one.

    >>> from reidblocks.blocks import EmbeddingHead
    >>> head, features = EmbeddingHead(8, 4).eval(), torch.rand(2, 8, 6, 3)
    >>> folded = fold_for_inference(head)
    >>> folded.projection.bn
    Identity()
    >>> torch.allclose(folded(features).embedding, head(features).embedding, atol=1e-5)
    True
    """
    if model.training:
        raise ValueError(
            "fold_for_inference expects a model in eval mode, got one in training mode, whose "
            "norms take the batch's statistics; call .eval() first"
        )
    folded = copy.deepcopy(model).requires_grad_(False)
    for module in list(folded.modules()):
        if _runs_as(module, AttentionGenerator):
            _fold_attention(module)
        elif _runs_as(module, BAP):
            _fold_bap(module)
        elif _runs_as(module, FusionModule):
            _fold_fusion(module)
        for layer, norm in list(_pairs(module)):
            _fold_pair(module, layer, norm)
    return folded


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Name each layer of the module, and the norm, that runs next and alone on its result."""
    if _runs_as(module, ConvBNReLU):
        yield "conv", "bn"
    elif _runs_as(module, FusionModule):
        yield "conv3x3", "bn"
    elif _runs_as(module, nn.Sequential):
        yield from pairwise(module._modules)
    elif any(type(part) in NORMS for part in module._modules.values()):
        yield from _traced_pairs(module)


def _traced_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Find pairs in what torch.fx sees of forward; with one input there is one way through it."""
    inputs = inspect.signature(module.forward).parameters.values()
    if [each.kind for each in inputs] != [inspect.Parameter.POSITIONAL_OR_KEYWORD]:
        return
    try:
        nodes = list(_ChildrenAreLeaves().trace(module).nodes)
    except Exception:  # whatever a forward raises where it meets no tensor
        return
    # a layer called twice, or whose weight is read, is not the norm's alone
    uses = Counter(str(node.target).split(".")[0] for node in nodes if node.op != "call_function")
    for node in nodes:
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if isinstance(before, fx.Node) and node.op == before.op == "call_module":
            layer, norm = str(before.target), str(node.target)
            if len(before.users) == uses[layer] == uses[norm] == 1:
                yield layer, norm


class _ChildrenAreLeaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _fold_pair(module: nn.Module, layer: str, norm: str) -> None:
    linear, bn = module._modules.get(layer), module._modules.get(norm)
    if _is_linear(linear) and _is_norm(bn):
        module._modules[layer] = _with(linear, _wide(linear.weight), *_scale_and_shift(bn))
        module._modules[norm] = nn.Identity()


def _fold_fusion(block: FusionModule) -> None:
    first, second = block.conv1x1, block.conv3x3
    if _is_linear(first) and _is_linear(second) and first.bias is None:
        kernel = torch.einsum("okhw,kc->ochw", _wide(second.weight), _wide(first.weight).flatten(1))
        block.conv3x3 = _with(second, kernel, kernel.new_ones(len(kernel)), None)
        block.conv1x1 = nn.Identity()  # type: ignore[assignment]


def _fold_attention(block: AttentionGenerator) -> None:
    first, second, bn = block.conv1x1, block.conv3x3, block.bn
    if _is_linear(first) and _is_linear(second) and _is_norm(bn):
        kernel = _wide(second.weight) + F.pad(_wide(first.weight), (1, 1, 1, 1))
        block.conv3x3 = _with(second, kernel, *_scale_and_shift(bn))
        block.conv1x1, block.bn = None, nn.Identity()  # type: ignore[assignment]


def _fold_bap(block: BAP) -> None:
    conv, bn = block.conv, block.bn
    if _is_linear(conv) and _is_norm(bn):
        scale, shift = _scale_and_shift(bn)
        block.conv = _with(conv, _wide(conv.weight), scale, None)
        block.bn = _Shift(shift.to(conv.weight.dtype))  # type: ignore[assignment]


class _Shift(nn.Module):
    """Add a constant to each channel: what is left of a batch norm without its scale."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.shift


def _with(layer: nn.Conv2d, weight: Tensor, scale: Tensor, shift: Tensor | None) -> nn.Conv2d:
    """Give a layer like this one with another weight, its result scaled and shifted."""
    new = copy.deepcopy(layer)  # the layer itself may serve elsewhere too
    scaled = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    new.weight = nn.Parameter(scaled.to(layer.weight.dtype), requires_grad=False)
    if layer.bias is not None:
        bias = _wide(layer.bias) * scale
        shift = bias if shift is None else bias + shift
    if shift is not None:
        new.bias = nn.Parameter(shift.to(layer.weight.dtype), requires_grad=False)
    return new


def _scale_and_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Give s and β − s μ."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = (_wide(bn.running_var) + bn.eps).rsqrt()
    shift = -_wide(bn.running_mean) * scale
    if bn.affine:
        weight = _wide(bn.weight)
        scale, shift = scale * weight, shift * weight + _wide(bn.bias)
    return scale, shift


def _is_linear(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:  # which stands for all of LINEAR
    return type(module) in LINEAR and _runs_alone(module)


def _is_norm(module: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:  # for all of NORMS
    """Whether this is a batch norm that takes its running statistics."""
    if not isinstance(module, NORMS) or type(module) not in NORMS:
        return False
    return _runs_alone(module) and not module.training and module.running_mean is not None


def _runs_alone(module: nn.Module | None) -> bool:
    """Whether the module's forward is all that runs when it is called."""
    return module is not None and not (module._forward_hooks or module._forward_pre_hooks)


def _runs_as(module: nn.Module, kind: type[Block]) -> TypeGuard[Block]:
    """Whether the module is of this kind, and so computes what we know."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def _wide(tensor: Tensor) -> Tensor:
    return at_least_float32(tensor.detach())
