"""Losses over embeddings."""

from reidblocks.losses.circle import CircleLoss, circle_loss
from reidblocks.losses.circle_classes import CircleClassifier, circle_logits
from reidblocks.losses.diversity import AttentionDiversity, attention_diversity_loss
from reidblocks.losses.gather import gather_batch, gather_tensor
from reidblocks.losses.pairs import (
    cosine_similarity_matrix,
    euclidean_distance_matrix,
    pair_masks,
)
from reidblocks.losses.triplet import BatchHardTriplet, batch_hard_triplet_loss

__all__ = [
    "AttentionDiversity",
    "BatchHardTriplet",
    "CircleClassifier",
    "CircleLoss",
    "attention_diversity_loss",
    "batch_hard_triplet_loss",
    "circle_logits",
    "circle_loss",
    "cosine_similarity_matrix",
    "euclidean_distance_matrix",
    "gather_batch",
    "gather_tensor",
    "pair_masks",
]
