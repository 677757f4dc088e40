"""From a tracker's boxes in a frame to embeddings, by the calls that trackers make."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from reidblocks._checks import expect_one_of, expect_whole
from reidblocks.deploy.embedder import Embedder
from reidblocks.deploy.images import embed_pixels, resized


class FrameEmbedder:
    """Embed the boxes of a frame, for a tracker or for a gallery.

    Boxes are rounded to whole pixels and clipped to the frame. One without a pixel in it has a
    row of zeros, which shows nobody. `get_features`, `extract_features` and `embeds` are what
    trackers call; there such a row is the embedding of a blank image, as trackers divide by its
    length. Each gives a row for each box.

    Args:
        embedder: is used where it is, on its device.
        channel_order: of the frames: "BGR" as OpenCV reads them, or "RGB".
        batch_size: boxes embedded at once.

    Raises:
        ValueError: channel_order is neither; batch_size is below 1.
        TypeError: embedder is no Embedder; batch_size is not an integer.

    >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> embed = FrameEmbedder(Embedder(network, size=(64, 32)), channel_order="BGR")
    >>> frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    >>> embed(frame, [[100, 50, 160, 200], [-20, 0, 30, 90], [700, 0, 750, 90]]).any(1)
    tensor([ True,  True, False])
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        channel_order: Literal["BGR", "RGB"],
        batch_size: int = 64,
    ) -> None:
        if not isinstance(embedder, Embedder):
            raise TypeError(
                f"FrameEmbedder expects an Embedder, got {type(embedder).__name__}; an Embedder "
                "holds the preprocessing of its network"
            )
        expect_one_of("FrameEmbedder", "channel_order", channel_order, "BGR", "RGB")
        self.embedder, self.channel_order = embedder, channel_order
        self.batch_size = expect_whole("FrameEmbedder", "batch_size", batch_size)

    def __call__(self, frame: "np.ndarray[Any, Any] | Tensor", boxes: Any) -> Tensor:
        """Return the embeddings (N, D), in float32 on the CPU, of N boxes.

        Args:
            frame: (H, W, 3) of uint8, in this object's channel_order.
            boxes: (N, 4): left, top, right and bottom, in pixels. N may be 0.

        Raises:
            ValueError: the frame or the boxes have another shape or type; a box is NaN or
                infinite.
        """
        pixels = _pixels(frame, self.channel_order)
        corners = _corners(boxes, *pixels.shape[1:])
        size = self.embedder.size
        crops = [
            (place, resized(pixels[:, top:bottom, left:right], size))
            for place, (left, top, right, bottom) in enumerate(corners)
            if left < right and top < bottom
        ]
        nothing = embed_pixels(self.embedder, pixels.new_zeros(0, 3, *size)) if not crops else None
        parts = [
            embed_pixels(self.embedder, torch.stack([crop for _, crop in some]))
            for some in (
                crops[start : start + self.batch_size]
                for start in range(0, len(crops), self.batch_size)
            )
        ]
        found = torch.cat(parts) if nothing is None else nothing
        embeddings = found.new_zeros(len(corners), found.shape[1])
        embeddings[[place for place, _ in crops]] = found
        return embeddings

    def get_features(self, xyxys: Any, img: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Embed as BoxMOT calls it: ``BotSort(reid_model=frame_embedder)``; frames are BGR.

        Args:
            xyxys: boxes (N, 4).
            img: the frame.
        """
        return self._for_tracker(img, xyxys)

    def extract_features(
        self, frame: "np.ndarray[Any, Any]", detections: Any
    ) -> "np.ndarray[Any, Any]":
        """Embed as Roboflow's trackers 2.0 call it: ``DeepSORTTracker(frame_embedder)``.

        Args:
            frame: the frame.
            detections: has the boxes (N, 4) as ``xyxy``, as supervision's do.
        """
        return self._for_tracker(frame, detections.xyxy)

    def embeds(
        self, raw_detections: Sequence[Any], frame: "np.ndarray[Any, Any]"
    ) -> "list[np.ndarray[Any, Any]]":
        """Embed what deep-sort-realtime takes, for its ``update_tracks(…, embeds=…)``.

        Args:
            raw_detections: ([left, top, width, height], confidence, class) each. Those without
                width or height get no embedding: update_tracks drops them before it pairs the two.
            frame: the frame.
        """
        boxes = [box for box, *_ in raw_detections if box[2] > 0 and box[3] > 0]
        corners = np.array(boxes, np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return list(self._for_tracker(frame, corners))

    def _for_tracker(self, frame: Any, boxes: Any) -> "np.ndarray[Any, Any]":
        embeddings = self(frame, boxes)
        empty = ~embeddings.any(1)
        if empty.any():
            blank = torch.full((1, 3, *self.embedder.size), 127, dtype=torch.uint8)
            embeddings[empty] = embed_pixels(self.embedder, blank)
        return embeddings.numpy()


def _pixels(frame: Any, channel_order: str) -> Tensor:
    """Return the frame as RGB (3, H, W)."""
    if not isinstance(frame, np.ndarray | Tensor):
        raise TypeError(
            f"FrameEmbedder expects a frame as an array (H, W, 3), got {type(frame).__name__}"
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"FrameEmbedder expects a frame (H, W, 3), got {tuple(frame.shape)}")
    if str(frame.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"FrameEmbedder expects a frame of uint8, got {frame.dtype}")
    pixels = torch.as_tensor(
        np.ascontiguousarray(frame) if isinstance(frame, np.ndarray) else frame
    )
    pixels = pixels.cpu().permute(2, 0, 1)
    return pixels.flip(0) if channel_order == "BGR" else pixels


def _corners(boxes: Any, height: int, width: int) -> list[list[int]]:
    """Return boxes as whole pixels within the frame; one outside of it is empty."""
    boxes = boxes.detach().cpu().numpy() if isinstance(boxes, Tensor) else np.asarray(boxes)
    if boxes.size == 0:
        boxes = np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise ValueError(
            "FrameEmbedder expects boxes (N, 4) of numbers, left, top, right and bottom, got "
            f"{boxes.shape} of {boxes.dtype}"
        )
    if wrong := np.flatnonzero(~np.isfinite(boxes).all(1)).tolist():
        raise ValueError(f"FrameEmbedder expects finite boxes, got {boxes[wrong[0]]} as {wrong[0]}")
    limits = [width, height, width, height]
    corners: list[list[int]] = np.clip(np.rint(boxes), 0, limits).astype(int).tolist()
    return corners
