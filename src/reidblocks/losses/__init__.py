"""Losses over embeddings."""

from reidblocks.losses.circle import CircleLoss, circle_loss, circle_loss_from_similarities
from reidblocks.losses.classification import (
    ArcFaceClassifier,
    CircleClassifier,
    CosFaceClassifier,
    circle_logits,
)
from reidblocks.losses.diversity import AttentionDiversity, attention_diversity_loss
from reidblocks.losses.gather import gather_batch
from reidblocks.losses.pairs import cosine_similarity_matrix, pair_masks
from reidblocks.losses.triplet import (
    BatchHardTriplet,
    batch_hard_triplet_loss,
    batch_hard_triplet_loss_from_distances,
)

__all__ = [
    "ArcFaceClassifier",
    "AttentionDiversity",
    "BatchHardTriplet",
    "CircleClassifier",
    "CircleLoss",
    "CosFaceClassifier",
    "attention_diversity_loss",
    "batch_hard_triplet_loss",
    "batch_hard_triplet_loss_from_distances",
    "circle_logits",
    "circle_loss",
    "circle_loss_from_similarities",
    "cosine_similarity_matrix",
    "gather_batch",
    "pair_masks",
]
