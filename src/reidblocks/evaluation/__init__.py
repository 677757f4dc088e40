"""Exact, explained evaluation of person re-identification features."""

from reidblocks.evaluation.extraction import evaluate_model, extract_features
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.matches import Match, top_matches
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.protocol import MARKET1501, MARKET_RULE, NO_CAMERAS, Protocol
from reidblocks.evaluation.report import Dropped, DropReport, Reason

__all__ = [
    "MARKET1501",
    "MARKET_RULE",
    "NO_CAMERAS",
    "DropReport",
    "Dropped",
    "Evaluation",
    "Features",
    "Match",
    "Protocol",
    "Reason",
    "evaluate",
    "evaluate_model",
    "extract_features",
    "top_matches",
]
