"""SoccerNet-v3 ReID, whose identities hold within an action."""

import os
import re
from pathlib import Path
from typing import Literal

from reidblocks.data.paths import is_image
from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sets.layout import find_home, warn_of_counts

NAME = "SoccerNet"
HOMES = ("soccernetv3", "reid", "SoccerNet", "SoccerNet-v3")
COUNTS = {
    "train": 248_234, "valid/query": 11_638, "valid/gallery": 34_355,
    "test/query": 11_777, "test/gallery": 34_989,
}  # fmt: skip
EXAMPLE = "4-0-2-0-Player_team_left-9-r000000-161x76.png"
_IMAGE = re.compile(
    r"\d+-(?P<action>\d+)-(?P<person>\d+)-(?P<frame>\d+)-[^-]*-[^-]*-[^-]*-\d+x\d+\."
)


def read_soccernet(root: str | Path, *, test: Literal["valid", "test"] = "valid") -> ReIDDataset:
    """Read SoccerNet-v3 ReID: ``train``, and query and gallery of ``valid`` or ``test``.

    ``4-0-2-0-Player_team_left-9-r000000-161x76.png`` shows person 2 of action 0 in frame 0, which
    is its ``time``. A person's number holds within the action alone, so an identity is a person
    of an action. The ``sequence`` is the action: the official protocol ranks each query against
    its own action only. No camera is known.

    Args:
        root: the folder ``reid`` of ``soccernetv3``, or one of the two above it.
        test: which of the two to test on.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: ``test`` is neither; a name cannot be read, or a folder holds no image.

    Source: Cioppa et al., "SoccerNet-v3", CVPR Workshops 2022.
    """
    if test not in ("valid", "test"):
        raise ValueError(f"read_soccernet expects test as valid or test, got {test!r}")
    folders = ("train", f"{test}/query", f"{test}/gallery")
    home = find_home(NAME, HOMES, root, folders)
    people: dict[tuple[str, str, str], int] = {}
    actions: dict[tuple[str, str], int] = {}
    splits = [_read(home / folder, folder.split("/")[0], people, actions) for folder in folders]
    found = {f"{folder} images": len(s) for folder, s in zip(folders, splits, strict=True)}
    warn_of_counts(NAME, HOMES, home, found, {f"{f} images": COUNTS[f] for f in folders})
    train, query, gallery = map(tuple, splits)
    return ReIDDataset(NAME, train, query, gallery)


def _read(
    folder: Path,
    part: str,
    people: dict[tuple[str, str, str], int],
    actions: dict[tuple[str, str], int],
) -> list[Sample]:
    """The samples below a folder; people and actions are numbered as they come."""
    samples = []
    for where, inner, names in os.walk(folder):
        inner.sort()
        below = os.path.relpath(where, folder)  # championship, season, game and action
        for name in sorted(filter(is_image, names)):
            told = _IMAGE.match(name)
            if told is None:
                raise ValueError(
                    f"{NAME} cannot read the name of {os.path.join(where, name)}: it expects names "
                    f"like {EXAMPLE}. Rename the file or take it out of the folder"
                )
            action = f"{below} {told['action']}"
            samples.append(
                Sample(
                    Path(where, name),
                    people.setdefault((part, action, told["person"]), len(people)),
                    None,
                    sequence=actions.setdefault((part, action), len(actions)),
                    time=float(told["frame"]),
                )
            )
    if not samples:
        raise ValueError(f"{NAME} finds no image below {folder}; unpack the whole archive")
    return samples
