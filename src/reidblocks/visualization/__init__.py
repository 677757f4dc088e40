"""Pictures of what a model sees, ranks and learns (extra ``visualization``); each is a Figure."""

from reidblocks.visualization._cards import QueryCard
from reidblocks.visualization.attention import attention_overlay
from reidblocks.visualization.batch import batch_sheet
from reidblocks.visualization.cmc import cmc_curves
from reidblocks.visualization.distances import PairDistances, distance_histogram
from reidblocks.visualization.embedding import embedding_map
from reidblocks.visualization.health import AttentionHealth, attention_health
from reidblocks.visualization.images import ImageSource, unnormalise
from reidblocks.visualization.precision import precision_recall, precision_recall_curves
from reidblocks.visualization.principal import principal_plane
from reidblocks.visualization.ranked import Match, RankedQuery, ranked_list, worst_queries
from reidblocks.visualization.report import (
    ReportFigure,
    ReportPart,
    ReportQueries,
    ReportTable,
    ReportWarning,
    write_report,
)
from reidblocks.visualization.tracks import track_strip
from reidblocks.visualization.training import TrainingRecord, training_curves

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
    "track_strip",
    "training_curves",
    "unnormalise",
    "worst_queries",
    "write_report",
]
