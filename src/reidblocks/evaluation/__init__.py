"""Exact, explained evaluation of person re-identification features."""

from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.protocol import MARKET1501, NO_CAMERAS, Protocol
from reidblocks.evaluation.report import Dropped, DropReport, Reason

__all__ = [
    "MARKET1501",
    "NO_CAMERAS",
    "DropReport",
    "Dropped",
    "Evaluation",
    "Protocol",
    "Reason",
    "evaluate",
]
