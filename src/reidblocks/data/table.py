"""A data set of one's own, as a table."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from reidblocks.data.samples import TWICE, ReIDDataset, Sample, find_twice

REQUIRED = ("path", "identity", "split")
SPLITS = ("train", "query", "gallery")


def from_csv(path: str | Path) -> ReIDDataset:
    r"""Read a data set from a table with the columns path, identity, camera and split.

    One row an image. Paths are relative to the table's folder. ``split`` is train, query or
    gallery. ``camera`` may be empty or -1 where it is unknown, or missing altogether. An image has
    one row; only a query of a known camera may have a second one, in the gallery. Identities and
    cameras are whole numbers or names; if one of a column is a name, all of it is numbered from 0
    in alphabetical order. Other columns are ignored.

        path,identity,camera,split
        hall/anna 1.jpg,anna,hall,train
        yard/ben.png,ben,yard,query

    Args:
        path: the table, comma-separated, in UTF-8.

    Raises:
        FileNotFoundError: there is no such table, or no image where a row says.
        ValueError: a column or a value is missing, a split has another name or no row, an image
            has two rows that it may not have, or a training identity is in the test.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> table = Path(folder.name, "people.csv")
    >>> _ = table.write_text("path,identity,split\na.png,1,train\nb.png,2,query\nc.png,2,gallery")
    >>> for name in "abc":
    ...     table.with_name(f"{name}.png").touch()
    >>> from_csv(table).query[0].identity
    2
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise FileNotFoundError(
            f"from_csv expects a table with the columns path, identity, camera and split, but "
            f"{path} {what}"
        )
    rows = _read_rows(path)
    identities = _numbers(path, "identity", (row["identity"] for _, row in rows))
    cameras = _numbers(path, "camera", (row["camera"] for _, row in rows if row["camera"]))
    placed: list[tuple[str, Sample]] = []
    for line, row in rows:
        where = f"{path} line {line}"
        if row["split"] not in SPLITS:
            raise ValueError(f"{where} has the split {row['split']!r}; use {', '.join(SPLITS)}")
        image = path.parent / row["path"]
        if not image.is_file():
            raise FileNotFoundError(
                f"{where} names {image}, which is not there; paths are relative to {path.parent}"
            )
        camera = cameras[row["camera"]] if row["camera"] else None
        placed.append((row["split"], Sample(image, identities[row["identity"]], camera)))
    if twice := find_twice(placed):
        first, second = (rows[place][0] for place in twice)
        image = placed[twice[1]][1].path
        raise ValueError(f"{path} line {second} repeats {image} of line {first}; {TWICE}")
    return ReIDDataset(
        path.name,
        *(tuple(sample for split, sample in placed if split == wanted) for wanted in SPLITS),
    )


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Each row's line and its values, "" for a camera that is not given or -1."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            found = table.fieldnames or []
            rows = [(table.line_num, row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a comma-separated table in UTF-8: {error}") from error
    missing = [column for column in REQUIRED if column not in found]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line must name the columns "
            f"path, identity, split and, where known, camera, separated by commas; it names "
            f"{', '.join(found) or 'nothing'}"
        )
    clean = [
        (line, {column: (row.get(column) or "").strip() for column in (*REQUIRED, "camera")})
        for line, row in rows
    ]
    for line, values in clean:
        empty = [column for column in REQUIRED if not values[column]]
        if empty:
            raise ValueError(f"{path} line {line} has no {', '.join(empty)}; fill it in")
        if values["camera"] == "-1":
            values["camera"] = ""
    return clean


def _numbers(path: Path, column: str, values: Iterable[str]) -> dict[str, int]:
    """A number for each value: its own if all are whole numbers, else its alphabetical place."""
    names = sorted(set(values))
    if not all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        return {name: number for number, name in enumerate(names)}
    spelling: dict[int, str] = {}
    for name in names:
        if spelling.setdefault(int(name), name) != name:
            raise ValueError(
                f"{path} writes one {column} as {spelling[int(name)]} and as {name}; "
                f"write it in one way"
            )
    return {name: number for number, name in spelling.items()}
