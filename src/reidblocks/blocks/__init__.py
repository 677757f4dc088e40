"""The parts of a ReID network, in the order in which data meets them."""

from reidblocks.blocks.attention import Attention, AttentionGenerator, GuidedAttention
from reidblocks.blocks.bilinear import BAP, BAPOutput, bilinear_attention_pool
from reidblocks.blocks.distillation import MutualDistiller, mutual_distillation_loss
from reidblocks.blocks.folding import fold_for_inference
from reidblocks.blocks.fusion import FusionModule
from reidblocks.blocks.head import EmbeddingHead, HeadOutput
from reidblocks.blocks.neck import BNNeck
from reidblocks.blocks.partition import HardPartitionHead, HardPartitionOutput, split_stripes
from reidblocks.blocks.pooling import GeM, gem_pool
from reidblocks.blocks.projection import ConvBNReLU

__all__ = [
    "BAP",
    "Attention",
    "AttentionGenerator",
    "BAPOutput",
    "BNNeck",
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
    "fold_for_inference",
    "gem_pool",
    "mutual_distillation_loss",
    "split_stripes",
]
