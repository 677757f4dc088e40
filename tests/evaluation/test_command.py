import contextlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reidblocks.__main__ import main as reidblocks
from reidblocks.evaluation import (
    PROTOCOLS,
    Features,
    KReciprocal,
    evaluate,
    evaluate_open_set,
)
from reidblocks.evaluation.saved import read_features


def main(arguments):
    return reidblocks(["evaluate", *arguments])


def arrays(seed=0):
    random = np.random.default_rng(seed)
    return {
        "query_features": random.normal(size=(6, 4)).astype(np.float32),
        "query_ids": np.arange(6) % 3,
        "query_cams": np.arange(6) % 2,
        "gallery_features": random.normal(size=(20, 4)).astype(np.float32),
        "gallery_ids": np.arange(20) % 4,
        "gallery_cams": np.arange(20) % 3,
    }


def save(folder, **changed):
    given = {k: v for k, v in (arrays() | changed).items() if v is not None}
    np.savez(folder / "features.npz", **given)
    return str(folder / "features.npz")


def sides(given):
    return (
        Features(
            *(torch.from_numpy(given[f"{side}_{name}"]) for name in ("features", "ids", "cams"))
        )
        for side in ("query", "gallery")
    )


@pytest.fixture
def refused(capsys):
    """Run the command, and hold it to exit code 2 and one sentence that says this."""

    def run(arguments, message):
        try:
            code = main(arguments)
        except SystemExit as stopped:  # of argparse
            code = stopped.code
        told = capsys.readouterr()
        assert code == 2
        assert re.search(message, told.err, re.DOTALL), told.err
        assert "Traceback" not in told.err
        return told

    return run


def test_the_command_prints_the_table_and_writes_the_figures(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "reidblocks", "evaluate", save(tmp_path), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = evaluate(*sides(arrays()))
    assert str(expected) in done.stdout
    found = json.loads(out.read_text())
    assert found["mAP"] == expected.mAP
    assert found["mINP"] == expected.mINP
    assert found["cmc"] == expected.cmc.tolist()
    assert found["num_valid_queries"] == expected.num_valid_queries == 6
    assert found["dropped"] == {}


def test_cameras_may_be_absent(tmp_path, capsys):
    out = tmp_path / "out.json"
    path = save(tmp_path, query_cams=None, gallery_cams=None)
    main([path, "--json", str(out)])
    expected = evaluate(*(Features(s.values, s.ids) for s in sides(arrays())))
    assert json.loads(out.read_text())["mAP"] == expected.mAP
    assert "mAP" in capsys.readouterr().out


def test_options_reach_the_evaluation(tmp_path):
    out = tmp_path / "out.json"
    options = ["--distance", "euclidean", "--max-rank", "3", "--protocol", "market1501"]
    main([save(tmp_path), "--json", str(out), *options])
    found = json.loads(out.read_text())
    assert len(found["cmc"]) == 3
    assert found["dropped"] == {"junk": 2}
    assert found["num_queries"] == 6


def test_reranking_can_be_asked_for(tmp_path):
    out = tmp_path / "out.json"
    main([save(tmp_path), "--json", str(out), "--rerank"])
    expected = evaluate(*sides(arrays()), reranking=KReciprocal())
    assert json.loads(out.read_text())["mAP"] == expected.mAP


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": None, "query_features": None}, "lacks query_features, query_ids; it has g"),
        ({"gallery_ids": np.arange(3)}, r"the command expects gallery_ids \(20,\)"),
        ({"gallery_cams": None}, "has query_cams but no gallery_cams; give both or neither"),
        ({"query_paths": np.array(["a"] * 6)}, "has query_paths but no gallery_paths; give both"),
        (
            {"query_paths": np.array(["a"]), "gallery_paths": np.array(["a"] * 20)},
            r"expected query_paths \(6,\), one for each row of query_features, got \(1,\)",
        ),
        ({"query_paths": np.arange(6)}, "query_paths: expected an array of strings, got int64"),
        ({"query_ids": np.arange(6) / 2}, r"query_ids as whole numbers.*query_ids.astype\(int\)"),
        ({"query_cams": np.ones(6, bool)}, "query_cams as whole numbers, got an array of bool"),
        (
            {"query_features": np.ones((6, 4), int)},
            "query_features as floating-point numbers .*got int64 .*as float32",
        ),
        ({"query_ids": np.arange(6) + 100}, "no gallery image has its identity"),
        ({"query_features": np.full((6, 4), np.nan)}, "NaN or infinity"),
        ({"query_ids": np.array(["a"] * 6)}, "query_ids and gallery_ids both as numbers or both"),
        (
            {"query_ids": np.array(["7"] * 6), "gallery_ids": np.array(["7"] * 19 + ["-1"])},
            r"query_ids and gallery_ids are whole numbers written as strings;.*by \.astype\(int\)",
        ),
        (
            {"query_cams": np.array(["hall"] * 6), "gallery_cams": np.array(["Hall "] * 20)},
            "query_cams and gallery_cams write one name as Hall and as hall",
        ),
        ({"query_ids": np.array([b"a"] * 6)}, "query_ids: expected an array of numbers, or of na"),
        ({"query_times": np.array(["a"] * 6)}, "query_times: expected an array of numbers, got <U"),
        ({"query_ids": np.array([{}] * 6)}, r"cannot be read \(Object arrays .*; write it again"),
        (
            {"query_features": np.ones(6)},
            r"query_features as floating-point numbers \(N, D\), got float64 \(6,\)",
        ),
        ({"query_features": np.ones((6, 5))}, "one size, got 5 and 4"),
        (
            {"query_features": np.zeros((6, 4))},
            "no zero vector.*got 6 in query_features.*or use --distance euclidean",
        ),
    ],
)
def test_bad_files_end_with_one_sentence(tmp_path, refused, change, message):
    refused([save(tmp_path, **change)], message)


def test_people_and_cameras_may_have_names(tmp_path, capsys):
    people, places = np.array(["anna", "ben", "zoe", "-1"]), np.array(["hall", "yard", ""])
    given = arrays()
    given["gallery_ids"][given["gallery_ids"] == 2] = 3  # nobody finds zoe
    given["gallery_cams"][given["gallery_ids"] == 1] = 0  # the hall alone sees ben
    given["query_cams"][:] = [0, 0, 1, 0, 0, 1]
    tables = {"ids": people, "cams": places}
    named = {n: tables[n.split("_")[1]][a] if a.ndim == 1 else a for n, a in given.items()}
    main([save(tmp_path, **named)])
    told = capsys.readouterr().out
    assert "its own camera: query 1 (identity ben, camera hall), query 4 (identity ben, camera" in (
        told
    )
    assert "no gallery image has its identity: query 2 (identity zoe), query 5" in told
    as_numbers = {
        name: np.where(a == len(tables[name.split("_")[1]]) - 1, -1, a) if a.ndim == 1 else a
        for name, a in given.items()
    }
    main([save(tmp_path, **as_numbers)])
    assert capsys.readouterr().out.splitlines()[:2] == told.splitlines()[:2]


def test_a_missing_or_foreign_file_ends_with_one_sentence(tmp_path, refused):
    refused([str(tmp_path / "none.npz")], "No such file")
    for content in (b"", b"not a zip", b"PK\x03\x04 broken"):
        (tmp_path / "text.npz").write_bytes(content)
        refused([str(tmp_path / "text.npz")], r"no \.npz file")
    np.save(tmp_path / "one.npy", np.arange(3))
    refused([str(tmp_path / "one.npy")], r"no \.npz file")


def test_help_is_written_in_any_encoding(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    capsys.readouterr().out.encode("ascii")


def test_a_damaged_array_ends_with_one_sentence(tmp_path, refused):
    path = save(tmp_path)
    content = bytearray((tmp_path / "features.npz").read_bytes())
    content[200] ^= 255
    (tmp_path / "features.npz").write_bytes(content)
    refused([path], r"query_features: expected.*\(Bad CRC")


@pytest.mark.parametrize(
    ("start", "offset", "value", "message"),
    [
        (b"PK\3\4", 0, b"X", "is no .npz file, or a damaged one; write it again with numpy.savez"),
        (b"PK\3\4", 2, b"X", "is no .npz file, or a damaged one; write it again with numpy.savez"),
        (b"PK\1\2", 0, b"X", "is damaged.*Bad magic number for central directory; write it again"),
        (b"PK\1\2", 6, b"\xff", "is damaged.*zip file version 25.5; write it again"),
        (b"PK\1\2", 8, b"\1", r"query_features: expected.*is encrypted.*\); write it again"),
        (b"PK\1\2", 8, b"\x20", r"query_features: expected.*patched data.*\); write it again"),
        (b"PK\1\2", 10, b"\xff", r"query_features: expected.*compression.*\); write it again"),
    ],
)
def test_a_damaged_archive_ends_with_one_sentence(tmp_path, refused, start, offset, value, message):
    path = save(tmp_path)
    content = (tmp_path / "features.npz").read_bytes()
    place = content.index(start) + offset
    content = content[:place] + value + content[place + 1 :]
    (tmp_path / "features.npz").write_bytes(content)
    refused([path], message)


def test_any_flipped_byte_of_the_directory_is_read_or_refused(tmp_path):
    path = Path(save(tmp_path))
    content = path.read_bytes()
    for place in range(content.index(b"PK\1\2"), len(content)):
        broken = bytearray(content)
        broken[place] ^= 255
        path.write_bytes(broken)
        with contextlib.suppress(ValueError):
            read_features(path)


def test_what_is_not_read_is_told(tmp_path, capsys):
    path = save(tmp_path, query_cams=None, gallery_cams=None, query_camids=np.zeros(6, int))
    main([path])
    told = capsys.readouterr().err
    assert "also holds query_camids: not read" in told
    assert "holds no cameras: same-camera images count" in told


def test_another_byte_order_is_read(tmp_path, capsys):
    main([save(tmp_path)])
    expected = capsys.readouterr().out
    given = arrays()
    swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in given.items()}
    main([save(tmp_path, **swapped)])
    assert capsys.readouterr().out == expected


def test_the_table_is_printed_even_where_the_json_cannot_be_written(tmp_path, refused):
    out = str(tmp_path / "nowhere" / "out.json")
    told = refused([save(tmp_path), "--json", out], "there is no folder .*nowhere. Create it")
    assert "mAP" in told.out


def test_the_features_are_not_overwritten(tmp_path, refused):
    path = save(tmp_path)
    before = Path(path).read_bytes()
    refused([path, "--json", path], "--json .* is the file of features")
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("given", ["0", "-3", "10.0", "many"])
def test_a_rank_is_a_whole_number(tmp_path, refused, given):
    message = f"argument --max-rank: expected a whole number from 1 on, got '{given}'"
    refused([save(tmp_path), f"--max-rank={given}"], message)


def test_a_fault_of_ours_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise TypeError("ours")

    monkeypatch.setattr("reidblocks.evaluation.command.evaluate", broken)
    with pytest.raises(TypeError, match="ours"):
        main([save(tmp_path)])


def test_the_report_speaks_of_flags(tmp_path, capsys):
    given = arrays()
    own_camera = given["gallery_cams"].copy()
    own_camera[given["gallery_ids"] == 0] = 0
    ids, cams = given["query_ids"], np.where(given["query_ids"] == 0, 0, 1)
    main([save(tmp_path, query_ids=ids, query_cams=cams, gallery_cams=own_camera)])
    told = capsys.readouterr().out
    assert "or use --protocol no-cameras" in told
    assert "NO_CAMERAS" not in told


def test_queries_in_the_gallery_are_told_and_not_counted(tmp_path, capsys):
    given = arrays()
    changes = {
        "gallery_features": np.concatenate([given["query_features"], given["gallery_features"]]),
        "gallery_ids": np.concatenate([given["query_ids"], given["gallery_ids"]]),
        "query_cams": None,
        "gallery_cams": None,
        "query_paths": np.array([f"{i}.jpg" for i in range(6)]),
        "gallery_paths": np.array([f"{i}.jpg" for i in range(26)]),
    }
    out = tmp_path / "out.json"
    main([save(tmp_path, **changes), "--json", str(out)])
    told = capsys.readouterr()
    assert "6 of 6 queries are in the gallery themselves" in told.out
    assert "not read" not in told.err
    found = json.loads(out.read_text())
    assert found["num_self_matches"] == 6
    first, second = (Features(s.values, s.ids) for s in sides(given))
    whole = Features(torch.cat([first.values, second.values]), torch.cat([first.ids, second.ids]))
    order = [evaluate(first[[i]], whole[[j for j in range(26) if j != i]]).mAP for i in range(6)]
    assert found["mAP"] == pytest.approx(sum(order) / 6)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_of_the_library_has_its_name_here(tmp_path, name):
    given = arrays()
    labels = {
        "sequences": lambda n: np.arange(n) // 4 % 2,
        "clothes": lambda n: np.arange(n) // 2 % 2,
        "times": lambda n: np.where(np.arange(n) == 3, np.nan, np.arange(n) / 2),
    }
    sizes = {"query": 6, "gallery": 20}
    more = {
        f"{side}_{field}": make(n) for side, n in sizes.items() for field, make in labels.items()
    }
    out = tmp_path / "out.json"
    main([save(tmp_path, **more), "--protocol", name, "--json", str(out)])
    expected = evaluate(
        *(
            replace(
                side,
                sequences=more[f"{key}_sequences"],
                clothes=more[f"{key}_clothes"],
                times=more[f"{key}_times"],
            )
            for key, side in zip(sizes, sides(given), strict=True)
        ),
        protocol=PROTOCOLS[name],
    )
    assert json.loads(out.read_text())["mAP"] == expected.mAP


def test_the_open_set_is_printed_and_written(tmp_path, capsys):
    given = arrays()
    given["query_ids"][:2] = 99
    out = tmp_path / "out.json"
    main([save(tmp_path, query_ids=given["query_ids"]), "--open-set", "--json", str(out)])
    expected = evaluate_open_set(*sides(given))
    assert str(expected) in capsys.readouterr().out
    found = json.loads(out.read_text())["open_set"]
    assert (found["num_known"], found["num_unknown"]) == (4, 2)
    assert found["dir"]["FAR 0.1, rank-5"] == expected.dir_at(0.1, 5)


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        ({}, ["--protocol", "own-sequence"], "sequences of query.*write query_ and gallery_ arr"),
        ({}, ["--open-set"], "queries of people who are not in the gallery, got none among 6"),
        ({}, ["--open-set", "--protocol", "cuhk03-single-shot"], "one; use another --protocol"),
        ({"query_times": np.arange(6)}, [], "has query_times but no gallery_times; give both"),
        (
            {"query_clothes": np.ones(6) / 2, "gallery_clothes": np.ones(20)},
            [],
            r"query_clothes as whole numbers.*query_clothes.astype\(int\)",
        ),
        (
            {"query_times": np.arange(6) + 2**60, "gallery_times": np.arange(20)},
            [],
            r"query_times below 2\*\*53 in size",
        ),
    ],
)
def test_mistakes_of_protocols_end_with_one_sentence(tmp_path, refused, change, flags, message):
    refused([save(tmp_path, **change), *flags], message)
