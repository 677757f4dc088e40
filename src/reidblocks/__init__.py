"""PyTorch building blocks for person re-identification."""

from reidblocks.blocks import (
    BAP,
    Attention,
    AttentionGenerator,
    BAPOutput,
    BNNeck,
    ConvBNReLU,
    EmbeddingHead,
    FusionModule,
    GeM,
    GuidedAttention,
    HardPartitionHead,
    HardPartitionOutput,
    HeadOutput,
    MutualDistiller,
    bilinear_attention_pool,
    gem_pool,
    mutual_distillation_loss,
    split_stripes,
)

__version__ = "0.1.0"

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
    "__version__",
    "bilinear_attention_pool",
    "gem_pool",
    "mutual_distillation_loss",
    "split_stripes",
]
