"""Contracts for blocks and losses, ours and yours, and hypothesis strategies (extra `testing`)."""

from reidblocks.testing.blocks import check_block
from reidblocks.testing.losses import check_loss
from reidblocks.testing.strategies import attention_maps, embeddings_and_labels, feature_maps

__all__ = [
    "attention_maps",
    "check_block",
    "check_loss",
    "embeddings_and_labels",
    "feature_maps",
]
