"""The table in which LanceDB keeps a gallery: its columns, its model, errors in our words."""

import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from reidblocks._files import FULL, make_folder
from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery.rows import Row

FORMAT = 1  # of the columns below; a program reads the formats up to its own
NAME = "rows"
_OURS = {".lock", "model.json", f"{NAME}.lance"}
_COLUMNS = "person, camera, track, time, source, images, agreement"
_KEY = b"reidblocks.gallery"


def lance() -> Any:
    """Return the module ``lancedb``, which is imported when a gallery is first used."""
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise ImportError(
            "a gallery needs LanceDB; install it with: pip install 'reidblocks[gallery]'"
        ) from error
    return lancedb


def schema_of(spec: EmbedderSpec) -> Any:
    """Return the table's columns, with the model that its embeddings come from."""
    import pyarrow

    told = {"format": FORMAT, **vars(spec)}
    return pyarrow.schema(
        [
            ("person", pyarrow.string()),
            ("camera", pyarrow.string()),
            ("track", pyarrow.string()),
            ("time", pyarrow.float64()),
            ("source", pyarrow.string()),
            ("images", pyarrow.int64()),
            ("agreement", pyarrow.float32()),
            ("vector", pyarrow.list_(pyarrow.float32(), spec.dimension)),
        ],
        metadata={_KEY: json.dumps(told)},
    )


def spec_of(path: str, table: Any) -> EmbedderSpec:
    """Return the model that a table's embeddings come from."""
    told = (table.schema.metadata or {}).get(_KEY)
    if told is None:
        raise ValueError(
            f"{path} is a table of LanceDB, but no gallery; make one by Gallery.create"
        )
    fields = json.loads(told)
    if fields.pop("format") > FORMAT:
        raise ValueError(
            f"the gallery {path} was written by a newer version of reidblocks, in format "
            f"{json.loads(told)['format']}; this one reads up to {FORMAT}. Update reidblocks"
        )
    return EmbedderSpec(**fields)


def folder_of(path: str | os.PathLike[str]) -> Path | None:
    """Return a gallery's folder; None where it is in object storage."""
    return None if "://" in os.fspath(path) else Path(path).expanduser()


def connect(path: str | os.PathLike[str]) -> Any:
    """Open the folder or the object storage; each read sees what was written last."""
    folder = folder_of(path)
    where = os.fspath(path if folder is None else folder)
    return lance().connect(where, read_consistency_interval=timedelta(0))


def open_table(path: str | os.PathLike[str]) -> Any:
    """Open the table of a gallery, or say that there is none."""
    folder = folder_of(path)
    lance()
    if folder is not None and not (folder / f"{NAME}.lance" / "_versions").is_dir():
        what = "holds no gallery" if folder.is_dir() else "is a file" if folder.exists() else ""
        raise FileNotFoundError(
            f"the gallery {path} {what or 'is not there'}; make it by Gallery.create, or by "
            "reidblocks embed"
        )
    with explained("read", path):
        return connect(path).open_table(NAME)


def create_table(path: str | os.PathLike[str], spec: EmbedderSpec) -> Any:
    """Make an empty table; one that is there is left alone."""
    folder = folder_of(path)
    with explained("make", path):
        database = connect(path)
        if folder is None:
            there = NAME in database.list_tables().tables
        else:  # a kill can leave a table without a version, which is none
            there = (folder / f"{NAME}.lance" / "_versions").is_dir()
        table = None if there else database.create_table(NAME, schema=schema_of(spec))
    if table is None:
        raise FileExistsError(f"the gallery {os.fspath(path)} is there already; open it instead")
    return table


def prepare_folder(path: str | os.PathLike[str]) -> None:
    """Make a gallery's folder; one that holds something else is left alone."""
    folder = folder_of(path)
    if folder is None:
        return
    make_folder(folder)
    if strange := sorted({each.name for each in folder.iterdir()} - _OURS):
        raise FileExistsError(
            f"Gallery.create expects a new or an empty folder, but {path} holds {strange[0]}"
        )


def to_arrow(rows: Sequence[Row], schema: Any) -> Any:
    """Return rows as a table of Arrow."""
    import pyarrow

    columns = [
        pyarrow.array([getattr(row, field.name) for row in rows], field.type)
        for field in list(schema)[:-1]
    ]
    flat = np.stack([row.vector for row in rows]).reshape(-1)
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), schema[-1].type.list_size)
    return pyarrow.table([*columns, vectors], schema=schema)


def from_arrow(table: Any) -> list[Row]:
    """Return the rows of a table of Arrow."""
    names = [name for name in table.column_names if name in Row.__dataclass_fields__]
    return [
        Row(**row | {"vector": np.asarray(row["vector"], np.float32)})
        for row in table.select(names).to_pylist()
    ]


def rewrite_without(path: str | os.PathLike[str], table: Any, row_ids: Any) -> Any:
    """Write a gallery's table again without some of its rows, in one step.

    A deletion of LanceDB's hides rows: their bytes stay in the files, and a condition on a name
    is recorded with the name.
    """
    import pyarrow

    schema = table.schema

    def kept() -> Iterator[Any]:
        for batch in table.search().with_row_id(True).to_batches():
            keep = ~np.isin(batch.column("_rowid").to_numpy(), row_ids)
            yield batch.filter(pyarrow.array(keep)).select(schema.names).cast(schema)

    reader = pyarrow.RecordBatchReader.from_batches(schema, kept())
    with explained("remove from", path):
        return connect(path).create_table(NAME, reader, mode="overwrite")


def clean(path: str | os.PathLike[str], table: Any, *, keep: timedelta) -> None:
    """Compact the files and delete those of versions older than this: of all but one, if zero."""
    with warnings.catch_warnings(), explained("clean", path):
        warnings.simplefilter("ignore")  # that readers of an older version will fail
        table.optimize(cleanup_older_than=keep, delete_unverified=not keep)


@contextmanager
def explained(doing: str, path: str | os.PathLike[str], where: str | None = None) -> Iterator[None]:
    """Raise LanceDB's errors as one that names the gallery, or the condition, and what to do."""
    try:
        yield
    except Exception as error:  # RuntimeError, ValueError or OSError, with Rust's text
        said = re.sub(r",? ?/?[^ ]*\.rs:\d+(:\d+)?", "", str(error).partition("\n")[0])
        if where is not None and isinstance(error, ValueError):
            raise ValueError(
                f"expected where as a condition in SQL on the columns {_COLUMNS}, such as "
                f"\"camera = 'hall'\", got {where!r}: {said.partition('. Valid fields')[0]}"
            ) from error
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else None
        advice = "; what was in it before is whole" if doing != "read" else ""
        if number in {*FULL, errno.EFBIG}:
            with suppress(OSError):
                free = shutil.disk_usage(folder_of(path) or ".").free
                said = f"the disk is full, {free / 1e6:,.0f} MB are free"
            advice += ". Make room, then try again"
        told = OSError(f"cannot {doing} the gallery {os.fspath(path)}: {said}{advice}")
        told.errno = number
        raise told from error
