"""What is wrong with a data set, found before the training meets it."""

import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image
from torch import Tensor

from reidblocks._checks import expect_sizes
from reidblocks._images import read_image
from reidblocks._progress import counted
from reidblocks.data.paths import file_key
from reidblocks.data.samples import ReIDDataset, Sample

# Of the 128 bits of a fingerprint, copies that were scaled or compressed again differ in up to
# about 8; of 24 million pairs of different people in Market-1501, none differs in fewer than 15.
NEAR = 8


def check_images(samples: Sequence[Sample], *, progress: bool = False) -> list[str]:
    """Read every image completely, and report those that cannot be read.

    Args:
        samples: what to read.
        progress: show on standard error how far it is.

    >>> from pathlib import Path
    >>> check_images([Sample(Path("gone.jpg"), 1, 1)])[0].split(" (")[0]
    'cannot read the image gone.jpg'
    """
    return [result for result in _look_at_all(samples, progress) if isinstance(result, str)]


def diagnose(data: ReIDDataset, *, batch: int = 64, progress: bool = False) -> Iterator[str]:
    """Check a data set, and report counts, broken or suspicious images, and a suitable P×K.

    Reads every image. Lines that report a problem start with "!".

    Args:
        data: what to check.
        batch: how many images a training batch may hold.
        progress: show on standard error how far it is.

    Raises:
        ValueError: batch is not above 0.
    """
    expect_sizes("diagnose", batch=batch)
    yield data.summary()
    yield from _count_cameras(data)
    yield from _no_camera(data)
    sizes = Counter(sample.identity for sample in data.train)
    if sizes:
        alone = [data.identity_name(identity) for identity, size in sizes.items() if size == 1]
        yield (
            f"images of a training identity: {min(sizes.values())} to {max(sizes.values())}, "
            f"median {statistics.median(sizes.values()):g}"
        )
        yield from _trouble("training identities with one image only", alone)
    shown = {sample.identity for sample in data.gallery}
    lost = unmatched_queries(data)
    strangers = [query for query in lost if query.identity not in shown]
    if strangers and len(strangers) < len(data.query):  # else two numberings of people
        lost = [query for query in lost if query.identity in shown]
        yield (
            f"  an open set: {len(strangers)} queries show {_people(strangers)} whom the gallery "
            "does not. evaluate_open_set (--open-set) measures with them; evaluate drops them"
        )
    named = [f"{sample.path} of {data.identity_name(sample.identity)}" for sample in lost]
    yield from _trouble("queries without a match taken by another camera", named)
    # a query may lie in the gallery too: one image, to be read and told of once
    test = {file_key(sample.path): sample for sample in (*data.query, *data.gallery)}
    samples = (*data.train, *test.values())
    looks = _look_at_all(samples, progress)
    yield from _trouble("images that cannot be read", [x for x in looks if isinstance(x, str)])
    cut = len(data.train)
    twins = [
        f"{samples[train].path} and {samples[cut + test].path}"
        for test, train in _near_pairs(looks[cut:], looks[:cut])
    ]
    yield from _trouble("images in train and, nearly the same, in the test", twins)
    if sizes:
        p, k = suggest_batch(list(sizes.values()), batch)
        yield f"for batches of {batch}: PKBatchSampler(…, num_identities={p}, num_images={k})"


def unmatched_queries(data: ReIDDataset) -> list[Sample]:
    """The queries whose identity no other camera's gallery image shows: no rank is right."""
    cameras = defaultdict(set)
    for sample in data.gallery:
        cameras[sample.identity].add(sample.camera)
    return [
        query
        for query in data.query
        if not cameras[query.identity] - ({query.camera} - {None})  # unknown is never the same
    ]


def _people(samples: Sequence[Sample]) -> str:
    number = len({sample.identity for sample in samples})
    return "a person" if number == 1 else f"{number} people"


def suggest_batch(sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """P and K for identities with these many images and batches of up to ``batch`` images.

    K is the largest power of two that three quarters of the identities reach without
    repeating an image, at least 2 and at most √batch, so that there are no fewer identities than
    images of each. P fills the batch as far as there are identities.

    >>> suggest_batch([3, 9, 9, 12] * 100, batch=64)
    (8, 8)
    """
    enough = sorted(sizes)[len(sizes) // 4]
    k = 2 ** int(math.log2(max(2, min(enough, math.isqrt(batch)))))
    return min(max(batch // k, 1), len(sizes)), k


def _count_cameras(data: ReIDDataset) -> Iterator[str]:
    for split, samples in (("train", data.train), ("query", data.query), ("gallery", data.gallery)):
        counts = Counter(-1 if sample.camera is None else sample.camera for sample in samples)
        if counts:
            yield f"{split} images of camera " + ", ".join(
                f"{data.camera_name(None if camera == -1 else camera)}: {counts[camera]:,}"
                for camera in sorted(counts)
            )


def _no_camera(data: ReIDDataset) -> Iterator[str]:
    """Say where evaluation cannot exclude what a query's own camera took."""
    unknown = [
        split
        for split, samples in (("query", data.query), ("gallery", data.gallery))
        if samples and all(sample.camera is None for sample in samples)
    ]
    if unknown:
        yield (
            f"! no camera is known of any {' or '.join(unknown)} image: evaluation cannot exclude "
            "images by the query's own camera. All images count as matches, also those taken a "
            "moment apart, and the results are better than across cameras"
        )


def _trouble(what: str, cases: list[str], shown: int = 10) -> Iterator[str]:
    yield f"{'!' if cases else ' '} {what}: {len(cases) or 'none'}"
    yield from (f"    {case}" for case in cases[:shown])
    if len(cases) > shown:
        yield f"    and {len(cases) - shown} more"


def _look_at_all(samples: Sequence[Sample], progress: bool) -> list[Tensor | str]:
    """Of each image its fingerprint, or why it cannot be read."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding lets other threads run
        found = pool.map(_look, samples)
        return list(counted(found, "images read:", len(samples), shown=progress))


def _look(sample: Sample) -> Tensor | str:
    """128 bits: where brightness grows to the right, and where downwards, on an 8×8 grid."""
    try:
        gray = read_image(sample.path).convert("L")
    except OSError as error:
        return str(error)
    wide, high = (_brightness(gray.resize(size, Image.Resampling.BOX)) for size in ((9, 8), (8, 9)))
    return torch.cat([(wide.diff(dim=1) > 0).flatten(), (high.diff(dim=0) > 0).flatten()])


def _brightness(gray: Image.Image) -> Tensor:
    levels = torch.frombuffer(bytearray(gray.tobytes()), dtype=torch.uint8)
    return levels.int().view(gray.height, gray.width)


def _near_pairs(first: list[Tensor | str], second: list[Tensor | str]) -> Iterator[tuple[int, int]]:
    """For each of the first its nearest of the second, if at most ``NEAR`` bits differ.

    One for each, as a thousand gray images on both sides would make a million pairs.
    """
    (rows, left), (columns, right) = _stack(first), _stack(second)
    for start in range(0, len(left) if len(right) else 0, 256):
        # ±1 for each bit: the product is 128 less twice the number of bits that differ
        best, places = (left[start : start + 256] @ right.T).max(dim=1)
        for row in (best >= 128 - 2 * NEAR).nonzero().flatten().tolist():
            yield rows[start + row], columns[int(places[row])]


def _stack(looks: list[Tensor | str]) -> tuple[list[int], Tensor]:
    read = [(place, look) for place, look in enumerate(looks) if isinstance(look, Tensor)]
    none = torch.zeros((0, 128), dtype=torch.bool, device="cpu")
    bits = torch.stack([look for _, look in read]) if read else none
    return [place for place, _ in read], bits.to(torch.float32) * 2 - 1
