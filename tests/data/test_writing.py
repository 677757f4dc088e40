from collections.abc import Callable
from pathlib import Path

import pytest

from reidblocks.data import ReIDDataset, Sample, from_csv, write_csv

Draw = Callable[..., Path]


def people(draw: Draw) -> ReIDDataset:
    return ReIDDataset(
        "people.csv",
        (Sample(draw("hall/a, 1.png"), 0, 0, 3, 1, "visible", 2.5),),
        (Sample(draw("b.png"), 1, 1, time=12),),
        (Sample(draw("c.png"), 1, 0), Sample(draw("junk.png"), -1, None)),
        identity_names={0: "anna", 1: "ben"},
        camera_names={0: "hall", 1: "yard"},
    )


def test_a_written_table_is_read_as_it_was(draw: Draw, tmp_path: Path) -> None:
    data = people(draw)
    path = write_csv(data, tmp_path / "people.csv")
    assert path.read_text().splitlines() == [
        "path,identity,camera,split,sequence,clothes,modality,time",
        '"hall/a, 1.png",anna,hall,train,3,1,visible,2.5',
        "b.png,ben,yard,query,,,,12",
        "c.png,ben,hall,gallery,,,,",
        "junk.png,-1,,gallery,,,,",
    ]
    assert from_csv(path) == data


def test_numbers_and_columns_that_nobody_tells(draw: Draw, tmp_path: Path) -> None:
    data = ReIDDataset(
        "n.csv", (Sample(draw("a.png"), 7, 12), Sample(draw("b.png"), 9, None)), (), ()
    )
    path = write_csv(data, tmp_path / "n.csv")
    assert path.read_text() == "path,identity,camera,split\na.png,7,12,train\nb.png,9,,train\n"
    assert from_csv(path) == data


def test_images_elsewhere_are_written_with_their_whole_path(draw: Draw, tmp_path: Path) -> None:
    data = people(draw)
    path = write_csv(data, tmp_path / "tables" / "new" / "people.csv")
    assert f'"{(tmp_path / "hall").as_posix()}/a, 1.png"' in path.read_text()
    assert from_csv(path) == data


def test_a_name_that_means_a_missing_value_is_refused(draw: Draw, tmp_path: Path) -> None:
    data = ReIDDataset("n", (Sample(draw("a.png"), 0, 0),), (), (), camera_names={0: "NA"})
    with pytest.raises(ValueError, match="n has the name 'NA', which a table means a missing"):
        write_csv(data, tmp_path / "n.csv")
