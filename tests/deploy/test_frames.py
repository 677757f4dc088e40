"""Boxes in a frame become embeddings, in the way each tracker asks for them."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reidblocks.deploy import Embedder, FrameEmbedder, embed


class Mean(nn.Module):
    """The mean color, which tells the order of channels, and the number of images at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images.mean((2, 3))


def make(channel_order: Any = "RGB", **options: Any) -> FrameEmbedder:
    embedder = Embedder(Mean(), (16, 8), mean=(0, 0, 0), std=(1, 1, 1))
    return FrameEmbedder(embedder, channel_order=channel_order, **options)


@pytest.fixture
def frame() -> Any:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


BOXES = [[3, 4, 20, 30], [-7.6, 2.4, 9.5, 70], [10.2, 0, 11.4, 40]]


def test_a_box_gives_the_embedding_of_its_crop(frame: Any) -> None:
    found = make()(frame, BOXES)
    cut = [frame[4:30, 3:20], frame[2:40, 0:10], frame[0:40, 10:11]]
    assert found.equal(embed(make().embedder, cut).embeddings)


def test_frames_of_opencv(frame: Any) -> None:
    assert make("BGR")(frame[..., ::-1], BOXES).equal(make("RGB")(frame, BOXES))
    assert not make("BGR")(frame, BOXES).equal(make("RGB")(frame, BOXES))
    assert make()(torch.from_numpy(frame), torch.tensor(BOXES)).equal(make()(frame, BOXES))


def test_many_boxes_go_in_batches(frame: Any) -> None:
    embedder = make(batch_size=4)
    found = embedder(frame, BOXES * 3)
    assert embedder.embedder.network.batches == [4, 4, 1]
    assert found.equal(make()(frame, BOXES).repeat(3, 1))


EMPTY = [[70, 0, 90, 40], [5, 5, 5, 20], [9, 9, 3, 3], [0, -30, 10, -2], [4.6, 4.6, 5.4, 20]]


def test_an_empty_box_has_a_row_of_zeros(frame: Any) -> None:
    mixed = [EMPTY[0], BOXES[0], *EMPTY[1:], BOXES[1]]
    found = make()(frame, mixed)
    assert found.any(1).tolist() == [False, True, False, False, False, False, True]
    assert found[[1, 6]].equal(make()(frame, BOXES[:2]))
    assert make()(frame, EMPTY).equal(torch.zeros(5, 3))


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), torch.empty(0, 4), np.array([])])
def test_no_box(boxes: Any, frame: Any) -> None:
    assert make()(frame, boxes).shape == (0, 3)
    assert make().get_features(boxes, frame).shape == (0, 3)
    assert make().extract_features(frame, SimpleNamespace(xyxy=boxes)).shape == (0, 3)
    assert make().embeds([], frame) == []


def test_the_calls_of_trackers(frame: Any) -> None:
    expected = make()(frame, BOXES).numpy()
    asked = make().get_features(np.array(BOXES), frame)
    assert asked.dtype == np.float32
    assert np.array_equal(asked, expected)
    detections = SimpleNamespace(xyxy=np.array(BOXES))
    assert np.array_equal(make().extract_features(frame, detections), expected)
    raw = [([x, y, right - x, bottom - y], 0.9, "person") for x, y, right, bottom in BOXES]
    raw.insert(1, ([3, 3, 0, 9], 0.9, "person"))  # which update_tracks drops
    assert np.allclose(np.stack(make().embeds(raw, frame)), expected)


def test_trackers_get_no_zero_vector(frame: Any) -> None:
    found = make().get_features(np.array([EMPTY[0], BOXES[0]]), frame)
    assert np.allclose(found[0], 127 / 255)
    assert np.array_equal(found[1:], make()(frame, BOXES[:1]).numpy())


@pytest.mark.parametrize(
    ("frame", "boxes", "error", "message"),
    [
        (np.zeros((4, 4), np.uint8), BOXES, ValueError, r"a frame \(H, W, 3\), got \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), BOXES, ValueError, r"got \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), BOXES, ValueError, "a frame of uint8, got float32"),
        (None, BOXES, TypeError, r"array \(H, W, 3\), got NoneType"),
        (np.zeros((4, 4, 3), np.uint8), [1, 2, 3, 4], ValueError, r"boxes \(N, 4\) .*got \(4,\)"),
        (np.zeros((4, 4, 3), np.uint8), [[1, 2, 3]], ValueError, r"got \(1, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), [["a"] * 4], ValueError, "of numbers"),
        (np.zeros((4, 4, 3), np.uint8), [[0, 0, 1, 1], [0, 0, math.nan, 1]], ValueError, "as 1$"),
    ],
)
def test_errors(frame: Any, boxes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()(frame, boxes)


def test_a_wrong_frame_embedder() -> None:
    with pytest.raises(ValueError, match="channel_order 'BGR' or 'RGB', got 'GBR'"):
        make("GBR")
    with pytest.raises(TypeError, match=r"expects an Embedder, got Mean; an Embedder holds"):
        FrameEmbedder(Mean(), channel_order="BGR")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size of at least 1"):
        make(batch_size=0)


# --- the real packages, on two people who swap places behind a third


def scene(step: int) -> tuple[Any, Any]:
    """Return a frame, BGR, with a red and a blue person who walk toward each other, and boxes."""
    image = np.full((120, 240, 3), 90, np.uint8)
    lefts = (20 + 6 * step, 180 - 6 * step)
    for left, color in zip(lefts, ((0, 0, 220), (220, 0, 0)), strict=True):
        image[30:100, left : left + 26] = color
    return image, np.array([[left, 30, left + 26, 100] for left in lefts], float)


@pytest.mark.slow
def test_boxmot() -> None:
    boxmot = pytest.importorskip("boxmot", reason="needs boxmot")
    embedder = make("BGR")
    tracker = boxmot.BotSort(reid_model=embedder, use_cmc=False)
    shown = []
    for step in range(6):
        image, boxes = scene(step)
        detections = np.column_stack([boxes, np.full(2, 0.9), np.zeros(2)])
        shown.append(np.asarray(tracker.update(detections, image)))
    assert sum(embedder.embedder.network.batches) >= 6
    assert [len(tracks) for tracks in shown[1:]] == [2] * 5
    assert len({int(row[4]) for tracks in shown[1:] for row in tracks}) == 2
    tracker.update(np.empty((0, 6)), image)


@pytest.mark.slow
def test_deep_sort_realtime() -> None:
    package = pytest.importorskip("deep_sort_realtime.deepsort_tracker", reason="needs the package")
    tracker, embedder = package.DeepSort(embedder=None, n_init=1), make("BGR")
    for step in range(6):
        image, boxes = scene(step)
        raw = [
            ([x, y, right - x, bottom - y], 0.9, "person") for x, y, right, bottom in boxes.tolist()
        ]
        raw.insert(0, ([5, 5, 0, 7], 0.9, "person"))  # a degenerate one must not shift the others
        tracks = tracker.update_tracks(raw, embeds=embedder.embeds(raw, image))
    confirmed = [track for track in tracks if track.is_confirmed()]
    assert len(confirmed) == 2
    for track in confirmed:
        left = track.to_ltrb(orig=True)[0]
        color = track.get_feature()
        assert (color[0] > color[2]) == (abs(left - boxes[0][0]) < 1)  # red is the first box
    tracker.update_tracks([], embeds=embedder.embeds([], image))


@pytest.mark.slow
def test_roboflow_trackers() -> None:
    supervision = pytest.importorskip("supervision", reason="needs supervision")
    trackers = pytest.importorskip("trackers", reason="needs trackers 2.0")
    if not hasattr(trackers, "DeepSORTTracker"):
        pytest.skip("needs trackers 2.0, the last whose trackers take an embedder")
    embedder = make("BGR")
    tracker = trackers.DeepSORTTracker(embedder, minimum_consecutive_frames=1)
    ids = []
    for step in range(6):
        image, boxes = scene(step)
        detections = supervision.Detections(boxes, confidence=np.full(2, 0.9))
        ids.append(tracker.update(detections, image).tracker_id.tolist())
    assert embedder.embedder.network.batches == [2] * 6
    assert len({tuple(each) for each in ids[1:]}) == 1
    assert len(set(ids[-1])) == 2
    tracker.update(supervision.Detections.empty(), image)
