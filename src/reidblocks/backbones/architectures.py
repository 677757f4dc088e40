"""Name the architecture that weights belong to, from their names and shapes."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# What all of these names hold, in part, in the order in which they are looked for.
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("CLIP", ("visual.", "logit_scale")),
    ("a Swin transformer", ("relative_position_bias_table",)),
    ("a vision transformer", ("cls_token", "patch_embed")),
    ("a vision transformer", ("class_token", "encoder.layers")),
    ("a vision transformer", ("patch_embed", ".attn.qkv.")),
    ("a ConvNeXt", ("layer_scale", "features.")),
    ("a ConvNeXt", ("stages.0.blocks.0.conv_dw.",)),
    ("an OSNet", ("conv2.0.conv2a", "conv3.0.conv2a")),
    ("an HRNet", ("stage2.0.branches.",)),
    ("a DenseNet", ("denseblock1.",)),
    ("an Inception network", ("Mixed_5b.",)),
    ("a ResNeSt", ("layer1.0.conv2.bn0.",)),
    ("an EfficientNet or MobileNet of timm's", ("conv_stem.", "blocks.0.0.")),
    ("an EfficientNet", ("_conv_stem.", "_blocks.0.")),
    ("an EfficientNet or MobileNetV3", ("features.1.0.block.", "classifier.")),
    ("a MobileNetV3", ("features.1.block.0.0.",)),
    ("a MobileNetV2", ("features.1.conv.0.0.", "features.17.conv.")),
    ("a VGG", ("features.0.weight", "classifier.6.")),
)
_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def name_architecture(weights: Mapping[str, Tensor]) -> str | None:
    """Name the network that ``weights`` belong to, or return None where none is recognized.

    >>> from torchvision.models import resnet18
    >>> name_architecture(resnet18().state_dict())
    'a ResNet-18'
    """
    if found := _name_resnet(weights):
        return found
    text = "\n".join(weights)
    return next((name for name, parts in _FAMILIES if all(part in text for part in parts)), None)


def _name_resnet(weights: Mapping[str, Tensor]) -> str | None:
    """Name a ResNet by its blocks: depth, IBN, groups, squeeze and excitation."""
    names = [name for name in weights if re.search(r"(?:^|\.)layer[1-4]\.\d+\.", name)]
    counts = tuple(_count(names, rf"layer{layer}\.(\d+)\.") for layer in (1, 2, 3, 4))
    kernel = next((w for n, w in weights.items() if n.endswith("layer1.0.conv2.weight")), None)
    bottleneck = any("layer1.0.conv3." in name for name in names)
    if kernel is None or kernel.dim() != 4 or (counts, bottleneck) not in _DEPTHS:
        return None
    text = "\n".join(names)
    grouped = bottleneck and kernel.shape[0] != kernel.shape[1]
    kind = "ResNeXt" if grouped else "SE-ResNet" if ".se." in text or "se_module" in text else None
    ibn = ", IBN-a" if "layer1.0.bn1.IN." in text else ", IBN-b" if ".IN.weight" in text else ""
    return f"a{'n' * (kind == 'SE-ResNet')} {kind or 'ResNet'}-{_DEPTHS[counts, bottleneck]}{ibn}"


def _count(names: Iterable[str], pattern: str) -> int:
    return len({found[1] for name in names if (found := re.search(pattern, name))})
