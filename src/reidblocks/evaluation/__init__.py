"""Exact, explained evaluation of person re-identification features."""

from reidblocks._modes import eval_mode
from reidblocks.evaluation.accumulation import FeatureAccumulator
from reidblocks.evaluation.expansion import expand_queries
from reidblocks.evaluation.extraction import evaluate_model, extract_features
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.intervals import compare, confidence_intervals
from reidblocks.evaluation.matches import Match, TopMatches, top_matches
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.nearest import SearchResult, search
from reidblocks.evaluation.protocol import (
    CUHK03_SINGLE_SHOT,
    MARKET1501,
    NO_CAMERAS,
    Protocol,
)
from reidblocks.evaluation.report import DropReport, Reason
from reidblocks.evaluation.reranking import KReciprocal, rerank
from reidblocks.evaluation.verification import Threshold, Verification, verify

__all__ = [
    "CUHK03_SINGLE_SHOT",
    "MARKET1501",
    "NO_CAMERAS",
    "DropReport",
    "Evaluation",
    "FeatureAccumulator",
    "Features",
    "KReciprocal",
    "Match",
    "Protocol",
    "Reason",
    "SearchResult",
    "Threshold",
    "TopMatches",
    "Verification",
    "compare",
    "confidence_intervals",
    "eval_mode",
    "evaluate",
    "evaluate_model",
    "expand_queries",
    "extract_features",
    "rerank",
    "search",
    "top_matches",
    "verify",
]
