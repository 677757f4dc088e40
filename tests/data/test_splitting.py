from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.data import ReIDDataset, Sample, split_people
from reidblocks.data.doctor import unmatched_queries

CAMERAS = st.lists(st.one_of(st.none(), st.integers(1, 3)), min_size=1, max_size=5)


def people(*cameras: list[int | None]) -> list[Sample]:
    return [
        Sample(Path(f"{identity}_{number}.jpg"), identity, camera)
        for identity, taken in enumerate(cameras)
        for number, camera in enumerate(taken)
    ]


@given(st.lists(CAMERAS, min_size=1, max_size=12), st.floats(0.05, 1), st.integers(0, 9))
def test_every_image_is_kept_and_every_query_can_be_answered(
    cameras: list[list[int | None]], test: float, seed: int
) -> None:
    samples = people(*cameras)
    number = round(test * len(cameras))
    able = [c for c in cameras if len({*c}) > 1 or (c[0] is None and len(c) > 1)]
    if not 0 < number <= len(able) or (number == len(cameras) and test < 1):
        with pytest.raises(ValueError, match="cannot test on"):
            split_people(samples, test=test, seed=seed)
        return
    data = split_people(samples, test=test, seed=seed)
    assert {*data.train, *data.query, *data.gallery} == {*samples}
    tested = {sample.identity for sample in data.query}
    assert len(tested) == number
    assert tested == {sample.identity for sample in data.gallery}
    assert unmatched_queries(data) == []
    views = Counter((sample.identity, sample.camera) for sample in data.query)
    assert set(views.values()) == {1}
    both = {*data.query} & {*data.gallery}
    seen = Counter((sample.identity, sample.camera) for sample in samples)
    assert all(seen[sample.identity, sample.camera] == 1 for sample in both)
    assert split_people(samples[::-1], test=test, seed=seed) == data


def test_people_who_cannot_be_found_again_are_trained_on() -> None:
    data = split_people(people([1, 1, 1], [1], [1, 2], [None], [None, None]), test=0.4)
    assert {sample.identity for sample in data.query} == {2, 4}
    with pytest.raises(ValueError, match=r"cannot test on 0\.6 of 5 people, 2 of whom two cameras"):
        split_people(people([1, 1, 1], [1], [1, 2], [None], [None, None]), test=0.6)


def test_seeds_draw_other_people_and_names_are_kept() -> None:
    whole = ReIDDataset("hall", tuple(people(*[[1, 2]] * 20)), (), (), {3: "anna"}, {1: "door"})
    splits = [split_people(whole, seed=seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert splits[0].name == "hall"
    assert (splits[0].identity_names, splits[0].camera_names) == ({3: "anna"}, {1: "door"})
    assert len(split_people(splits[0], test=0.5).query) == 20  # what was split is put together


def test_a_test_set_alone() -> None:
    data = split_people(people([1, 2], [1, 2]), test=1)
    assert (data.train, len(data.query)) == ((), 4)


def test_the_first_image_of_a_camera_is_the_query() -> None:
    samples = [s._replace(time=9 - n) for n, s in enumerate(people([1, 1, 2, 2]))]
    data = split_people(samples, test=1)
    assert [sample.path.name for sample in data.query] == ["0_1.jpg", "0_3.jpg"]


def test_by_time_the_last_to_come_are_tested_on() -> None:
    samples = [s._replace(time=float(10 - s.identity)) for s in people(*[[1, 2]] * 10)]
    data = split_people(samples, test=0.3, by_time=True)
    assert {sample.identity for sample in data.query} == {0, 1, 2}
    with pytest.raises(ValueError, match="by_time expects the time of every image, got none of 0"):
        split_people([samples[0]._replace(time=None), *samples[1:]], by_time=True)


def test_in_an_open_set_some_queries_have_no_answer() -> None:
    samples = people(*[[1, 1, 2]] * 20)
    data = split_people(samples, test=0.5, open_set=0.3)
    known = {sample.identity for sample in data.gallery}
    asked = {sample.identity for sample in data.query}
    assert (len(asked), len(known)) == (10, 7)
    strangers = [sample for sample in data.query if sample.identity not in known]
    assert len(strangers) == 9
    closed = split_people(samples, test=0.5)
    assert closed.train == data.train


@pytest.mark.parametrize("options", [{"test": 0}, {"test": 1.5}, {"open_set": 1}, {"open_set": -1}])
def test_fractions_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="test above 0 and up to 1 and open_set from 0 to below 1"):
        split_people(people([1, 2]), **options)  # type: ignore[arg-type]


def test_nobody_left_to_train_on() -> None:
    with pytest.raises(ValueError, match=r"cannot test on 0\.9 of 2 people"):
        split_people(people([1, 2], [1, 2]), test=0.9)
    with pytest.raises(ValueError, match=r"cannot test on 0\.3 of 1 people"):
        split_people(people([1, 2]))
