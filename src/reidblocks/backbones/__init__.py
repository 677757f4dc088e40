"""Staged feature extractors, and the checkpoints that fit them."""

from reidblocks.backbones.checkpoints import load_backbone_weights
from reidblocks.backbones.families import timm_backbone, torchvision_backbone
from reidblocks.backbones.files import read_checkpoint
from reidblocks.backbones.mobilenet import mobilenet_v2
from reidblocks.backbones.osnet import OSNet, osnet
from reidblocks.backbones.report import IncompatibleWeightsError, LoadReport
from reidblocks.backbones.resnet import resnet
from reidblocks.backbones.staged import StagedBackbone, StageFeatures

__all__ = [
    "IncompatibleWeightsError",
    "LoadReport",
    "OSNet",
    "StageFeatures",
    "StagedBackbone",
    "load_backbone_weights",
    "mobilenet_v2",
    "osnet",
    "read_checkpoint",
    "resnet",
    "timm_backbone",
    "torchvision_backbone",
]
