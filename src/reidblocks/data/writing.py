"""A data set written as the table that `from_csv` reads."""

import csv
import io
import os
from pathlib import Path

from reidblocks._files import make_folder, write_file
from reidblocks.data.names import MISSING
from reidblocks.data.samples import ReIDDataset, Sample


def write_csv(data: ReIDDataset, path: str | Path) -> Path:
    """Write a data set as a table that ``from_csv`` reads, to inspect or change it.

    The columns are path, identity, camera and split, and those of sequence, clothes, modality and
    time that some image has. People and cameras are written by their names where they have one.
    An image's path is relative if it lies below the table's folder, which then may be moved as a
    whole.

    Args:
        data: what to write.
        path: where to; a file of this name is replaced. Its folder is created if missing.

    Returns:
        The path.

    Raises:
        OSError: it cannot be written.
        ValueError: a name is one that a table means a missing value by, such as NA.

    >>> people = ReIDDataset("hall", (Sample(Path("a.png"), 0, None),), (), (), {0: "anna"})
    >>> print(write_csv(people, "people.csv").read_text())
    path,identity,camera,split
    a.png,anna,,train
    <BLANKLINE>
    """
    path = Path(path).expanduser()
    for names in (data.identity_names, data.camera_names):
        if lost := MISSING & {*names.values()}:
            raise ValueError(
                f"{data.name} has the name {min(lost)!r}, which a table means a missing value by; "
                "give it another name"
            )
    placed = [
        (split, sample)
        for split, samples in (("train", data.train), ("query", data.query))
        for sample in samples
    ] + [("gallery", sample) for sample in data.gallery]
    more = [
        name
        for name in ("sequence", "clothes", "modality", "time")
        if any(getattr(sample, name) is not None for _, sample in placed)
    ]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "identity", "camera", "split", *more])
    folder = os.path.join(os.path.abspath(path.parent), "")
    for split, sample in placed:
        camera = "" if sample.camera is None else data.camera_name(sample.camera)
        others = (getattr(sample, name) for name in more)
        table.writerow(
            [_below(folder, sample), data.identity_name(sample.identity), camera, split]
            + ["" if value is None else _plain(value) for value in others]
        )
    make_folder(path.parent)
    write_file(path, text.getvalue())
    return path


def _below(folder: str, sample: Sample) -> str:
    """An image's path, from a folder on if it lies below."""
    whole = os.path.abspath(sample.path)
    return Path(whole.removeprefix(folder)).as_posix()


def _plain(value: object) -> str:
    """Write a number without the end of a float that says nothing: 12 and not 12.0."""
    return f"{int(value)}" if isinstance(value, float) and value.is_integer() else f"{value}"
