import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reidblocks.data import Sample, from_csv

Draw = Callable[..., Path]
TRAIN, QUERY, GALLERY = "hall/a 1.jpg,{},{},train", "b.png,{},{},query", "ç/c.jpg,{},{},gallery"


@pytest.fixture
def table(draw: Draw, tmp_path: Path) -> Callable[..., Path]:
    """Write a table of the given rows beside the three images they name."""
    for name in ("hall/a 1.jpg", "b.png", "ç/c.jpg"):
        draw(name)

    def write(*rows: str, header: str = "path,identity,camera,split") -> Path:
        path = tmp_path / "people.csv"
        path.write_text("\n".join((header, *rows)), encoding="utf-8")
        return path

    return write


def rows(identities: str = "1 2 2", cameras: str = "1 1 2") -> list[str]:
    values = zip((TRAIN, QUERY, GALLERY), identities.split(), cameras.split(), strict=True)
    return [row.format(identity, camera.strip("-")) for row, identity, camera in values]


def test_paths_are_relative_to_the_table(table: Callable[..., Path], tmp_path: Path) -> None:
    data = from_csv(table(*rows("1 20 20", "3 1 2")))
    assert data.train == (Sample(tmp_path / "hall" / "a 1.jpg", 1, 3),)
    assert data.query == (Sample(tmp_path / "b.png", 20, 1),)
    assert data.gallery == (Sample(tmp_path / "ç" / "c.jpg", 20, 2),)
    assert data.name == "people.csv"


def test_names_are_numbered_in_alphabetical_order(table: Callable[..., Path]) -> None:
    data = from_csv(table(*rows("zoe 7 7", "yard hall yard")))
    assert (data.train[0].identity, data.query[0].identity) == (1, 0)
    assert (data.train[0].camera, data.query[0].camera) == (1, 0)


def test_a_camera_may_be_empty_or_the_column_absent(table: Callable[..., Path]) -> None:
    data = from_csv(table(*rows(cameras="- 1 -")))
    assert [s[0].camera for s in (data.train, data.query, data.gallery)] == [None, 1, None]
    without = [re.sub(r",\d,(\w+)$", r",\1", row) for row in rows()]
    data = from_csv(table(*without, header="path,identity,split"))
    assert [s[0].camera for s in (data.train, data.query, data.gallery)] == [None] * 3


@pytest.mark.parametrize("known", ["1", "hall"])
def test_the_camera_minus_one_is_unknown(known: str, table: Callable[..., Path]) -> None:
    lines = [row.replace(",9,", ",-1,") for row in rows(cameras=f"{known} 9 9")]
    data = from_csv(table(*lines))
    assert data.train[0].camera is not None
    assert (data.query[0].camera, data.gallery[0].camera) == (None, None)


def test_a_query_may_have_a_second_row_in_the_gallery(table: Callable[..., Path]) -> None:
    data = from_csv(table("b.png,2,1,gallery", *rows()))
    assert data.query[0] == data.gallery[0]


@pytest.mark.parametrize("again", ["b.png,2,2,gallery", "b.png,1,1,gallery", "b.png,2,1,query"])
def test_other_second_rows_are_refused_even_where_one_path_is_absolute(
    again: str, table: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(*rows(), again.replace("b.png", str(tmp_path / "b.png")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"people\.csv line 5 repeats .*b\.png of line 3; keep one"
    ):
        from_csv("people.csv")


@pytest.mark.parametrize("camera", ["", "-1"])
def test_a_query_without_a_camera_has_no_second_row(
    camera: str, table: Callable[..., Path]
) -> None:
    path = table(*(f"b.png,2,{camera},{split}" for split in ("query", "gallery")), *rows()[::2])
    with pytest.raises(ValueError, match=r"line 3 repeats .* without a camera cannot also be in"):
        from_csv(path)


def test_columns_in_any_order_with_others_and_spaces_and_a_byte_order_mark(
    table: Callable[..., Path],
) -> None:
    path = table(
        "train , 1, x, hall/a 1.jpg",
        "query, 2, y, b.png",
        "gallery, 2, z, ç/c.jpg",
        header="\ufeffsplit, identity, note, path",
    )
    assert from_csv(path).train[0].identity == 1


def test_a_quoted_path(table: Callable[..., Path], draw: Draw) -> None:
    draw("one, two.jpg")
    path = table('"one, two.jpg",1,1,train', *rows()[1:])
    assert from_csv(path).train[0].path.name == "one, two.jpg"


def test_an_absolute_path(table: Callable[..., Path], draw: Draw) -> None:
    elsewhere = draw("elsewhere.jpg").resolve()
    assert from_csv(table(f"{elsewhere},1,1,train", *rows()[1:])).train[0].path == elsewhere


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("train", "training"), r"line 2 has the split 'training'; use train, query, gallery"),
        (("a 1.jpg", "no.jpg"), r"line 2 names .*no\.jpg, which is not there; paths are relative"),
        (("hall/a 1.jpg", "./b.png"), r"line 3 repeats .*b\.png of line 2; keep one"),
        (("hall/a 1.jpg,1", "hall/a 1.jpg,"), r"line 2 has no identity; fill it in"),
        ((",1,1,train", ",1"), r"line 2 has no split; fill it in"),
        (("hall/a 1.jpg", " "), r"line 2 has no path; fill it in"),
        (
            (",1,1,train", ",02,1,train"),
            r"one identity as 02 \(line 2\) and as 2 \(line 3\); write it in one way",
        ),
        (
            (",1,1,train", ",1,01,train"),
            r"one camera as 01 \(line 2\) and as 1 \(line 3\); write it in one way",
        ),
        ((",1,1,train", ",2,1,train"), r"trains on 1 of its test identities: identity 2 is in"),
        ((",1,1,train", ",2,1,query"), r"people.csv has no train images"),
    ],
)
def test_a_wrong_row_is_an_error_naming_table_and_line(
    change: tuple[str, str], message: str, table: Callable[..., Path]
) -> None:
    text = "\n".join(rows()).replace(*change)
    path = table(*text.splitlines())
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        from_csv(path)
    assert "people.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,person,camera,split", "has no column identity; .* it names path, person, camera"),
        ("path;identity;camera;split", "no column path, identity, split; .*separated by commas"),
    ],
)
def test_a_missing_column_is_an_error_that_says_what_the_first_line_holds(
    header: str, message: str, table: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        from_csv(table(*rows(), header=header))


def test_an_empty_file_a_missing_file_and_one_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    with pytest.raises(FileNotFoundError, match=r"expects a table with .*people\.csv is not there"):
        from_csv(path)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        from_csv(tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"people\.csv has no column .* it names nothing"):
        from_csv(path)
    path.write_bytes("path,identité,split\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"people\.csv is not a comma-separated table in UTF-8"):
        from_csv(path)
