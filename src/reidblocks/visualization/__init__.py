"""Figures of what a model sees, ranks and learns (extra ``visualization``)."""

from reidblocks.visualization._cards import QueryCard
from reidblocks.visualization.attention import attention_overlay
from reidblocks.visualization.batch import batch_sheet
from reidblocks.visualization.cmc import cmc_curves
from reidblocks.visualization.distances import PairDistances, distance_histogram, pair_distances
from reidblocks.visualization.embedding import embedding_map
from reidblocks.visualization.found import FoundImage, FoundPerson, answer_sheet
from reidblocks.visualization.health import AttentionHealth, attention_health
from reidblocks.visualization.images import ImageSource, unnormalize
from reidblocks.visualization.precision import precision_recall_curves
from reidblocks.visualization.ranked import RankedImage, RankedQuery, ranked_list, worst_queries
from reidblocks.visualization.report import (
    ReportFigure,
    ReportPart,
    ReportQueries,
    ReportTable,
    ReportWarning,
    write_report,
)
from reidblocks.visualization.search import ranked_queries
from reidblocks.visualization.sections import attention_section, evaluation_sections
from reidblocks.visualization.tracks import track_strip
from reidblocks.visualization.training import TrainingRecord, training_curves

__all__ = [
    "AttentionHealth",
    "FoundImage",
    "FoundPerson",
    "ImageSource",
    "PairDistances",
    "QueryCard",
    "RankedImage",
    "RankedQuery",
    "ReportFigure",
    "ReportPart",
    "ReportQueries",
    "ReportTable",
    "ReportWarning",
    "TrainingRecord",
    "answer_sheet",
    "attention_health",
    "attention_overlay",
    "attention_section",
    "batch_sheet",
    "cmc_curves",
    "distance_histogram",
    "embedding_map",
    "evaluation_sections",
    "pair_distances",
    "precision_recall_curves",
    "ranked_list",
    "ranked_queries",
    "track_strip",
    "training_curves",
    "unnormalize",
    "worst_queries",
    "write_report",
]
