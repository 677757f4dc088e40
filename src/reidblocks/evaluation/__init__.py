"""Exact, explained evaluation of person re-identification features."""

from reidblocks.evaluation.accumulation import FeatureAccumulator
from reidblocks.evaluation.extraction import evaluate_model, extract_features
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.intervals import Difference, Interval, compare, confidence_intervals
from reidblocks.evaluation.matches import Match, top_matches
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.protocol import (
    CUHK03_SINGLE_SHOT,
    MARKET1501,
    MARKET_RULE,
    NO_CAMERAS,
    Protocol,
)
from reidblocks.evaluation.report import Dropped, DropReport, Reason
from reidblocks.evaluation.verification import Threshold, Verification, verify

__all__ = [
    "CUHK03_SINGLE_SHOT",
    "MARKET1501",
    "MARKET_RULE",
    "NO_CAMERAS",
    "Difference",
    "DropReport",
    "Dropped",
    "Evaluation",
    "FeatureAccumulator",
    "Features",
    "Interval",
    "Match",
    "Protocol",
    "Reason",
    "Threshold",
    "Verification",
    "compare",
    "confidence_intervals",
    "evaluate",
    "evaluate_model",
    "extract_features",
    "top_matches",
    "verify",
]
