"""Evaluate saved features: reidblocks evaluate features.npz [--json OUT]

The file holds the arrays query_features (Q, D), query_ids (Q,), gallery_features (G, D),
gallery_ids (G,) and, where they are known, query_cams (Q,) and gallery_cams (G,), and likewise
_paths, _sequences, _clothes and _times. Identities and cameras are numbers, or names on both
sides: the report then calls them so. A query that is itself in the gallery, by its path, is not
counted as its own match.
"""

import argparse
import json
import typing
from collections.abc import Sequence
from pathlib import Path

from reidblocks._files import write_file
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.open_set import OpenSetEvaluation, evaluate_open_set
from reidblocks.evaluation.protocol import PROTOCOLS
from reidblocks.evaluation.reranking import KReciprocal
from reidblocks.evaluation.saved import read_features
from reidblocks.evaluation.scores import Distance

_EXPLAINED = (
    "market (default): images of the query's identity and camera are excluded, identity -1 is "
    "junk; market1501: identity 0 is a distractor too; no-cameras: only junk is excluded; "
    "cuhk03-single-shot: one image of each identity; own-sequence: the query's sequence is its "
    "gallery; later-in-sequence: what is later in it; clothes-changing, same-clothes: as market, "
    "and images of the query's identity in the same, in other clothes are excluded"
)

_WORDS = {  # of the library, and the command's own
    "distance='euclidean'": "--distance euclidean",
    "or use NO_CAMERAS": "or use --protocol no-cameras",
    "Protocol.junk_ids and distractor_ids": "--protocol",
    "give Features both, or use another protocol": "write query_ and gallery_ arrays of them, or "
    "use another --protocol",
    "give replace(protocol, single_shot=False)": "use another --protocol",
    "query features": "query_features",
    "gallery features": "gallery_features",
}


def main(arguments: Sequence[str]) -> int:
    """Evaluate the features in the file that the command line names.

    Raises:
        OSError, ValueError: it cannot be read, or the results not be written.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("features", type=Path, help="features in an .npz file")
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="also write the metrics to this file"
    )
    parser.add_argument("--distance", choices=typing.get_args(Distance), default="cosine")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="market",
        help=_EXPLAINED,
    )
    parser.add_argument(
        "--rerank", action="store_true", help="k-reciprocal re-ranking (k1=20, k2=6, lambda 0.3)"
    )
    parser.add_argument("--max-rank", type=_whole, default=50, help="length of the CMC curve")
    parser.add_argument(
        "--open-set",
        action="store_true",
        help="open set: also print the detection and identification rate (DIR) at false-alarm "
        "rates (FAR), for queries whose people may be missing from the gallery",
    )
    options = parser.parse_args(arguments)
    try:
        out: Path | None = options.json
        if out is not None and out.exists() and out.samefile(options.features):
            raise ValueError(f"--json {out} is the file of features, which it would overwrite")
        query, gallery = read_features(options.features)
        protocol, distance = PROTOCOLS[options.protocol], options.distance
        how = KReciprocal() if options.rerank else None
        settings = {"protocol": protocol, "distance": distance, "reranking": how}
        result = evaluate(query, gallery, max_rank=options.max_rank, **settings)
        open_set = evaluate_open_set(query, gallery, **settings) if options.open_set else None
        print(_in_own_words(str(result)))
        if open_set is not None:
            print(f"\n{_in_own_words(str(open_set))}")
        if out is not None:
            write_file(out, json.dumps(as_json(result, open_set), indent=2) + "\n")
    except ValueError as error:
        raise ValueError(_in_own_words(str(error))) from error
    return 0


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _in_own_words(text: str) -> str:
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def as_json(result: Evaluation, open_set: OpenSetEvaluation | None = None) -> dict[str, object]:
    """The metrics as fractions, and how many queries were dropped for which reason."""
    rates = (0.001, 0.01, 0.1)
    more = (
        {}
        if open_set is None
        else {
            "open_set": {
                "num_known": len(open_set.known),
                "num_unknown": len(open_set.unknown),
                "dir": {f"FAR {r}, rank-{k}": open_set.dir_at(r, k) for r in rates for k in (1, 5)},
            }
        }
    )
    return {
        "mAP": result.mAP,
        "mINP": result.mINP,
        "cmc": result.cmc.tolist(),
        "num_valid_queries": result.num_valid_queries,
        "num_queries": result.report.num_queries,
        "num_self_matches": result.report.num_self_matches,
        "dropped": {part.reason.name.lower(): part.count for part in result.report.dropped},
        **more,
    }
