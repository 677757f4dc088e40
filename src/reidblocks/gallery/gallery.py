"""A gallery: people's embeddings kept on disk, searched, and deleted for good."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
from torch import Tensor

from reidblocks._checks import expect_positive, expect_whole
from reidblocks.deploy import EmbedderSpec
from reidblocks.gallery import table as files
from reidblocks.gallery.lock import writers_turn
from reidblocks.gallery.rows import (
    GalleryMatch,
    GalleryPerson,
    Names,
    Times,
    as_name,
    make_rows,
    merge_tracks,
    unit_rows,
)

INDEX_FROM = 200_000  # rows; fewer are searched one by one
PARTITION = 4_096  # rows of the index's parts, of which a fifth is looked into
COMPACT_EVERY = 1_000  # versions
QUERIES = 64  # at a time
_FIELDS = GalleryMatch._fields


class Gallery:
    """A searchable gallery of people in a LanceDB folder: `create` makes one, `open` opens it.

    A row is an image's embedding, L2-normalized, or a track's, with what is known of it: person,
    camera, track, source (names, or integers, kept as text) and time (seconds). Distances
    are 1 − cos.

    When `add` returns, its rows are on disk, even if the process is killed; a call that was
    interrupted has added all of its rows or none. Writers in several processes take turns;
    readers never wait and see whole calls. Below 200,000 rows each search is exact; above,
    `optimize` builds an index, which nearly is.

    Args:
        path, table, spec: as `create` and `open` give them.
    """

    def __init__(self, path: str | os.PathLike[str], table: Any, spec: EmbedderSpec) -> None:
        self.path, self.spec = os.fspath(path), spec
        self._table = table

    @classmethod
    def create(cls, path: str | os.PathLike[str], embedder_spec: EmbedderSpec) -> "Gallery":
        """Make an empty gallery for the embeddings of one model.

        Args:
            path: a new folder, or an address of object storage, as ``s3://bucket/people``.
            embedder_spec: the model, as ``Embedder.spec`` tells it.

        Raises:
            FileExistsError: a gallery or something else is there already.
            ImportError: LanceDB is not installed.
            OSError: the folder cannot be made.

        >>> from reidblocks.deploy import EmbedderSpec
        >>> gallery = Gallery.create("people.lance", EmbedderSpec("mine", 3, fingerprint="a3f0"))
        >>> gallery.add(torch.eye(3), person=["anna", "ben", None], camera="hall")
        >>> [match.person for match in gallery.search(torch.tensor([[0.9, 0.1, 0.0]]), k=2)[0]]
        ['anna', 'ben']
        >>> gallery.search(torch.tensor([[0.5, 0.5, 0.5]]), max_distance=0.3)  # nobody
        [[]]
        >>> gallery.remove(person="anna"), len(gallery)
        (1, 2)
        """
        _expect_spec("Gallery.create", embedder_spec)
        files.lance()
        files.prepare_folder(path)
        with writers_turn(files.folder_of(path)):
            return cls(path, files.create_table(path, embedder_spec), embedder_spec)

    @classmethod
    def open(cls, path: str | os.PathLike[str], spec: EmbedderSpec | None = None) -> "Gallery":
        """Open a gallery.

        Args:
            path: its folder, or its address in object storage.
            spec: the model whose embeddings will be added and searched for. Without it the
                number of dimensions is all that is checked.

        Raises:
            FileNotFoundError: there is no gallery.
            ValueError: it holds another model's embeddings, or a newer version wrote it.
            ImportError: LanceDB is not installed.
        """
        table = files.open_table(path)
        found = files.spec_of(os.fspath(path), table)
        if spec is not None:
            _expect_spec("Gallery.open", spec)
            if (spec.dimension, spec.fingerprint) != (found.dimension, found.fingerprint):
                raise ValueError(
                    f"the gallery {os.fspath(path)} holds embeddings of {_told(found)}, which "
                    f"those of {_told(spec)} cannot be compared with; use that model, or embed "
                    "the images again into a new gallery"
                )
        return cls(path, table, found)

    def __len__(self) -> int:
        """Return the number of rows."""
        with files.explained("read", self.path):
            return int(self._table.count_rows())

    def add(
        self,
        embeddings: "Tensor | np.ndarray[Any, Any]",
        *,
        person: Names = None,
        camera: Names = None,
        time: Times = None,
        track: Names = None,
        source: Names = None,
    ) -> None:
        """Add embeddings; all are on disk when it returns.

        Those of one track of one camera become one row: the mean of their L2-normalized vectors,
        which later calls continue with. Its time is the earliest, its source the first.

        Args:
            embeddings: (N, D), on any device.
            person, camera, track, source: a name for all, or for each; None is unknown. A track
                needs its camera, and a name that no other track of this camera has or had.
            time: in seconds, for all or for each; NaN and None are unknown.

        Raises:
            ValueError: another dimension than the gallery's, NaN, infinity or a zero vector;
                a field has another number of values; a track without its camera, or of two people.
            TypeError: the embeddings are no tensor, a name is neither text nor an integer, a
                time is not a number.
            TimeoutError: another process has been writing for a minute.
            OSError: it cannot be written, as when the disk is full. Nothing was added.
        """
        vectors = unit_rows("add", embeddings, self.spec.dimension)
        rows = make_rows(vectors, person, camera, time, track, source)
        if not rows:
            return
        with self._writing("add to"):
            tracks = {row.track for row in rows if row.track is not None}
            if tracks:
                kept = files.from_arrow(self._rows(f"track IN ({', '.join(map(_quoted, tracks))})"))
                touched = {(row.camera, row.track) for row in rows}
                kept = [row for row in kept if (row.camera, row.track) in touched]
                rows = merge_tracks(rows, kept)
            data = files.to_arrow(rows, files.schema_of(self.spec))
            with files.explained("add to", self.path):
                if tracks:
                    merge = self._table.merge_insert(["camera", "track"])
                    merge.when_matched_update_all().when_not_matched_insert_all().execute(data)
                else:
                    self._table.add(data)
            if self._table.version % COMPACT_EVERY == 0:
                files.clean(self.path, self._table, keep=timedelta(hours=1))

    def search(
        self,
        embeddings: "Tensor | np.ndarray[Any, Any]",
        k: int = 10,
        *,
        where: str | None = None,
        max_distance: float | None = None,
        exact: bool = False,
    ) -> list[list[GalleryMatch]]:
        """Return the nearest rows for each embedding, the nearest first; an empty list is nobody.

        Args:
            embeddings: (Q, D).
            k: rows for each.
            where: a condition on the columns in SQL, as ``"camera = 'hall' AND time > 3600"``;
                others are not searched.
            max_distance: from 0 to 2; what is farther is no match. Choose it on your own images:
                ``reidblocks.evaluation.verify`` finds the distance for a rate of false matches.
            exact: compare with every row, even where there is an index.

        Raises:
            ValueError: another dimension than the gallery's, NaN or a zero vector; k is below 1;
                max_distance is not above 0; where is no condition on the columns.
            TypeError: the embeddings are no tensor, or k is not an integer.
        """
        vectors = unit_rows("search", embeddings, self.spec.dimension).numpy()
        k = expect_whole("search", "k", k)
        if max_distance is not None:
            expect_positive("search", max_distance=max_distance)
        found: list[list[GalleryMatch]] = []
        for start in range(0, len(vectors), QUERIES):
            found += self._nearest(vectors[start : start + QUERIES], k, where, exact)
        limit = math.inf if max_distance is None else max_distance
        return [[match for match in matches if match.distance <= limit] for matches in found]

    def recall(self, embeddings: "Tensor | np.ndarray[Any, Any]", k: int = 10) -> float:
        """Return the fraction of the k nearest rows that a search by the index finds.

        Args:
            embeddings: (Q, D), to search for; some dozens are enough.
            k: rows for each.
        """
        found, wanted = (self.search(embeddings, k, exact=exact) for exact in (False, True))
        far = [matches[-1].distance + 1e-6 for matches in wanted if matches]  # rounding
        hits = sum(
            sum(match.distance <= limit for match in matches)
            for matches, limit in zip(found, far, strict=False)
        )
        return hits / max(1, sum(map(len, wanted)))

    def people(self) -> list[GalleryPerson]:
        """Return the contents for each person, by name; rows without a name come last."""
        with files.explained("read", self.path):
            rows = self._table.search().select(["person", "camera", "time", "images"]).to_batches()
            groups = rows.read_all().group_by("person")
        wanted = [("images", "count"), ("images", "sum"), ("camera", "distinct")]
        table = groups.aggregate([*wanted, ("time", "min"), ("time", "max")])
        people = [
            GalleryPerson(
                each["person"],
                each["images_count"],
                each["images_sum"],
                tuple(sorted(filter(None, each["camera_distinct"]))),
                each["time_min"],
                each["time_max"],
            )
            for each in table.to_pylist()
        ]
        return sorted(people, key=lambda each: (each.name is None, each.name or ""))

    def sources(self) -> set[str]:
        """Return the sources of all rows that have one."""
        with files.explained("read", self.path):
            rows = self._table.search().where("source IS NOT NULL").select(["source"]).to_batches()
            return set(rows.read_all()["source"].to_pylist())

    def remove(self, *, person: str | int | None = None, where: str | None = None) -> int:
        """Delete rows permanently: afterward no file of the gallery holds them.

        The gallery's table is written again without them, which takes time and, meanwhile, disk
        space by its size; older versions are deleted, and an index is built again. A process that
        was reading the older version may get an error once. Call it again where it was
        interrupted.

        Args:
            person: whose rows.
            where: or which, by a condition in SQL, as for `search`; ``"person IS NULL"`` are
                those without a name.

        Returns:
            How many rows were deleted.

        Raises:
            ValueError: neither or both are given; where is no condition on the columns.
            TimeoutError: another process has been writing for a minute.
            OSError: it cannot be written. Nothing was deleted, or all of it: call it again.
        """
        if (person is None) == (where is None):
            raise ValueError("remove expects either person or where")
        condition = where or f"person = {_quoted(as_name('person', person))}"
        with self._writing("remove from"):
            ids = self._rows(condition, ["person"])["_rowid"].to_numpy()
            if len(ids):
                indexed = self._indexed() > 0
                self._table = files.rewrite_without(self.path, self._table, ids)
                if indexed:
                    self._build_index()
            files.clean(self.path, self._table, keep=timedelta(0))
        return len(ids)

    def optimize(self) -> None:
        """Compact the files and, from 200,000 rows on, build or update the index.

        Call it after filling the gallery, or every night. For a million rows it takes minutes.

        Raises:
            TimeoutError: another process has been writing for a minute.
            OSError: it cannot be written. What was in the gallery still is.
        """
        with self._writing("optimize"):
            if len(self) >= INDEX_FROM and len(self) > 2 * self._indexed():
                self._build_index()
            files.clean(self.path, self._table, keep=timedelta(hours=1))

    def _nearest(
        self, vectors: Any, k: int, where: str | None, exact: bool
    ) -> list[list[GalleryMatch]]:
        rows = len(self)
        found: list[list[GalleryMatch]] = [[] for _ in vectors]
        if not rows:
            return found
        query = self._table.search(vectors, vector_column_name="vector").metric("cosine").limit(k)
        columns = [name for name in _FIELDS if name != "distance"]
        query = query.select([*columns, "_distance"])
        if where is not None:
            query = query.where(where, prefilter=True)
        if exact or rows < INDEX_FROM:
            query = query.bypass_vector_index()
        else:  # more parts than a fifth are looked into only where a condition leaves too few rows
            query = query.minimum_nprobes(math.ceil(rows / PARTITION / 5)).maximum_nprobes(0)
            query = query.refine_factor(3)
        with files.explained("read", self.path, where):
            answer = query.to_arrow().to_pylist()
        for each in answer:
            distance = max(0.0, each["_distance"])  # rounding
            fields = {name: each[name] for name in columns}
            found[each.get("query_index", 0)].append(GalleryMatch(distance=distance, **fields))
        for matches in found:
            matches.sort(key=lambda match: match.distance)
        return found

    def _rows(self, where: str, columns: list[str] | None = None) -> Any:
        query = self._table.search().where(where).with_row_id(True)
        with files.explained("read", self.path, where):
            return (query.select(columns) if columns else query).to_batches().read_all()

    def _indexed(self) -> int:
        with files.explained("read", self.path):
            return sum(each.num_indexed_rows for each in self._table.list_indices())

    def _build_index(self) -> None:
        parts = max(1, len(self) // PARTITION)
        with files.explained("index", self.path):
            index = files.lance().index.IvfSq(distance_type="cosine", num_partitions=parts)
            self._table.create_index("vector", config=index)

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        try:
            with writers_turn(files.folder_of(self.path)):
                yield
        except PermissionError as error:
            raise PermissionError(f"cannot {doing} the gallery {self.path}: {error}") from error


def _expect_spec(caller: str, spec: object) -> None:
    if not isinstance(spec, EmbedderSpec):
        raise TypeError(
            f"{caller} expects an EmbedderSpec, as Embedder.spec is, got {type(spec).__name__}"
        )


def _told(spec: EmbedderSpec) -> str:
    return f"{spec.name} (D = {spec.dimension}, fingerprint {spec.fingerprint:.12})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
