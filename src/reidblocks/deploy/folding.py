"""Fewer, larger linear steps for a network that is no longer trained."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reidblocks._checks import at_least_float32
from reidblocks.blocks import BAP, AttentionGenerator, ConvBNReLU, FusionModule

Model = TypeVar("Model", bound=nn.Module)
Block = TypeVar("Block", bound=nn.Module)
Pairs = Mapping[type[nn.Module], Sequence[tuple[str, str]]]

LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # with the output's channels first in weight
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORM_WITH_ACTIVATION = "timm.layers.norm_act.BatchNormAct2d"

ONE, TWO, THREE = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
CLASSES = {  # of others' networks, by name, so that neither torchvision nor timm is loaded
    "torchvision.models.resnet.ResNet": (ONE,),
    "torchvision.models.resnet.BasicBlock": (ONE, TWO),
    "torchvision.models.resnet.Bottleneck": (ONE, TWO, THREE),
    "torchvision.models.densenet._DenseLayer": (("conv1", "norm2"),),
    "torchvision.models.googlenet.BasicConv2d": (("conv", "bn"),),
    "torchvision.models.inception.BasicConv2d": (("conv", "bn"),),
    "timm.layers.conv_bn_act.ConvNormAct": (("conv", "bn"),),
    "timm.models._efficientnet_blocks.ConvBnAct": (("conv", "bn1"),),
    "timm.models._efficientnet_blocks.DepthwiseSeparableConv": (
        ("conv_dw", "bn1"),
        ("conv_pw", "bn2"),
    ),
    "timm.models._efficientnet_blocks.EdgeResidual": (("conv_exp", "bn1"), ("conv_pwl", "bn2")),
    "timm.models._efficientnet_blocks.InvertedResidual": (
        ("conv_pw", "bn1"),
        ("conv_dw", "bn2"),
        ("conv_pwl", "bn3"),
    ),
    "timm.models.resnet.ResNet": (ONE,),
    "timm.models.resnet.BasicBlock": (ONE, TWO),
    "timm.models.resnet.Bottleneck": (ONE, TWO, THREE),
}


def fold_for_inference(model: Model, *, pairs: Pairs | None = None) -> Model:
    r"""Return a copy of the model with batch norms folded into the layers before them.

    A batch norm right after a convolution or linear layer becomes part of it,

    $$\mathrm{BN}(W x + b) = s \odot W x + s \odot (b - \mu) + \beta, \qquad
      s = \gamma / \sqrt{\sigma^2 + \epsilon}$$

    the 1×1 of a `FusionModule` part of its 3×3 (unless it has been given a bias, which the 3×3's
    border of zeros would not see), and both convolutions of an `AttentionGenerator` one. In `BAP`
    the map comes between convolution and norm: s goes into the convolution, a shift is left. The
    norm after a pooling stays, as nothing linear comes before it; so does that of IBN-Net.
    A linear layer's norm is taken to be one of vectors (B, D).

    Which norm follows which layer is known of `nn.Sequential` (which is taken to be called as a
    whole: one whose parts are called one by one, in another order, is not to be folded), of our own
    blocks, and of the
    blocks of torchvision's and timm's ResNet, MobileNet, EfficientNet and RegNet, torchvision's
    DenseNet, GoogLeNet and Inception. For your own classes, pass ``pairs``. Unknown layers
    are not changed, and neither is a layer that has a forward hook or a parametrization, and a norm
    without running statistics or in training mode: the result is the model's own, up to rounding,
    in every case. `folded_norms` lists what is folded and what stays.

    Args:
        model: in eval mode. It is left as it was. To compile it, fold it first.
        pairs: for classes of your own, the attributes of a layer and of the norm that is called
            next, and alone, on its result: ``{MyBlock: [("conv", "norm")]}``.

    Shape:
        a module → one of its class, which takes and gives the same; its parameters take no
        gradients, and its state_dict has other keys

    Raises:
        ValueError: the model is in training mode, where a norm takes the batch's statistics; a
            class of ``pairs`` is not in the model, or has no part of that name.

    Source: RepVGG (Ding et al., arXiv 2101.03697) for branches of convolutions made one.

    >>> from reidblocks.blocks import EmbeddingHead
    >>> head, features = EmbeddingHead(8, 4).eval(), torch.rand(2, 8, 6, 3)
    >>> folded = fold_for_inference(head)
    >>> folded.projection.bn
    Identity()
    >>> torch.allclose(folded(features).embedding, head(features).embedding, atol=1e-5)
    True
    """
    return _fold("fold_for_inference", model, pairs)[0]


def folded_norms(model: nn.Module, *, pairs: Pairs | None = None) -> dict[str, str | None]:
    """List the model's batch norms, each with the layer it is folded into, or None.

    Args:
        model: in eval mode, as `fold_for_inference` takes it. It is left as it was.
        pairs: as there.

    Raises:
        ValueError: as there.

    >>> from reidblocks.blocks import EmbeddingHead
    >>> folded_norms(EmbeddingHead(8, 4).eval())
    {'projection.bn': 'projection.conv', 'neck.bn': None}
    """
    return _fold("folded_norms", model, pairs)[1]


def _fold(caller: str, model: Model, pairs: Pairs | None) -> tuple[Model, dict[str, str | None]]:
    if model.training:
        raise ValueError(
            f"{caller} expects a model in eval mode, got one in training mode, whose "
            "norms take the batch's statistics; call .eval() first"
        )
    _expect_pairs(caller, model, pairs or {})
    norms: dict[str, str | None] = {
        name: None for name, module in model.named_modules() if isinstance(module, _BatchNorm)
    }
    folded = copy.deepcopy(model).requires_grad_(False)
    for path, module in list(folded.named_modules()):
        found: list[tuple[str, str]] = []
        if _runs_as(module, AttentionGenerator):
            found += _fold_attention(module)
        elif _runs_as(module, BAP):
            found += _fold_bap(module)
        elif _runs_as(module, FusionModule):
            _fold_fusion(module)
        for layer, norm in _pairs(module, pairs or {}):
            found += _fold_pair(module, layer, norm)
        prefix = f"{path}." if path else ""
        norms |= {prefix + norm: prefix + layer for layer, norm in found}
    return folded, norms


def _expect_pairs(caller: str, model: nn.Module, pairs: Pairs) -> None:
    """Raise unless the model has each class of the user's pairs, with parts of these names."""
    for kind, names in pairs.items():
        found = [module for module in model.modules() if type(module) is kind]
        if not found:
            raise ValueError(f"{caller} expects pairs of classes in the model, got {kind.__name__}")
        wanted = {name for pair in names for name in pair}
        for module in found:
            if missing := sorted(wanted - module._modules.keys()):
                raise ValueError(
                    f"{caller} expects pairs[{kind.__name__}] to name two parts of it each, got "
                    f"{', '.join(missing)}; it has {', '.join(module._modules) or 'none'}"
                )


def _pairs(module: nn.Module, of_the_user: Pairs) -> list[tuple[str, str]]:
    """Name each layer of the module, and the norm, that runs next and alone on its result."""
    if type(module) in of_the_user:
        return list(of_the_user[type(module)])
    if _runs_as(module, ConvBNReLU):
        return [("conv", "bn")]
    if _runs_as(module, FusionModule):
        return [("conv3x3", "bn")]
    if _runs_as(module, nn.Sequential):
        return list(pairwise(module._modules))
    return [] if "forward" in vars(module) else list(CLASSES.get(_name(module), ()))


def _fold_pair(module: nn.Module, layer: str, norm: str) -> list[tuple[str, str]]:
    linear, bn = module._modules.get(layer), module._modules.get(norm)
    if not (_is_linear(linear) and _is_norm(bn)) or bn.num_features != linear.weight.shape[0]:
        return []  # a norm of another size is over another dimension, as over steps in (B, L, D)
    module._modules[layer] = _with(linear, _wide(linear.weight), *_scale_and_shift(bn))
    module._modules[norm] = _rest(bn)
    return [(layer, norm)]


def _rest(bn: nn.Module) -> nn.Module:
    """Return what a norm does besides: timm's has an activation in it."""
    parts = ("drop", "act") if _name(bn) == NORM_WITH_ACTIVATION else ()
    return nn.Sequential(*map(bn.get_submodule, parts)) if parts else nn.Identity()


def _fold_fusion(block: FusionModule) -> None:
    first, second = block.conv1x1, block.conv3x3
    if _is_linear(first) and _is_linear(second) and first.bias is None:
        kernel = torch.einsum("okhw,kc->ochw", _wide(second.weight), _wide(first.weight).flatten(1))
        block.conv3x3 = _with(second, kernel, kernel.new_ones(len(kernel)), None)
        block.conv1x1 = nn.Identity()  # type: ignore[assignment]


def _fold_attention(block: AttentionGenerator) -> list[tuple[str, str]]:
    first, second, bn = block.conv1x1, block.conv3x3, block.bn
    if not (_is_linear(first) and _is_linear(second) and _is_norm(bn)):
        return []
    kernel = _wide(second.weight) + F.pad(_wide(first.weight), (1, 1, 1, 1))
    block.conv3x3 = _with(second, kernel, *_scale_and_shift(bn))
    block.conv1x1, block.bn = None, nn.Identity()  # type: ignore[assignment]
    return [("conv3x3", "bn")]


def _fold_bap(block: BAP) -> list[tuple[str, str]]:
    conv, bn = block.conv, block.bn
    if not (_is_linear(conv) and _is_norm(bn)):
        return []
    scale, shift = _scale_and_shift(bn)
    block.conv = _with(conv, _wide(conv.weight), scale, None)
    block.bn = _Shift(shift.to(conv.weight.dtype))  # type: ignore[assignment]
    return [("conv", "bn")]


class _Shift(nn.Module):
    """Add a constant to each channel: what is left of a batch norm without its scale."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.shift


def _with(layer: nn.Conv2d, weight: Tensor, scale: Tensor, shift: Tensor | None) -> nn.Conv2d:
    """Return a layer like this one with another weight, its result scaled and shifted."""
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
    """Return s and β − s μ."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = (_wide(bn.running_var) + bn.eps).rsqrt()
    if bn.weight is not None:
        scale = scale * _wide(bn.weight)
    shift = -_wide(bn.running_mean) * scale
    return scale, shift if bn.bias is None else shift + _wide(bn.bias)


def _is_linear(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:  # which stands for all of LINEAR
    return type(module) in LINEAR and _runs_alone(module)


def _is_norm(module: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:  # for all of NORMS
    """Return whether this is a batch norm that takes its running statistics."""
    if not isinstance(module, NORMS):
        return False
    if type(module) not in NORMS and _name(module) != NORM_WITH_ACTIVATION:
        return False
    return _runs_alone(module) and not module.training and module.running_mean is not None


def _runs_alone(module: nn.Module | None) -> bool:
    """Return whether its class's forward is all that runs when the module is called."""
    if module is None or "forward" in vars(module):
        return False
    return not (module._forward_hooks or module._forward_pre_hooks)


def _runs_as(module: nn.Module, kind: type[Block]) -> TypeGuard[Block]:
    """Return whether the module is of this kind, and so computes what we know."""
    own = "forward" in vars(module) or type(module).forward is not kind.forward
    return isinstance(module, kind) and not own


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _wide(tensor: Tensor) -> Tensor:
    return at_least_float32(tensor.detach())
