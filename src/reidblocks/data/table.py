"""A data set of one's own, as a table."""

import csv
import difflib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from reidblocks.data.duplicates import TWICE, find_twice, name_both
from reidblocks.data.lookup import Finder
from reidblocks.data.names import MISSING, Numbering, fold, is_junk, number_values, read_time
from reidblocks.data.samples import ReIDDataset, Sample

REQUIRED = ("path", "identity", "split")
OPTIONAL = ("camera", "sequence", "clothes", "modality", "time")
NUMBERED = ("identity", "camera", "sequence", "clothes")
SPLITS = ("train", "query", "gallery")
# Other tables' names for these columns, after `fold`, without what is no letter.
_CAMERA = re.compile(r"[ck]am(era)?s?(id|ids|no|nr|num|number|name|index|idx|code|label)?")
_OTHERS = {
    "path": ("file", "filename", "filepath", "image", "imagepath", "img", "imgpath", "paths"),
    "identity": ("id", "ids", "pid", "personid", "person", "identities", "identityid", "label"),
    "split": ("set", "subset", "partition", "fold", "splits"),
}


def from_csv(path: str | Path) -> ReIDDataset:
    r"""Read a data set from a table with the columns path, identity, camera and split.

    One row per image. Paths are relative to the table's folder; names that Windows or macOS wrote
    are found elsewhere too. ``split`` is train, query or gallery. An image has one row; only a
    query of a known camera may have a second one, in the gallery. The columns sequence, clothes,
    modality and time may be there too (see `Sample`); others are ignored. A table may also be for
    training alone, or for testing alone.

    Identities and cameras are integers, 12 or 12.0, or names; if one of a column is a name,
    all of it is numbered from 0 in alphabetical order, and the names are kept as
    ``identity_names`` and ``camera_names``. So with sequences and clothes, whose names are not
    kept. A time is a number, or a date and time as 2026-01-31T14:15:00. ``camera`` may be -1 or
    missing where it is unknown, or the column omitted. Missing is an empty value and what
    pandas, Excel, R and Python write for one: nan, NaN, NA, N/A, #N/A, None, null, <NA>, NaT and
    the like. Identity -1 is junk (see `ReIDDataset`), also among names.

    Columns and splits may differ in case and spaces from the names above, and a person or a camera
    may be written in both Unicode forms. Names that differ in case, spaces or leading zeros raise
    an error, as does a column that seems to be the camera's under another name.

        path,identity,camera,split
        hall/anna 1.jpg,anna,hall,train
        yard/ben.png,ben,yard,query

    Args:
        path: the table, comma-separated, in UTF-8.

    Raises:
        FileNotFoundError: there is no such table, or no image where a row says.
        ValueError: a column or a value is missing or twice there, or its name is only near the
            one meant; a split has another name; there are queries and no gallery, or the reverse;
            a time cannot be read; one name is written in two ways; a
            number is not whole or too large for int64; an image has two rows that it may not
            have; a training identity is in the test.

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
    numbers = {column: _numbers(path, column, rows) for column in NUMBERED}
    finder = Finder(path.parent)
    placed: list[tuple[str, Sample]] = []
    for line, row in rows:
        where = f"{path} line {line}"
        split = row["split"] if row["split"] in SPLITS else fold(row["split"])
        if split not in SPLITS:
            raise ValueError(f"{where} has the split {row['split']!r}; use {', '.join(SPLITS)}")
        try:
            image = finder.find(row["path"])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{where} names {error}") from None
        told = {column: numbers[column].numbers.get(row[column]) for column in NUMBERED}
        try:
            time = read_time(row["time"]) if row["time"] else None
        except ValueError as error:
            raise ValueError(f"{where} has {error}") from None
        modality = row["modality"] or None
        placed.append((split, Sample(image, **told, modality=modality, time=time)))  # type: ignore[arg-type]
    train, query, gallery = (
        tuple(sample for split, sample in placed if split == wanted) for wanted in SPLITS
    )
    try:
        return ReIDDataset(
            path.name,
            train,
            query,
            gallery,
            identity_names=numbers["identity"].names,
            camera_names=numbers["camera"].names,
        )
    except ValueError:
        if twice := find_twice(placed):  # told by its lines
            first, second = twice
            image_twice = name_both(placed[first][1], placed[second][1])
            raise ValueError(
                f"{path} line {rows[second][0]} repeats {image_twice} of line {rows[first][0]}; "
                f"{TWICE}"
            ) from None
        raise


def _numbers(path: Path, column: str, rows: Sequence[tuple[int, dict[str, str]]]) -> Numbering:
    """A number for each value of a column that is there."""
    places: dict[str, str] = {}
    for line, row in rows:
        if row[column]:
            places.setdefault(row[column], f"line {line}")
    return number_values(str(path), column, places)


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Each row's line and its values, "" for what is missing, or -1 where that means it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, skipinitialspace=True)
            header = next(table, [])
            rows = [(table.line_num, row) for row in table if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a comma-separated table in UTF-8: {error}; save it as CSV UTF-8"
        ) from error
    places = _columns(path, header)
    clean = []
    for line, row in rows:
        if any(value.strip() for value in row[len(header) :]):
            raise ValueError(
                f"{path} line {line} has {len(row)} values for {len(header)} columns; put a value "
                'that holds a comma in "double quotes"'
            )
        values = {
            column: row[place].strip() if place < len(row) else ""
            for column, place in places.items()
        }
        for column in ("identity", *OPTIONAL):
            if values.setdefault(column, "") in MISSING:
                values[column] = ""
        if empty := [column for column in REQUIRED if not values[column]]:
            raise ValueError(
                f"{path} line {line} has no {', '.join(empty)}; fill it in (-1 is the identity of "
                "an image that shows nobody known)"
            )
        for column in NUMBERED[1:]:
            if is_junk(values[column]):
                values[column] = ""
        clean.append((line, values))
    return clean


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each column is that is known by its name."""
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        column = fold(name)
        if column not in (*REQUIRED, *OPTIONAL):
            continue
        if column in places:
            raise ValueError(
                f"{path} has the column {column} twice, as {header[places[column]]!r} and as "
                f"{name!r}; give one of them another name"
            )
        places[column] = place
    if missing := [column for column in REQUIRED if column not in places]:
        meant = [
            f"; rename {name} to {column} if it is that"
            for column in missing
            for name in header
            if _letters(name) in _OTHERS[column]
        ]
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its first line must name the columns "
            f"path, identity, split and, where known, camera, separated by commas; it names "
            f"{', '.join(header) or 'nothing'}{''.join(meant)}"
        )
    near = [
        name
        for name in header
        if _CAMERA.fullmatch(_letters(name))
        or difflib.get_close_matches(_letters(name), ["camera"], cutoff=0.8)
    ]
    if "camera" not in places and near:
        raise ValueError(
            f"{path} has no column camera, but {' and '.join(near)}; rename it to camera if it "
            "tells the camera, and else to something that is less like it"
        )
    return places


def _letters(name: str) -> str:
    """A column's name without case, accents, digits and signs."""
    return re.sub("[^a-z]", "", unicodedata.normalize("NFKD", fold(name)))
