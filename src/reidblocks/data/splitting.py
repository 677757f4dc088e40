"""People apart: some to train on, others to test on."""

import random
from collections import defaultdict
from collections.abc import Sequence

from reidblocks.data.samples import JUNK, ReIDDataset, Sample


def split_people(
    data: ReIDDataset | Sequence[Sample],
    *,
    test: float = 0.3,
    open_set: float = 0.0,
    by_time: bool = False,
    seed: int = 0,
) -> ReIDDataset:
    """Split people into those to train on and those to test on, as queries and a gallery.

    All images of a data set are put together first, whatever its splits. Each test person can be
    found: only people whom two cameras saw are tested on, or who have two images where no camera
    is known. Of each camera's images of a test person the first in the order of time, or of
    their paths where no time is known, is a query and the rest is the gallery; a camera's only
    image is both. Images without a camera count as one camera's, whose only image is of the
    gallery alone. The same people and seed give the same split.

    Args:
        data: what to split; junk is omitted.
        test: fraction of the people to test on; 1 leaves nobody to train on.
        open_set: fraction of the test people whom the gallery does not show: all their images are
            queries without a match.
        by_time: test on the people who were first seen last, and not on those that the seed
            draws: what a system meets after it was trained.
        seed: another seed draws other people.

    Raises:
        ValueError: a fraction is out of its range; there are too few people who can be tested on,
            or none is left to train on; ``by_time`` and an image has no time.

    >>> from pathlib import Path
    >>> people = [Sample(Path(f"{i}_{c}.jpg"), i, c) for i in range(10) for c in (1, 2)]
    >>> print(split_people(people, test=0.3).summary())
    people        images   identities      cameras
    train             14            7            2
    query              6            3            2
    gallery            6            3            2
    """
    if not 0 < test <= 1 or not 0 <= open_set < 1:
        raise ValueError(
            "split_people expects test above 0 and up to 1 and open_set from 0 to below 1, got "
            f"{test} and {open_set}"
        )
    if isinstance(data, ReIDDataset):
        images = dict.fromkeys((*data.train, *data.query, *data.gallery))  # each once
    else:
        images = dict.fromkeys(data)
    people: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(images, key=_moment):
        if sample.identity != JUNK:
            people[sample.identity].append(sample)
    able = [identity for identity in sorted(people) if _can_be_found(people[identity])]
    number = round(test * len(people))
    if not number or number > len(able) or (test < 1 and number == len(people)):
        raise ValueError(
            f"split_people cannot test on {test:g} of {len(people)} people, {len(able)} of whom "
            "two cameras saw (or, without cameras, two images show); change test, or give more "
            "people"
        )
    if by_time:
        if missing := [sample.path for sample in images if sample.time is None]:
            raise ValueError(
                f"split_people by_time expects the time of every image, got none of {missing[0]}"
            )
        able.sort(key=lambda identity: people[identity][0].time or 0.0)
        chosen = able[-number:]
    else:
        chosen = random.Random(seed).sample(able, number)
    unknown = set(random.Random(f"{seed} open").sample(chosen, round(open_set * number)))
    tested = set(chosen)
    train, query, gallery = [], [], []
    for identity, shown in people.items():
        if identity not in tested:
            train += shown
        elif identity in unknown:
            query += shown
        else:
            asked, sought = _one_query_a_camera(shown)
            query += asked
            gallery += sought
    train, query, gallery = (
        sorted(part, key=lambda sample: sample.path) for part in (train, query, gallery)
    )
    return ReIDDataset(
        getattr(data, "name", "people"),
        tuple(train),
        tuple(query),
        tuple(gallery),
        identity_names=getattr(data, "identity_names", {}),
        camera_names=getattr(data, "camera_names", {}),
    )


def _moment(sample: Sample) -> tuple[float, str]:
    return (0.0 if sample.time is None else sample.time, f"{sample.path}")


def _can_be_found(shown: list[Sample]) -> bool:
    """Whether two cameras saw this person, or two images of unknown cameras show them."""
    cameras = {sample.camera for sample in shown}
    return len(cameras) > 1 or (cameras == {None} and len(shown) > 1)


def _one_query_a_camera(shown: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    taken: dict[int | None, list[Sample]] = defaultdict(list)
    for sample in shown:
        taken[sample.camera].append(sample)
    query, gallery = [], []
    for camera, images in taken.items():
        if len(images) > 1:
            query.append(images[0])
            gallery += images[1:]
        else:  # of an unknown camera it would find itself
            query += images if camera is not None else []
            gallery += images
    return query, gallery
