"""Exact, explained evaluation of person re-identification features."""

from reidblocks._modes import eval_mode
from reidblocks.evaluation.accumulation import FeatureAccumulator
from reidblocks.evaluation.cluster_metrics import ClusterEvaluation, evaluate_clusters
from reidblocks.evaluation.clusters import agglomerative_clusters, dbscan_clusters
from reidblocks.evaluation.expansion import expand_queries
from reidblocks.evaluation.extraction import evaluate_model, extract_features
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.intervals import compare, confidence_intervals
from reidblocks.evaluation.matches import Match, TopMatches, top_matches
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.nearest import SearchResult, search
from reidblocks.evaluation.open_set import OpenSetEvaluation, evaluate_open_set
from reidblocks.evaluation.protocol import (
    CLOTHES_CHANGING,
    CUHK03_SINGLE_SHOT,
    LATER_IN_SEQUENCE,
    MARKET1501,
    NO_CAMERAS,
    OWN_SEQUENCE,
    PROTOCOLS,
    SAME_CLOTHES,
    Protocol,
)
from reidblocks.evaluation.report import DropReport, Reason
from reidblocks.evaluation.reranking import KReciprocal, rerank
from reidblocks.evaluation.tracks import aggregate
from reidblocks.evaluation.verification import Threshold, Verification, verify

__all__ = [
    "CLOTHES_CHANGING",
    "CUHK03_SINGLE_SHOT",
    "LATER_IN_SEQUENCE",
    "MARKET1501",
    "NO_CAMERAS",
    "OWN_SEQUENCE",
    "PROTOCOLS",
    "SAME_CLOTHES",
    "ClusterEvaluation",
    "DropReport",
    "Evaluation",
    "FeatureAccumulator",
    "Features",
    "KReciprocal",
    "Match",
    "OpenSetEvaluation",
    "Protocol",
    "Reason",
    "SearchResult",
    "Threshold",
    "TopMatches",
    "Verification",
    "agglomerative_clusters",
    "aggregate",
    "compare",
    "confidence_intervals",
    "dbscan_clusters",
    "eval_mode",
    "evaluate",
    "evaluate_clusters",
    "evaluate_model",
    "evaluate_open_set",
    "expand_queries",
    "extract_features",
    "rerank",
    "search",
    "top_matches",
    "verify",
]
