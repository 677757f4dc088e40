"""Every protocol equals a naive loop over single pairs, in float64, in each function it is for."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reidblocks.evaluation import (
    CLOTHES_CHANGING,
    CUHK03_SINGLE_SHOT,
    LATER_IN_SEQUENCE,
    OWN_SEQUENCE,
    PROTOCOLS,
    SAME_CLOTHES,
    Features,
    KReciprocal,
    Protocol,
    Reason,
    evaluate,
    evaluate_open_set,
    rerank,
    top_matches,
    verify,
)

RANKED = {name: each for name, each in PROTOCOLS.items() if not each.single_shot}
RANKED["all at once"] = Protocol(
    exclude_other_sequences=True, exclude_earlier=True, exclude_same_clothes=True
)
RANKED["apart"] = Protocol(exclude_same_sequence=True, exclude_other_clothes=True)


def known_alike(x, y):
    return x == y and x != -1


def of_gallery(protocol, q, g):
    """Whether an image is of the gallery that a query is compared with, whomever it shows."""
    if q["path"] == g["path"]:
        return False
    if protocol.exclude_same_sequence and known_alike(q["sequence"], g["sequence"]):
        return False
    if protocol.exclude_other_sequences and not known_alike(q["sequence"], g["sequence"]):
        return False
    return not protocol.exclude_earlier or g["time"] > q["time"]


def excluded_for_identity(protocol, q, g):
    """The rules by which an image of the query's identity is excluded."""
    if q["id"] != g["id"]:
        return []
    rules = []
    if protocol.exclude_same_camera and known_alike(q["camera"], g["camera"]):
        rules.append(Reason.OWN_CAMERA_ONLY)
    alike = known_alike(q["clothes"], g["clothes"])
    if protocol.exclude_same_clothes and alike:
        rules.append(Reason.OWN_CLOTHES_ONLY)
    if protocol.exclude_other_clothes and not alike:
        rules.append(Reason.OTHER_CLOTHES_ONLY)
    return rules


def counts(protocol, q, g):
    junk = g["id"] in protocol.junk_ids
    if q["id"] == g["id"] and q["id"] in protocol.distractor_ids:  # nobody's, and not to be found
        return False
    return not junk and of_gallery(protocol, q, g) and not excluded_for_identity(protocol, q, g)


def naive_reason(protocol, q, gallery):
    """Why the query is dropped; None where it is not."""
    if q["id"] in (*protocol.junk_ids, *protocol.distractor_ids):
        return Reason.JUNK
    mates = [g for g in gallery if g["id"] == q["id"]]
    steps = [
        (Reason.NO_IDENTITY, Protocol(exclude_same_camera=False), False),
        (Reason.ITSELF_ONLY, Protocol(), True),
        (Reason.OWN_SEQUENCE_ONLY, Protocol(exclude_same_sequence=True), True),
        (Reason.OTHER_SEQUENCES_ONLY, Protocol(exclude_other_sequences=True), True),
        (Reason.NOT_LATER, Protocol(exclude_earlier=True), True),
    ]
    asked = {
        Reason.OWN_SEQUENCE_ONLY: protocol.exclude_same_sequence,
        Reason.OTHER_SEQUENCES_ONLY: protocol.exclude_other_sequences,
        Reason.NOT_LATER: protocol.exclude_earlier,
    }
    for reason, rule, takes in steps:
        if takes and asked.get(reason, True):
            mates = [g for g in mates if of_gallery(rule, q, g)]
        if not mates:
            return reason
    rules = [excluded_for_identity(protocol, q, g) for g in mates]
    if not all(rules):
        return None
    order = (Reason.OWN_CAMERA_ONLY, Reason.OWN_CLOTHES_ONLY, Reason.OTHER_CLOTHES_ONLY)
    alone = [reason for reason in order if all(reason in each for each in rules)]
    return alone[0] if alone else Reason.SEVERAL_RULES


def rows_of(side):
    columns = zip(
        side.values.tolist(),
        side.ids.tolist(),
        side.cameras.tolist(),
        side.sequences.tolist(),
        side.clothes.tolist(),
        side.times.tolist(),
        side.paths,
        strict=True,
    )
    names = ("values", "id", "camera", "sequence", "clothes", "time", "path")
    return [dict(zip(names, row, strict=True)) for row in columns]


def distance_of(q, g):
    return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(q["values"], g["values"], strict=True)))


def naive_ranking(protocol, q, gallery):
    """(distance, index, correct) of the images that count, nearest first, in gallery order."""
    left = [j for j, g in enumerate(gallery) if counts(protocol, q, g)]
    far = {j: distance_of(q, gallery[j]) for j in left}
    return [(far[j], j, gallery[j]["id"] == q["id"]) for j in sorted(left, key=far.__getitem__)]


@st.composite
def problems(draw):
    """Both sides with ties, duplicates, images of both sides, missing labels, unknown people."""
    num_query, num_gallery = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    total = num_query + num_gallery
    values = torch.randint(-2, 3, (total, draw(st.integers(1, 3))), generator=generator).float()

    def labels(number):
        return torch.randint(-1, number, (total,), generator=generator)

    times = torch.randint(0, 4, (total,), generator=generator).double()
    times[torch.rand(total, generator=generator) < 0.1] = math.nan
    names = torch.randint(0, 3 * total, (total,), generator=generator).tolist()
    every = Features(
        values,
        labels(draw(st.integers(1, 5))),
        labels(3),
        labels(draw(st.integers(1, 4))),
        [f"{name}.jpg" for name in names],
        clothes=labels(2),
        times=times,
    )
    return every[:num_query], every[num_query:]


@pytest.mark.parametrize("name", RANKED)
@given(problem=problems())
def test_evaluation_equals_a_naive_loop(name, problem):
    protocol, (query, gallery) = RANKED[name], problem
    rows, images = rows_of(query), rows_of(gallery)
    reasons = [naive_reason(protocol, q, images) for q in rows]
    rankings = [naive_ranking(protocol, q, images) for q in rows]
    settings = {"protocol": protocol, "distance": "euclidean", "max_rank": 7}
    if all(reasons):
        with pytest.raises(ValueError, match="queries dropped"):
            evaluate(query, gallery, **settings)
        return
    found = evaluate(query, gallery, **settings)
    for i, (reason, ranking) in enumerate(zip(reasons, rankings, strict=True)):
        ranks = [rank for rank, (_, _, correct) in enumerate(ranking, 1) if correct]
        if reason:
            assert math.isnan(found.average_precision[i])
            continue
        precision = math.fsum(k / rank for k, rank in enumerate(ranks, 1)) / len(ranks)
        assert float(found.average_precision[i]) == pytest.approx(precision, abs=1e-12)
        assert float(found.first_match_rank[i]) == ranks[0]
        assert float(found.inverse_negative_penalty[i]) == pytest.approx(len(ranks) / ranks[-1])
    told = {part.reason: part.count for part in found.report.dropped}
    assert told == {reason: reasons.count(reason) for reason in {*reasons} - {None}}


@pytest.mark.parametrize("name", RANKED)
@given(problem=problems())
def test_ranked_lists_equal_a_naive_loop(name, problem):
    protocol, (query, gallery) = RANKED[name], problem
    images = rows_of(gallery)
    expected = [naive_ranking(protocol, q, images) for q in rows_of(query)]
    if not any(expected):
        with pytest.raises(ValueError, match="top_matches has nothing to list"):
            top_matches(query, gallery, 5, protocol=protocol, distance="euclidean")
        return
    found = top_matches(query, gallery, 5, protocol=protocol, distance="euclidean")
    assert found.num_candidates == [len(ranking) for ranking in expected]
    for matches, ranking in zip(found, expected, strict=True):
        assert [match.index for match in matches] == [j for _, j, _ in ranking[:5]]
        assert [match.correct for match in matches] == [right for _, _, right in ranking[:5]]


@pytest.mark.parametrize("name", RANKED)
@given(problem=problems())
def test_pairs_equal_a_naive_loop(name, problem):
    protocol, (query, gallery) = RANKED[name], problem
    ignored = (*protocol.junk_ids, *protocol.distractor_ids)
    pairs = [
        (distance_of(q, g), q["id"] == g["id"])
        for q in rows_of(query)
        for g in rows_of(gallery)
        if q["id"] not in ignored and counts(protocol, q, g)
    ]
    genuine = sorted(away for away, same in pairs if same)
    impostors = [away for away, same in pairs if not same]
    if not genuine or not impostors:
        with pytest.raises(ValueError, match="verify has no"):
            verify(query, gallery, protocol=protocol, distance="euclidean")
        return
    found = verify(query, gallery, protocol=protocol, distance="euclidean")
    assert found.positive_distances.tolist() == pytest.approx(genuine, rel=1e-6)
    assert found.num_negatives == len(impostors)
    within = [sum(away <= one for away in impostors) for one in genuine]
    assert found.negatives_within.tolist() == within


@pytest.mark.parametrize("name", RANKED)
@given(
    problem=problems(),
    rate=st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 1.0]),
    rank=st.integers(1, 3),
)
def test_open_set_rates_equal_a_naive_loop(name, problem, rate, rank):
    protocol, (query, gallery) = RANKED[name], problem
    rows, images = rows_of(query), rows_of(gallery)
    rankings = [naive_ranking(protocol, q, images) for q in rows]
    reasons = [naive_reason(protocol, q, images) for q in rows]
    absent = (
        Reason.NO_IDENTITY,
        Reason.ITSELF_ONLY,
        Reason.OWN_SEQUENCE_ONLY,
        Reason.OTHER_SEQUENCES_ONLY,
        Reason.NOT_LATER,
    )
    known = [i for i, reason in enumerate(reasons) if reason is None]
    unknown = [i for i, reason in enumerate(reasons) if reason in absent]
    settings = {"protocol": protocol, "distance": "euclidean"}
    if not known or not unknown:
        with pytest.raises(ValueError, match=r"evaluate_open_set (has no|expects) quer"):
            evaluate_open_set(query, gallery, **settings)
        return
    found = evaluate_open_set(query, gallery, **settings)
    assert found.known.tolist() == known
    assert found.unknown.tolist() == unknown
    assert found.dropped.num_dropped == len(rows) - len(known) - len(unknown)
    first = {  # rank and distance of the first correct match
        i: next((r, d) for r, (d, _, correct) in enumerate(rankings[i], 1) if correct)
        for i in known
    }
    nearest = [rankings[i][0][0] if rankings[i] else math.inf for i in unknown]
    best = 0.0  # over every threshold that keeps the rate
    for threshold in (-1.0, math.inf, *(d for _, d in first.values()), *nearest):
        if sum(away <= threshold for away in nearest) <= rate * len(nearest) + 1e-9:
            hits = sum(r <= rank and d <= threshold for r, d in first.values())
            best = max(best, hits / len(first))
    assert found.dir_at(rate, rank) == pytest.approx(best)
    alarms = sum(away <= found.threshold_at(rate) for away in nearest)
    assert alarms <= rate * len(nearest) + 1e-9


def test_single_shot_draws_from_the_own_sequence_alone():
    query = Features(torch.tensor([[0.0]]), [7], sequences=[1])
    gallery = Features(
        torch.tensor([[1.0], [2.0], [3.0], [4.0]]), [8, 8, 7, 9], sequences=[1, 2, 1, 2]
    )
    protocol = replace(CUHK03_SINGLE_SHOT, exclude_other_sequences=True)
    found = evaluate(query, gallery, protocol=protocol, distance="euclidean")
    assert found.first_match_rank.tolist() == [2]  # behind the 8 of its sequence
    everywhere = evaluate(query, gallery, protocol=CUHK03_SINGLE_SHOT, distance="euclidean")
    assert everywhere.first_match_rank.tolist() == [2]
    far = replace(gallery, sequences=torch.tensor([2, 2, 1, 2]))
    found = evaluate(query, far, protocol=protocol, distance="euclidean")
    assert found.first_match_rank.tolist() == [1]


def test_reranked_distances_are_ranked_within_the_own_sequence():
    generator = torch.Generator().manual_seed(0)
    every = Features(
        torch.randn(40, 6, generator=generator),
        torch.arange(40) % 5,
        sequences=torch.arange(40) // 10,
        paths=[str(n) for n in range(40)],
    )
    query, gallery, how = every[::4], every, KReciprocal(6, 2)
    away = rerank(query, gallery, how)
    found = evaluate(query, gallery, protocol=OWN_SEQUENCE, reranking=how)
    for i, row in enumerate(range(0, 40, 4)):
        inside = [j for j in range(40) if j // 10 == row // 10 and j != row]
        order = sorted(inside, key=lambda j: float(away[i, j]))
        ranks = [rank for rank, j in enumerate(order, 1) if j % 5 == row % 5]
        assert float(found.first_match_rank[i]) == ranks[0]


def test_many_blocks_give_what_one_gives(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query, gallery = (
        Features(
            torch.randn(n, 4, generator=generator),
            torch.arange(n) % 7,
            sequences=torch.arange(n) % 5,
            times=torch.arange(n),
        )
        for n in (30, 200)
    )
    settings = {"protocol": replace(LATER_IN_SEQUENCE, exclude_other_sequences=False)}
    whole = evaluate(query, gallery, **settings), evaluate_open_set(
        query[:20], gallery[gallery.ids != 3], **settings
    )  # fmt: skip
    for name in ("_BLOCK_BYTES", "_LARGE_BLOCK_BYTES"):
        monkeypatch.setattr(f"reidblocks.evaluation.blocks.{name}", 2000)
    parts = evaluate(query, gallery, **settings), evaluate_open_set(
        query[:20], gallery[gallery.ids != 3], **settings
    )  # fmt: skip
    assert whole == parts


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (OWN_SEQUENCE, "sequences"),
        (LATER_IN_SEQUENCE, "times"),
        (CLOTHES_CHANGING, "clothes"),
        (SAME_CLOTHES, "clothes"),
    ],
)
def test_what_a_protocol_needs_is_asked_for_by_name(protocol, name):
    labels = {"sequences": [1, 1], "clothes": [1, 1], "times": [0, 1]}
    side = Features(torch.eye(2), [1, 2], **labels)
    without = replace(side, **{name: None})
    for function in (evaluate, top_matches, verify, evaluate_open_set):
        for sides in ((side, without), (without, side), (without, without)):
            message = f"{function.__name__} expects {name} of query and gallery, since the protocol"
            with pytest.raises(ValueError, match=message):
                function(*sides, protocol=protocol)


def test_opposite_rules_are_refused():
    with pytest.raises(ValueError, match="exclude_same_sequence or exclude_other_sequences, got b"):
        Protocol(exclude_same_sequence=True, exclude_other_sequences=True)
    with pytest.raises(ValueError, match="exclude_same_clothes or exclude_other_clothes, got both"):
        Protocol(exclude_same_clothes=True, exclude_other_clothes=True)


def test_bad_arguments_of_the_open_set_are_refused():
    query, gallery = Features(torch.eye(3), [1, 2, 3]), Features(torch.eye(3), [1, 2, 4])
    with pytest.raises(ValueError, match="expects a protocol whose gallery is not drawn"):
        evaluate_open_set(query, gallery, protocol=CUHK03_SINGLE_SHOT)
    found = evaluate_open_set(query, gallery)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="threshold_at expects false_alarm_rate from 0 to 1"):
            found.dir_at(rate)
    with pytest.raises(TypeError, match="false_alarm_rate as a number, got '1%'"):
        found.threshold_at("1%")
    with pytest.raises(TypeError, match="dir_at expects rank as a whole number"):
        found.dir_at(0.1, 1.5)
    with pytest.raises(ValueError, match="dir_at expects rank of at least 1"):
        found.dir_at(0.1, 0)


def test_a_rate_of_whole_queries_is_not_rounded_down():
    """0.29 * 100 is 28.999999999999996 in float64."""
    query = Features(torch.arange(101.0)[:, None], [1, *range(2, 102)])
    gallery = Features(torch.tensor([[-1.0], [-500.0]]), [1, 0])
    found = evaluate_open_set(query, gallery, distance="euclidean")
    assert int((found.nearest <= found.threshold_at(0.29)).sum()) == 29


def test_the_open_set_tells_whom_it_dropped():
    query = Features(torch.eye(4)[:3], [1, 2, 3], [1, 1, 1], paths=["a.jpg", "b.jpg", "c.jpg"])
    gallery = Features(torch.eye(4), [1, 2, 4, 4], [2, 1, 1, 1])
    text = str(evaluate_open_set(query, gallery))
    assert "1 queries of people in the gallery, 1 of others" in text
    assert "1 of 3 queries dropped" in text
    assert "only in its own camera: b.jpg (identity 2, camera 1)" in text
    assert "c.jpg" not in text  # who is unknown is not dropped


def test_each_protocol_has_one_name_that_the_docs_tell():
    page = Path(__file__).parents[2] / "docs" / "protocols.md"
    text = page.read_text(encoding="utf-8")
    for name in PROTOCOLS:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("name", ["exclude_same_camera", "single_shot", "exclude_earlier"])
@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_rule_is_true_or_false(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} as True or False, got {value!r}"):
        Protocol(**{name: value})  # type: ignore[arg-type]


def test_rules_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Protocol((0,))  # type: ignore[misc, arg-type]
