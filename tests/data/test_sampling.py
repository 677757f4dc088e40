import pickle
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from reidblocks.data import PKBatchSampler
from reidblocks.data.decks import inclusion

LABELS = [label for label in range(7) for _ in range(label + 1)]  # 1, 2, … 7 images: 28


@st.composite
def samplers(draw: st.DrawFn) -> tuple[list[int], dict[str, int]]:
    """Labels of two to nine identities with one to nine images each, and settings that fit."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=9))
    labels = [10 * identity for identity, size in enumerate(sizes) for _ in range(size)]
    settings = {
        "num_identities": draw(st.integers(1, len(sizes))),
        "num_images": draw(st.integers(1, 6)),
        "num_batches": draw(st.integers(1, 12)),
        "seed": draw(st.integers(0, 99)),
    }
    return draw(st.permutations(labels)), settings


@given(samplers())
def test_every_batch_holds_p_identities_with_k_images_each(drawn: Any) -> None:
    labels, settings = drawn
    batches = list(PKBatchSampler(labels, **settings))
    assert len(batches) == settings["num_batches"]
    for batch in batches:
        counts = Counter(labels[index] for index in batch)
        assert len(counts) == settings["num_identities"]
        assert set(counts.values()) == {settings["num_images"]}


@given(samplers())
def test_identities_are_drawn_equally_often(drawn: Any) -> None:
    labels, settings = drawn
    batches = PKBatchSampler(labels, **settings)
    draws = Counter(dict.fromkeys(labels, 0))
    draws.update(label for batch in batches for label in {labels[index] for index in batch})
    assert max(draws.values()) - min(draws.values()) <= 1


@given(samplers())
def test_no_image_comes_again_before_all_of_its_identity_came(drawn: Any) -> None:
    labels, settings = drawn
    seen = Counter(dict.fromkeys(range(len(labels)), 0))
    for batch in PKBatchSampler(labels, **settings):
        for index in batch:
            rivals = [seen[other] for other, label in enumerate(labels) if label == labels[index]]
            assert seen[index] == min(rivals)
            seen[index] += 1


@given(samplers())
def test_an_identity_with_enough_images_has_no_twins_in_a_batch(drawn: Any) -> None:
    labels, settings = drawn
    sizes = Counter(labels)
    for batch in PKBatchSampler(labels, **settings):
        for label, indices in Counter(labels[index] for index in set(batch)).items():
            assert indices == min(sizes[label], settings["num_images"])


@given(samplers(), st.integers(0, 5))
def test_ranks_share_the_batch_of_one_process(drawn: Any, epoch: int) -> None:
    labels, settings = drawn
    whole = PKBatchSampler(labels, **settings)
    whole.set_epoch(epoch)
    for world_size in range(1, settings["num_identities"] + 1):
        if settings["num_identities"] % world_size:
            continue
        ranks = [
            PKBatchSampler(labels, **settings, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        for sampler in (whole, *ranks):
            sampler.set_epoch(epoch)
        for batch, *shares in zip(whole, *ranks, strict=True):
            assert [index for share in shares for index in share] == batch
            people = [{labels[index] for index in share} for share in shares]
            assert sum(map(len, people)) == settings["num_identities"]  # no identity on two ranks


@given(samplers(), st.data())
def test_resuming_gives_the_rest_of_the_epoch_and_the_next_whole(
    drawn: Any, data: st.DataObject
) -> None:
    labels, settings = drawn
    whole = PKBatchSampler(labels, **settings)
    whole.set_epoch(3)
    batches = list(whole)
    used = data.draw(st.integers(0, len(batches)))
    first = PKBatchSampler(labels, **settings)
    first.set_epoch(3)
    walk = iter(first)
    for _ in range(used):
        next(walk)
    resumed = PKBatchSampler(labels, **settings)
    resumed.load_state_dict(first.state_dict())
    assert resumed.state_dict() == first.state_dict() == whole.state_dict(used=used)
    resumed.set_epoch(3)  # as a training loop does at the start of the epoch
    assert list(resumed) == batches[used:]
    resumed.set_epoch(3)
    assert list(resumed) == batches  # only the first pass after loading is shortened
    whole.set_epoch(4)
    assert list(resumed) == list(whole)


def test_resuming_on_another_number_of_ranks() -> None:
    whole = list(PKBatchSampler(LABELS, num_identities=4, num_images=2, num_batches=5))
    state = PKBatchSampler(LABELS, num_identities=4, num_images=2, num_batches=5).state_dict(used=3)
    shares = []
    for rank in range(2):
        resumed = PKBatchSampler(
            LABELS, num_identities=4, num_images=2, num_batches=5, rank=rank, world_size=2
        )
        resumed.load_state_dict(state)
        shares.append(list(resumed))
    assert [a + b for a, b in zip(*shares, strict=True)] == whole[3:]


def test_resuming_behind_workers_that_draw_ahead() -> None:
    def loader() -> tuple[PKBatchSampler, DataLoader[int]]:
        sampler = PKBatchSampler(LABELS, num_identities=2, num_images=2, num_batches=9)
        return sampler, DataLoader(range(28), batch_sampler=sampler, num_workers=2)  # type: ignore[arg-type]

    _, batches = loader()
    whole = [batch.tolist() for batch in batches]
    sampler, batches = loader()
    walk = iter(batches)
    for _ in range(2):
        next(walk)
    assert sampler.state_dict()["batch"] > 2
    state = sampler.state_dict(used=2)
    sampler, batches = loader()
    sampler.load_state_dict(state)
    assert [batch.tolist() for batch in batches] == whole[2:]


def test_a_new_epoch_after_a_broken_off_one_is_whole() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=2, num_images=2)
    sampler.load_state_dict(sampler.state_dict(used=5))
    sampler.set_epoch(1)
    assert len(list(sampler)) == len(sampler)
    assert sampler.state_dict()["batch"] == len(sampler)


def test_the_state_outlives_a_checkpoint_file(tmp_path: Any) -> None:
    sampler = PKBatchSampler(LABELS, num_identities=2)
    torch.save(sampler.state_dict(used=1), tmp_path / "state.pt")
    sampler.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert len(list(sampler)) == len(sampler) - 1


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epoch(seed: int, number: int) -> list[list[int]]:
        sampler = PKBatchSampler(LABELS, num_identities=4, num_images=3, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(0, 0) == epoch(0, 0)
    different = [epoch(0, 0), epoch(0, 1), epoch(1, 0), epoch(1, 1), epoch(10, 1), epoch(1, 11)]
    assert all(a != b for i, a in enumerate(different) for b in different[:i])


def test_it_neither_uses_nor_moves_the_global_random_states() -> None:
    first = list(PKBatchSampler(LABELS, num_identities=4))
    random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), torch.get_rng_state()
    assert list(PKBatchSampler(LABELS, num_identities=4)) == first
    assert random.getstate() == states[0]
    assert torch.get_rng_state().equal(states[1])


def test_all_images_come_in_time() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    seen: set[int] = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        seen.update(index for batch in sampler for index in batch)
    assert seen == set(range(28))


def test_every_order_of_identities_is_as_likely() -> None:
    # 3 of 4 a batch: the second batch takes the one left over and two of the next order
    pairs: Counter[frozenset[int]] = Counter()
    sampler = PKBatchSampler([0, 1, 2, 3], num_identities=3, num_images=1, num_batches=4)
    for epoch in range(1500):
        sampler.set_epoch(epoch)
        pairs.update(frozenset(batch) for batch in sampler)
    assert len(pairs) == 4
    assert all(abs(count - 1500) < 150 for count in pairs.values())  # 4.5 standard deviations


@pytest.mark.parametrize(
    ("images", "identities", "per_identity", "batches"),
    [(28, 7, 4, 1), (28, 7, 2, 2), (28, 5, 3, 2), (28, 4, 1, 7), (28, 7, 16, 1)],
)
def test_an_epoch_draws_about_as_many_images_as_there_are(
    images: int, identities: int, per_identity: int, batches: int
) -> None:
    sampler = PKBatchSampler(LABELS, num_identities=identities, num_images=per_identity)
    assert len(LABELS) == images
    assert len(sampler) == len(list(sampler)) == batches


@pytest.mark.parametrize(
    "labels",
    [
        *(torch.tensor(LABELS, dtype=t) for t in (torch.uint8, torch.int16, torch.int64)),
        torch.tensor(LABELS).to(torch.uint64),
        torch.tensor(LABELS).numpy(),
        torch.tensor(LABELS).to(torch.uint32).numpy(),
        torch.tensor(LABELS).double().numpy(),  # as pandas gives a column with a gap elsewhere
        list(torch.tensor(LABELS).int()),
        list(torch.tensor(LABELS).int().numpy()),
        [float(label) for label in LABELS],
    ],
)
def test_labels_are_of_any_integer_type(labels: Any) -> None:
    settings = {"num_identities": 3, "num_images": 2}
    assert list(PKBatchSampler(labels, **settings)) == list(PKBatchSampler(LABELS, **settings))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1.2, 1.7, 2.0, 2.0], ValueError, r"labels\[0\] as a whole number, got 1\.2"),
        (torch.tensor([2.0, float("nan")]), ValueError, r"labels\[1\] as a whole number, got nan"),
        (["anna", "anna", "ben"], TypeError, r"labels\[0\] as a whole number, got 'anna'; number"),
        ([1, 1, True], TypeError, r"labels\[2\] as a whole number, got True"),
        (torch.tensor([True, False]), TypeError, r"labels\[0\] as a whole number, got True"),
        ([1, None], TypeError, r"labels\[1\] as a whole number, got None"),
        (
            [1, 2**63],
            ValueError,
            r"labels\[1\] from -2\*\*63 to 2\*\*63 - 1, .*got 9223372036854775808",
        ),
        (torch.tensor([1, -1]).to(torch.uint64), ValueError, r"labels\[1\] from -2\*\*63"),
        (torch.tensor([[1, 2]]), TypeError, r"labels\[0\] as a whole number, got \[1, 2\]"),
        (torch.tensor(1), TypeError, r"labels as a sequence, one for each image"),
    ],
)
def test_other_labels_are_refused_by_name(labels: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"PKBatchSampler expects {message}"):
        PKBatchSampler(labels, num_identities=1, num_images=2)


def test_junk_is_never_drawn() -> None:
    labels = [-1, *LABELS, -1, -1]
    sampler = PKBatchSampler(labels, num_identities=7, num_images=2)
    seen = {index for _ in range(12) for batch in sampler for index in batch}
    assert seen == set(range(1, 29))
    assert len(sampler) == len(PKBatchSampler(LABELS, num_identities=7, num_images=2))
    with pytest.raises(ValueError, match="expects 8 identities or more, got 7"):
        PKBatchSampler(labels, num_identities=8)


def epochs(numbers: Iterable[int], **settings: int) -> list[list[list[int]]]:
    """What ``set_epoch`` gives for these."""
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2, **settings)
    result = []
    for number in numbers:
        sampler.set_epoch(number)
        result.append(list(sampler))
    return result


def test_each_pass_is_the_next_epoch() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    assert [list(sampler) for _ in range(4)] == epochs(range(4))


def test_a_pass_that_is_broken_off_was_one() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    assert [next(iter(sampler)) for _ in range(4)] == [epoch[0] for epoch in epochs(range(4))]


def test_passes_count_on_from_the_epoch_that_was_chosen() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    sampler.set_epoch(7)
    assert [list(sampler) for _ in range(3)] == epochs((7, 8, 9))
    sampler.set_epoch(2)
    sampler.set_epoch(2)
    assert list(sampler) == epochs([2])[0]
    assert epochs((5, 5)) == 2 * epochs([5])


def test_passes_count_on_from_a_state() -> None:
    first = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    for _ in range(3):
        list(first)
    resumed = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    resumed.load_state_dict(first.state_dict())  # at the end of epoch 2: nothing is left of it
    assert [list(resumed) for _ in range(2)] == [list(first) for _ in range(2)] == epochs((3, 4))
    resumed.load_state_dict(first.state_dict(used=1))
    assert [list(resumed), list(resumed)] == [epochs([4])[0][1:], epochs([5])[0]]


def test_processes_of_one_seed_stay_in_step() -> None:
    ranks = [
        PKBatchSampler(LABELS, num_identities=4, num_images=2, rank=rank, world_size=2)
        for rank in range(2)
    ]
    for whole in epochs(range(3)):
        assert [a + b for a, b in zip(*ranks, strict=True)] == whole


@pytest.mark.parametrize(
    "workers", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]
)
def test_a_plain_loop_over_a_loader_draws_every_epoch_once(workers: dict[str, Any]) -> None:
    sampler = PKBatchSampler(LABELS, num_identities=4, num_images=2)
    loader: DataLoader[Any] = DataLoader(range(28), batch_sampler=sampler, **workers)  # type: ignore[arg-type]
    assert [[batch.tolist() for batch in loader] for _ in range(3)] == epochs(range(3))


def test_it_can_be_sent_to_another_process() -> None:
    sampler = PKBatchSampler(LABELS, num_identities=3)
    assert list(pickle.loads(pickle.dumps(sampler))) == list(sampler)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_identities": 8}, "expects 8 identities or more, got 7; lower num_identities"),
        ({"num_identities": 0}, "expects num_identities above 0, got 0"),
        ({"num_images": 0}, "expects num_images above 0, got 0"),
        ({"num_batches": 0}, "expects num_batches above 0, got 0"),
        ({"world_size": 0}, "expects world_size above 0, got 0"),
        ({"rank": 1}, r"expects rank from 0 to 0, got 1 \(world_size is 1\)"),
        ({"rank": -1, "world_size": 2}, "expects rank from 0 to 1, got -1"),
        ({"world_size": 4}, "num_identities=6 is not divisible by world_size=4"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"PKBatchSampler .*{message}"):
        PKBatchSampler(LABELS, **{"num_identities": 6, **settings})


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"num_images": 3}, {"num_identities": 2}, {"num_batches": 9}]
)
def test_a_state_of_other_settings_is_refused(change: dict[str, int]) -> None:
    settings = {"num_identities": 4, "num_images": 2, "num_batches": 4, "seed": 0}
    state = PKBatchSampler(LABELS, **settings).state_dict()
    (name, value) = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"with {name}={settings[name]}, here it is {value}"):
        PKBatchSampler(LABELS, **{**settings, **change}).load_state_dict(state)


def test_a_state_of_other_data_is_refused() -> None:
    state = PKBatchSampler(LABELS, num_identities=4, num_batches=2).state_dict()
    with pytest.raises(ValueError, match="total_images=28, here it is 29"):
        PKBatchSampler([*LABELS, 0], num_identities=4, num_batches=2).load_state_dict(state)


@given(samplers(), st.data())
def test_images_are_balanced_over_cameras(drawn: Any, data: st.DataObject) -> None:
    labels, settings = drawn
    size = len(labels)
    cameras = data.draw(st.lists(st.integers(-1, 3), min_size=size, max_size=size))
    batches = list(PKBatchSampler(labels, **settings, cameras=cameras))
    assert len(batches) == settings["num_batches"]
    taken: Counter[tuple[int, int]] = Counter(zip(labels, cameras, strict=True))
    for batch in batches:
        assert len({labels[index] for index in batch}) == settings["num_identities"]
        shown = Counter((labels[index], cameras[index]) for index in batch)
        for label in {labels[index] for index in batch}:
            counts = [shown[label, camera] for which, camera in taken if which == label]
            assert sum(counts) == settings["num_images"]
            assert max(counts) - min(counts) <= 1
        for (label, camera), share in shown.items():  # none twice while there are enough
            own = {i for i in batch if (labels[i], cameras[i]) == (label, camera)}
            assert len(own) == min(share, taken[label, camera])


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.data())
def test_probabilities_are_in_proportion_to_weights(
    weights: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(weights)))
    found = inclusion(dict(enumerate(weights)), count)
    assert sum(found.values()) == pytest.approx(count)
    assert max(found.values()) <= 1 + 1e-9
    free = [(p, weights[card]) for card, p in found.items() if p < 1]
    if free:
        scale = free[0][0] / free[0][1]
        assert all(p == pytest.approx(scale * weight) for p, weight in free)
        assert all(scale * weights[card] >= 1 - 1e-9 for card, p in found.items() if p == 1)


@given(samplers(), st.data())
def test_weighted_batches_are_whole_and_hold_nobody_of_weight_0(
    drawn: Any, data: st.DataObject
) -> None:
    labels, settings = drawn
    people = sorted({*labels})
    never = data.draw(st.sets(st.sampled_from(people)))
    weights = {label: 0.0 if label in never else data.draw(st.floats(0.1, 9)) for label in people}
    if len(people) - len(never) < settings["num_identities"]:
        with pytest.raises(ValueError, match=r"expects .* identities or more|got none"):
            PKBatchSampler(labels, **settings, weights=weights)
        return
    for batch in PKBatchSampler(labels, **settings, weights=weights):
        counts = Counter(labels[index] for index in batch)
        assert set(counts.values()) == {settings["num_images"]}
        assert len(counts) == settings["num_identities"]
        assert not counts.keys() & never


def test_identities_are_drawn_as_often_as_their_weights_say() -> None:
    labels = [label for label in range(10) for _ in range(2)]
    weights = {label: 1.0 + label for label in range(10)}
    sampler = PKBatchSampler(
        labels, num_identities=3, num_images=2, num_batches=4000, weights=weights
    )
    draws = Counter(labels[index] for batch in sampler for index in batch)
    for label, weight in weights.items():
        expected = 4000 * 3 * weight / 55
        assert abs(draws[label] / 2 - expected) < 5 * expected**0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": [1, 2]}, "one camera for each image, got 2 for 28"),
        ({"cameras": ["a"] * 28}, r"expects cameras\[0\] as a whole number"),
        ({"weights": {0: 1.0}}, "a weight of 0 or more for each identity, got None for 1"),
        ({"weights": dict.fromkeys(range(7), -1.0)}, "got -1.0 for 0"),
        ({"weights": dict.fromkeys(range(7), float("nan"))}, "got nan for 0"),
        ({"weights": dict.fromkeys(range(7), float("inf"))}, "got inf for 0"),
    ],
)
def test_cameras_and_weights_that_do_not_fit(options: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        PKBatchSampler(LABELS, num_identities=2, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"cameras": [index % 3 for index in range(28)]},
        {"weights": {label: 1.0 + label for label in range(7)}},
    ],
)
def test_with_cameras_or_weights_resuming_and_ranks_hold(options: Any) -> None:
    settings = {"num_identities": 4, "num_images": 3, "num_batches": 5}
    whole = list(PKBatchSampler(LABELS, **settings, **options))
    assert whole != list(PKBatchSampler(LABELS, **settings))
    resumed = PKBatchSampler(LABELS, **settings, **options)
    state = PKBatchSampler(LABELS, **settings, **options).state_dict(used=2)
    resumed.load_state_dict(state)
    assert list(resumed) == whole[2:]
    ranks = [PKBatchSampler(LABELS, **settings, **options, rank=r, world_size=2) for r in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole
    plain = PKBatchSampler(LABELS, **settings)
    with pytest.raises(ValueError, match=f"taken with {next(iter(options))}="):
        plain.load_state_dict(state)
    older = plain.state_dict(used=2)
    del older["cameras"], older["weights"]
    plain.load_state_dict(older)
    with pytest.raises(ValueError, match=f"taken with {next(iter(options))}=0, here"):
        resumed.load_state_dict(older)


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_nothing_to_draw_is_told(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"images to draw, got none: .* has no training images"):
        PKBatchSampler(labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_identities", True), ("num_identities", "2"), ("num_images", 2.0), ("rank", 0.0)),
        *(("world_size", 1.0), ("seed", 0.0), ("num_batches", 1.5)),
    ],
)
def test_a_setting_that_is_no_whole_number_is_refused(name: str, value: Any) -> None:
    settings: dict[str, Any] = {"num_identities": 1, name: value}
    with pytest.raises(TypeError, match=f"{name} as a whole number, got {value!r}"):
        PKBatchSampler([1, 1, 2, 2], **settings)


def test_an_epoch_is_a_whole_number() -> None:
    sampler = PKBatchSampler([1, 1, 2, 2], num_identities=2)
    with pytest.raises(TypeError, match=r"epoch as a whole number, got 1\.0"):
        sampler.set_epoch(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"batch as a whole number, got 1\.0"):
        sampler.load_state_dict({**sampler.state_dict(), "batch": 1.0})  # type: ignore[dict-item]


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="got one without batch, epoch, num_batches"):
        PKBatchSampler([1, 1, 2, 2], num_identities=2).load_state_dict({})
