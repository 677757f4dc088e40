"""Pictures of what a model sees, ranks and learns (extra ``pictures``); each is a Figure."""

from reidblocks.pictures._cards import QueryCard
from reidblocks.pictures.attention import attention_overlay
from reidblocks.pictures.batch import batch_sheet
from reidblocks.pictures.cmc import cmc_curves
from reidblocks.pictures.distances import PairDistances, distance_histogram
from reidblocks.pictures.embedding import embedding_map
from reidblocks.pictures.health import AttentionHealth, attention_health
from reidblocks.pictures.images import ImageSource, unnormalise
from reidblocks.pictures.precision import precision_recall, precision_recall_curves
from reidblocks.pictures.principal import principal_plane
from reidblocks.pictures.ranked import Match, RankedQuery, ranked_list, worst_queries
from reidblocks.pictures.report import (
    ReportFigure,
    ReportPart,
    ReportQueries,
    ReportTable,
    ReportWarning,
    write_report,
)
from reidblocks.pictures.training import TrainingRecord, training_curves

__all__ = [
    "AttentionHealth",
    "ImageSource",
    "Match",
    "PairDistances",
    "QueryCard",
    "RankedQuery",
    "ReportFigure",
    "ReportPart",
    "ReportQueries",
    "ReportTable",
    "ReportWarning",
    "TrainingRecord",
    "attention_health",
    "attention_overlay",
    "batch_sheet",
    "cmc_curves",
    "distance_histogram",
    "embedding_map",
    "precision_recall",
    "precision_recall_curves",
    "principal_plane",
    "ranked_list",
    "training_curves",
    "unnormalise",
    "worst_queries",
    "write_report",
]
