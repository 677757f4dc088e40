"""The parts of a ReID network, in the order in which data meets them."""

from reidblocks.blocks.attention import AttentionGenerator, AttentionOutput, GuidedAttention
from reidblocks.blocks.bilinear import BAP, BAPOutput, bilinear_attention_pool
from reidblocks.blocks.distillation import MutualDistiller, mutual_distillation_loss
from reidblocks.blocks.fusion import FusionModule
from reidblocks.blocks.head import BNNeckHead, EmbeddingHead, HeadOutput
from reidblocks.blocks.neck import BNNeck
from reidblocks.blocks.partition import HardPartitionHead, HardPartitionOutput, split_stripes
from reidblocks.blocks.pooling import GeM, gem_pool
from reidblocks.blocks.projection import ConvBNReLU

__all__ = [
    "BAP",
    "AttentionGenerator",
    "AttentionOutput",
    "BAPOutput",
    "BNNeck",
    "BNNeckHead",
    "ConvBNReLU",
    "EmbeddingHead",
    "FusionModule",
    "GeM",
    "GuidedAttention",
    "HardPartitionHead",
    "HardPartitionOutput",
    "HeadOutput",
    "MutualDistiller",
    "bilinear_attention_pool",
    "gem_pool",
    "mutual_distillation_loss",
    "split_stripes",
]
