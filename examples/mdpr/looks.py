"""What there is to look at: ranked lists and attention maps of chosen queries."""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines import Baseline
from config import MDPRConfig
from evaluate import Score
from model import MDPR
from reidblocks.data import ReIDDataset, Sample, eval_transform, read_image
from reidblocks.evaluation import top_matches
from reidblocks.visualization import Match, RankedQuery

MATCHES = 10  # that count; junk between them is shown beside
BATCH = 64


def ranked_queries(data: ReIDDataset, scored: Score, rows: Sequence[int]) -> list[RankedQuery]:
    """Rank the gallery for these queries."""
    found = top_matches(scored.query[rows], scored.gallery, k=2 * MATCHES, left_out=True)
    ranked = []
    for row, nearest in zip(rows, found, strict=True):
        query = data.query[row]
        matches, counted = [], 0
        for match in nearest:
            counted += match.correct is not None
            if counted > MATCHES:
                break
            image = data.gallery[match.index]
            matches.append(Match(image.path, match.correct, match.distance, image.camera))
        precision = scored.result.average_precision[row].item()
        label = f"id {query.identity}"
        ranked.append(RankedQuery(query.path, matches, label, query.camera, precision))
    return ranked


def attention_maps(
    model: MDPR | Baseline, samples: Sequence[Sample], config: MDPRConfig
) -> dict[str, Tensor]:
    """Compute A4 and A5 (B, K, H, W) of these images; nothing of a network without them."""
    if isinstance(model, Baseline) or model.soft is None:
        return {}
    transform = eval_transform((config.height, config.width))
    device = next(model.parameters()).device
    found = []
    model.eval()
    for start in range(0, len(samples), BATCH):
        chosen = samples[start : start + BATCH]
        images = torch.stack([transform(read_image(sample.path)) for sample in chosen])
        with torch.inference_mode():
            found.append(model.attention(images.to(device)))
    return {name: torch.cat([each[name].float().cpu() for each in found]) for name in ("A4", "A5")}


def spread(length: int, count: int) -> list[int]:
    """Indices from all over a sequence, the same each time."""
    return sorted({round(n * (length - 1) / max(1, count - 1)) for n in range(count)})
