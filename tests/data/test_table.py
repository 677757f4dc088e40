import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        ((",2,1,query", ",1,1,train"), r"people.csv has no query images"),
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


MISSING = [
    *("nan", "NaN", "-nan", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "None", "none", "null"),
    *("NULL", "NaT", "#NV", "1.#QNAN", "-1", "-1.0"),
]


@pytest.mark.parametrize("gap", ["", *MISSING, "#N/A N/A", '"  "'])
@pytest.mark.parametrize("known", ["2", "2.0", "hall"])
def test_every_spelling_of_missing_is_an_unknown_camera(
    gap: str, known: str, table: Callable[..., Path]
) -> None:
    data = from_csv(
        table(
            TRAIN.format(1, gap),
            QUERY.format(2, gap),
            GALLERY.format(2, known),
        )
    )
    assert (data.train[0].camera, data.query[0].camera) == (None, None)
    assert data.gallery[0].camera == (0 if known == "hall" else 2)


@pytest.mark.parametrize("gap", MISSING[:-2])
def test_a_missing_identity_is_told(gap: str, table: Callable[..., Path]) -> None:
    path = table(TRAIN.format(gap, 1), *rows()[1:])
    with pytest.raises(
        ValueError, match=r"line 2 has no identity; fill it in \(-1 is the identity"
    ):
        from_csv(path)


def test_names_that_look_like_missing_are_names(table: Callable[..., Path]) -> None:
    data = from_csv(table(TRAIN.format("Na", 1), QUERY.format("Nan", 1), GALLERY.format("Nan", 2)))
    assert (data.train[0].identity, data.query[0].identity) == (0, 1)


@pytest.mark.parametrize("error", ["#REF!", "#DIV/0!", "#NAME?", "#VALUE!"])
def test_errors_of_a_spreadsheet_are_told(error: str, table: Callable[..., Path]) -> None:
    path = table(TRAIN.format(1, error), *rows()[1:])
    with pytest.raises(ValueError, match=rf"line 2 has the camera {re.escape(error)}, an error of"):
        from_csv(path)


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        ("7.0 12 12.0", (7, 12)),
        ("7 12.000 12.", (7, 12)),
        ("1e+05 2e5 2e5", (100_000, 200_000)),
        ("-7 0 0.0", (-7, 0)),
        ("9223372036854775807 3 3", (2**63 - 1, 3)),
        ("anna 12 12.0", (1, 0)),
    ],
)
def test_a_whole_number_written_as_a_float_is_that_number(
    identities: str, expected: tuple[int, int], table: Callable[..., Path]
) -> None:
    data = from_csv(table(*rows(identities)))
    assert (data.train[0].identity, data.query[0].identity) == expected
    assert data.gallery[0].identity == expected[1]


@pytest.mark.parametrize("junk", ["-1", "-1.0"])
@pytest.mark.parametrize("people", ["1 2 2", "anna ben ben"])
def test_junk_is_junk_in_every_split(
    junk: str, people: str, table: Callable[..., Path], draw: Draw
) -> None:
    names = [draw(f"{split}.png").name for split in ("train", "query", "gallery")]
    path = table(*rows(people), *(f"{name},{junk},1,{Path(name).stem}" for name in names))
    data = from_csv(path)
    assert (len(data.train), len(data.query), data.num_identities) == (1, 1, 1)
    assert [sample.identity for sample in data.gallery] == [data.query[0].identity, -1]
    assert data.summary().endswith("\n2 images of no person (junk) excluded from train and query")


@pytest.mark.parametrize(
    ("identities", "cameras", "message"),
    [
        ("1.5 2 2", "1 1 2", "line 2 has the identity 1.5, which is no whole number; number them"),
        ("1 2 2", "1 1 0.5", "line 4 has the camera 0.5, which is no whole number"),
        (
            "1 9223372036854775808 2",
            "1 1 2",
            "line 3 has the identity 9.*, which int64 cannot hold",
        ),
        ("1 1e999 2", "1 1 2", "line 3 has the identity 1e999, which int64 cannot hold"),
        ("1 100000 1e5", "1 1 2", r"one identity as 100000 \(line 3\) and as 1e5 \(line 4\)"),
        (
            "anna 7 07",
            "1 1 2",
            r"one identity as 7 \(line 3\) and as 07 \(line 4\); write it in one",
        ),
        ("1 2 2", "1 Till till", r"one camera as Till \(line 3\) and as till \(line 4\); write it"),
        (
            "1 2 2",
            "1 hall2 hall\u00a02",
            r"one camera as hall2 \(line 3\) and as hall.2 \(line 4\)",
        ),
        ("1 anna anna\u200b", "1 1 2", r"one identity as anna \(line 3\) and as anna"),
    ],
)
def test_numbers_and_names_that_cannot_be_told_apart_or_held_are_refused(
    identities: str, cameras: str, message: str, table: Callable[..., Path]
) -> None:
    fields = zip((TRAIN, QUERY, GALLERY), identities.split(" "), cameras.split(" "), strict=True)
    path = table(*(row.format(identity, camera) for row, identity, camera in fields))
    with pytest.raises(ValueError, match=rf"people\.csv .*{message}"):
        from_csv(path)


def test_names_with_a_number_among_them_stay_names(table: Callable[..., Path]) -> None:
    data = from_csv(table(*rows("1.5 anna anna")))
    assert (data.train[0].identity, data.query[0].identity) == (0, 1)


def test_a_name_in_two_unicode_forms_is_one(table: Callable[..., Path]) -> None:
    one, two = (unicodedata.normalize(form, "andré") for form in ("NFC", "NFD"))
    data = from_csv(table(*rows(f"x {one} {two}", f"{one} {two} {one}")))
    assert data.query[0].identity == data.gallery[0].identity == 0
    assert data.train[0].camera == data.query[0].camera == data.gallery[0].camera == 0


def test_splits_and_columns_in_other_cases(table: Callable[..., Path]) -> None:
    lines = [row.replace("train", " Train").replace("query", "QUERY ") for row in rows()]
    data = from_csv(table(*lines, header="Path, IDENTITY ,Camera,Split"))
    assert [s[0].camera for s in (data.train, data.query, data.gallery)] == [1, 1, 2]


@pytest.mark.parametrize(
    "near",
    [
        *("cam", "CamID", "cam_id", "camid", "camera_id", "Cameras"),
        *("camra", "camear", "Kamera", "caméra", "camera2"),
    ],
)
def test_a_column_near_the_camera_is_told(near: str, table: Callable[..., Path]) -> None:
    path = table(*rows(), header=f"path,identity,{near},split")
    with pytest.raises(ValueError, match=f"no column camera, but {near}; rename it to camera if"):
        from_csv(path)


def test_beside_a_camera_other_columns_are_free(table: Callable[..., Path]) -> None:
    lines = [f"{row},9,x" for row in rows()]
    data = from_csv(table(*lines, header="path,identity,camera,split,cam_id,person_id"))
    assert data.gallery[0].camera == 2


@pytest.mark.parametrize("other", ["campus", "scene", "note", "time", "comment", "company"])
def test_other_columns_are_not_taken_for_the_camera(other: str, table: Callable[..., Path]) -> None:
    assert from_csv(table(*rows(), header=f"path,identity,{other},split")).query[0].camera is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,person_id,camera,split", "no column identity; .* rename person_id to identity if"),
        ("Image Path,PID,camera,subset", "no column path, identity, split; .* Image Path to path"),
        ("path,identity,camera,Camera,split", "the column camera twice, as 'camera' and as 'Cam"),
    ],
)
def test_columns_near_the_required_ones_are_told(
    header: str, message: str, table: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        from_csv(table(*rows(), header=header))


def test_a_comma_that_is_not_quoted_is_told(table: Callable[..., Path], draw: Draw) -> None:
    draw("one, two.jpg")
    with pytest.raises(
        ValueError, match=r'line 2 has 5 values for 4 columns; put a value that .*"d'
    ):
        from_csv(table("one, two.jpg,1,1,train", *rows()[1:]))
    assert from_csv(table(*(f"{row},," for row in rows()))).train  # what spreadsheets leave


@pytest.mark.skipif(os.sep == "\\", reason="backslashes are no part of a name there")
def test_paths_of_windows_are_found(table: Callable[..., Path], draw: Draw, tmp_path: Path) -> None:
    lines = [row.replace("/", "\\") for row in rows()]
    data = from_csv(table(*lines))
    assert data.train[0].path == tmp_path / "hall" / "a 1.jpg"
    assert data.gallery[0].path == tmp_path / "ç" / "c.jpg"
    literal = draw("hall\\a 1.jpg")  # a name that is there as it stands comes first
    assert from_csv(table(*lines)).train[0].path == literal


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_paths_in_the_other_unicode_form_are_found(
    written: Any, stored: Any, table: Callable[..., Path], draw: Draw
) -> None:
    name = "é/andré ü.jpg"
    file = draw(unicodedata.normalize(stored, name))
    lines = [f"{unicodedata.normalize(written, name)},1,1,train", *rows()[1:]]
    assert from_csv(table(*lines)).train[0].path.samefile(file)
    mixed = f"{unicodedata.normalize('NFC', 'é')}\\{unicodedata.normalize('NFD', 'andré ü.jpg')}"
    if os.sep == "/":
        assert from_csv(table(f"{mixed},1,1,train", *lines[1:])).train[0].path.samefile(file)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("hall/A 1.JPG", r"is not there; .*hall/a 1\.jpg is, so write it as that; paths are rel"),
        ("C:\\data\\a.png", "is a path on a Windows computer; write paths relative to the table"),
        ("C:/data/a.png", "is a path on a Windows computer"),
        ("hall", "is a folder; name its images one by one"),
        ("broken.png", "is a link to .*gone, where no file is"),
        ("no/where/a.png", "is not there; paths are relative to"),
        ("b.png/a.png", "is not there; paths are relative to"),
        ("x" * 300 + ".png", "is not there; paths are relative to"),
    ],
)
def test_a_path_that_is_not_there_is_told_why(
    written: str, message: str, table: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    path = table(f"{written},1,1,train", *rows()[1:])
    with pytest.raises(FileNotFoundError, match=f"people.csv line 2 names .*, which {message}"):
        from_csv(path)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_is_the_file_it_leads_to(
    link: Callable[..., None], table: Callable[..., Path], tmp_path: Path
) -> None:
    link(tmp_path / "link.png", tmp_path / "b.png")
    path = table(*rows(), "link.png,2,2,gallery")
    message = r"line 5 repeats .*link\.png \(one file with .*b\.png\) of line 3; keep one"
    with pytest.raises(ValueError, match=message):
        from_csv(path)
    assert len(from_csv(table(*rows(), "link.png,2,1,gallery")).gallery) == 2


def test_names_are_kept_and_other_columns_read(table: Callable[..., Path]) -> None:
    header = "path,identity,camera,split,sequence,clothes,modality,time"
    lines = [
        f"{row},{more}"
        for row, more in zip(
            rows("zoe 7 7", "yard hall yard"),
            (
                "s1,3,infrared,2.5",
                "s2,-1,,1970-01-01T00:00:09",
                "NA,,nan,1970-01-01T01:00:09+01:00",
            ),
            strict=True,
        )
    ]
    data = from_csv(table(*lines, header=header))
    assert (data.identity_names, data.camera_names) == ({0: "7", 1: "zoe"}, {0: "hall", 1: "yard"})
    assert data.train[0][1:] == (1, 1, 0, 3, "infrared", 2.5)
    assert data.query[0][1:] == (0, 0, 1, None, None, 9.0)
    assert data.gallery[0][1:] == (0, 1, None, None, None, 9.0)
    assert from_csv(table(*rows())).identity_names == {}


def test_a_time_that_cannot_be_read_is_told(table: Callable[..., Path]) -> None:
    lines = [f"{row},noon" for row in rows()]
    with pytest.raises(ValueError, match=r"people\.csv line 2 has the time noon, which is neither"):
        from_csv(table(*lines, header="path,identity,camera,split,time"))


def test_a_table_for_testing_alone(table: Callable[..., Path]) -> None:
    data = from_csv(table(*rows()[1:]))
    assert (len(data.train), len(data.query), len(data.gallery)) == (0, 1, 1)


@pytest.mark.parametrize("value", ["\N{MINUS SIGN}1", "-1e0", "-01", "－１"])
@pytest.mark.parametrize("known", ["1", "till"])
def test_minus_one_in_any_spelling_is_nobody_and_no_camera(
    value: str, known: str, table: Callable[..., Path]
) -> None:
    junk = f"ç/c.jpg,{value},9,gallery"
    data = from_csv(table(*rows(f"{known} 2 2")[:2], junk))
    assert data.gallery[0].identity == -1
    camera = f"ç/c.jpg,2,{value},gallery"
    data = from_csv(table(*rows("1 2 2", f"{known} 9 9")[:2], camera))
    assert data.gallery[0].camera is None


@pytest.mark.parametrize("other", ["１２", "1 2"])
def test_one_number_in_two_forms_is_not_two_people(other: str, table: Callable[..., Path]) -> None:
    lines = [*rows("1 12 12")[:2], f"ç/c.jpg,{other},2,gallery"]
    with pytest.raises(ValueError, match=f"writes one identity as 12 .* and as {other}"):
        from_csv(table(*lines))


@pytest.mark.parametrize("value", ["True", "false", "inf", "-Infinity"])
@pytest.mark.parametrize("column", ["identity", "camera"])
def test_booleans_and_infinity_are_refused(
    value: str, column: str, table: Callable[..., Path]
) -> None:
    person, camera = (value, "2") if column == "identity" else ("2", value)
    lines = [*rows()[:2], f"ç/c.jpg,{person},{camera},gallery"]
    with pytest.raises(ValueError, match=f"line 4 has the {column} {value}, which is neither"):
        from_csv(table(*lines))
