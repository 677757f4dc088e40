"""Evaluate saved features: python -m reidblocks.evaluation features.npz [--json OUT]

The file holds the arrays query_features (Q, D), query_ids (Q,), gallery_features (G, D),
gallery_ids (G,) and, where they are known, query_cams (Q,) and gallery_cams (G,).
"""

import argparse
import json
import sys
import typing
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from reidblocks.evaluation.features import Features
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.protocol import MARKET1501, MARKET_RULE, NO_CAMERAS
from reidblocks.evaluation.reranking import KReciprocal
from reidblocks.evaluation.scores import Distance

PROTOCOLS = {"market": MARKET_RULE, "market1501": MARKET1501, "no-cameras": NO_CAMERAS}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reidblocks.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("features", type=Path, help="the .npz file")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
    parser.add_argument("--distance", choices=typing.get_args(Distance), default="cosine")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="market",
        help="market (default): images of the query's identity and camera are left out, "
        "identity -1 is junk; market1501: identity 0 is a distractor too; no-cameras: only junk "
        "is left out",
    )
    parser.add_argument(
        "--rerank", action="store_true", help="k-reciprocal re-ranking (k1=20, k2=6, λ=0.3)"
    )
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC curve")
    options = parser.parse_args(arguments)
    try:
        query, gallery = read_features(options.features)
        result = evaluate(
            query,
            gallery,
            protocol=PROTOCOLS[options.protocol],
            distance=options.distance,
            reranking=KReciprocal() if options.rerank else None,
            max_rank=options.max_rank,
        )
        if options.json is not None:
            options.json.write_text(json.dumps(as_json(result), indent=2) + "\n")
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(result)


def read_features(path: Path) -> tuple[Features, Features]:
    """Query and gallery from a .npz file with the arrays named above."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error
    return _side(path, arrays, "query"), _side(path, arrays, "gallery")


def _side(
    path: Path, arrays: dict[str, "np.ndarray[typing.Any, typing.Any]"], side: str
) -> Features:
    missing = [name for name in (f"{side}_features", f"{side}_ids") if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}")
    parts = (arrays.get(f"{side}_{name}") for name in ("features", "ids", "cams"))
    try:
        values, ids, cameras = (None if p is None else torch.from_numpy(p) for p in parts)
        assert values is not None
        assert ids is not None
        return Features(values, ids, cameras)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}, {side}: {error}") from error


def as_json(result: Evaluation) -> dict[str, object]:
    """The figures as fractions, and how many queries were dropped for which reason."""
    return {
        "mAP": result.mAP,
        "mINP": result.mINP,
        "cmc": result.cmc.tolist(),
        "num_valid_queries": result.num_valid_queries,
        "num_queries": result.report.num_queries,
        "dropped": {part.reason.name.lower(): part.count for part in result.report.dropped},
    }


if __name__ == "__main__":
    main()
