"""Staged feature extractors, and the checkpoints that fit them."""

from reidblocks.backbones.ibn import IBN
from reidblocks.backbones.mobilenet import mobilenet_v2
from reidblocks.backbones.resnet import resnet
from reidblocks.backbones.staged import StagedBackbone, StageFeatures

__all__ = ["IBN", "StageFeatures", "StagedBackbone", "mobilenet_v2", "resnet"]
