"""Evaluate saved features: reidblocks evaluate features.npz [--json OUT]

The file holds the arrays query_features (Q, D), query_ids (Q,), gallery_features (G, D),
gallery_ids (G,) and, where they are known, query_cams (Q,) and gallery_cams (G,), and likewise
_paths, _sequences, _clothes and _times. A query that is itself in the gallery, by its path, is not
counted as its own match.
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

from reidblocks._files import write_file
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels, as_times
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.open_set import OpenSetEvaluation, evaluate_open_set
from reidblocks.evaluation.protocol import PROTOCOLS
from reidblocks.evaluation.reranking import KReciprocal
from reidblocks.evaluation.scores import Distance

_FIELDS = {  # arrays of a side, and what Features call them
    "ids": "ids",
    "cams": "cameras",
    "sequences": "sequences",
    "clothes": "clothes",
    "times": "times",
    "paths": "paths",
}
NAMES = ("features", *_FIELDS)
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
_AGAIN = "write it again with numpy.savez, as arrays of numbers"


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
    parser.add_argument("features", type=Path, help="the .npz file")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures here too")
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
        help="some queries show nobody of the gallery: print the detection and identification "
        "rate (DIR) at false-alarm rates (FAR) too",
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


def read_features(path: Path) -> tuple[Features, Features]:
    """Query and gallery from a .npz file with the arrays named above; a note on what is unread."""
    with path.open("rb") as stream, _opened(path, stream) as file:
        sides = {side: _side(path, file, side) for side in ("query", "gallery")}
        unread = set(file.files) - {f"{side}_{name}" for side in sides for name in NAMES}
    if unread:
        print(f"note: {path} also holds {', '.join(sorted(unread))}: not read", file=sys.stderr)
    for name, held in _FIELDS.items():
        has = [side for side in sides if getattr(sides[side], held) is not None]
        if len(has) == 1:
            other = "gallery" if has == ["query"] else "query"
            raise ValueError(
                f"{path} has {has[0]}_{name} but no {other}_{name}; give both or neither"
            )
    if all(side.cameras is None for side in sides.values()):
        print(f"note: {path} holds no cameras: same-camera images count", file=sys.stderr)
    return sides["query"], sides["gallery"]


def _opened(path: Path, stream: typing.BinaryIO) -> "np.lib.npyio.NpzFile":
    """The arrays of a zip archive; np.load would take a foreign file for a pickle."""
    start = stream.read(4)
    if start not in (b"PK\3\4", b"PK\5\6") or not zipfile.is_zipfile(stream):
        raise ValueError(f"{path} is no .npz file, or a damaged one; {_AGAIN}")
    stream.seek(0)
    try:
        return np.load(stream, allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # damaged bytes make zipfile raise nearly anything
        raise ValueError(f"{path} is damaged, or not numpy's: {_reason(error)}; {_AGAIN}") from None


def _side(path: Path, file: "np.lib.npyio.NpzFile", side: str) -> Features:
    wanted = [f"{side}_{name}" for name in NAMES]
    missing = [name for name in wanted[:2] if name not in file.files]
    if missing:
        has = ", ".join(sorted(file.files)) or "no array"
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {has}")
    arrays = {
        name: _array(path, file, full)
        for name, full in zip(NAMES, wanted, strict=True)
        if full in file.files
    }
    values = arrays["features"]
    if values.dtype.kind != "f" or values.ndim != 2:
        raise ValueError(
            f"{path}: expected {side}_features as floating-point numbers (N, D), got "
            f"{values.dtype} {values.shape}; write it again with numpy.savez, as float32"
        )
    try:
        labels = {}
        for name in arrays.keys() & _FIELDS.keys() - {"paths"}:
            check = as_times if name == "times" else as_labels
            full = f"{side}_{name}"
            labels[_FIELDS[name]] = check("the command", full, arrays[name], len(values))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    paths = arrays.get("paths")
    if paths is not None and paths.shape != (len(values),):
        raise ValueError(
            f"{path}: expected {side}_paths ({len(values)},), one for each row of "
            f"{side}_features, got {paths.shape}"
        )
    return Features(
        torch.from_numpy(values), paths=None if paths is None else paths.tolist(), **labels
    )


def _array(
    path: Path, file: "np.lib.npyio.NpzFile", name: str
) -> "np.ndarray[tuple[int, ...], np.dtype[typing.Any]]":
    kinds, wanted = ("US", "strings") if name.endswith("_paths") else ("fiub", "numbers")
    try:
        array = file[name]
    except Exception as error:  # as above
        raise ValueError(
            f"{path}, {name}: expected an array of {wanted}, got one that cannot be read "
            f"({_reason(error)}); write it again with numpy.savez, as arrays of {wanted}"
        ) from None
    if array.dtype.kind not in kinds or (kinds == "fiub" and array.dtype.itemsize > 8):
        raise ValueError(
            f"{path}, {name}: expected an array of {wanted}, got {array.dtype}; write it again "
            f"with numpy.savez, as arrays of {wanted}"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def as_json(result: Evaluation, open_set: OpenSetEvaluation | None = None) -> dict[str, object]:
    """The figures as fractions, and how many queries were dropped for which reason."""
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
