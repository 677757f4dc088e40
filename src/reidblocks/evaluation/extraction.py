"""Features from a model and a loader, and the whole evaluation from a model and two."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from typing import Protocol as Structure

import torch
from torch import Tensor, nn

from reidblocks._modes import eval_mode
from reidblocks._progress import counted
from reidblocks.evaluation._gathering import in_order, parts_of_all_ranks
from reidblocks.evaluation.features import Features
from reidblocks.evaluation.labels import as_labels
from reidblocks.evaluation.metrics import Evaluation, evaluate
from reidblocks.evaluation.of_batches import joined, known_of_batch
from reidblocks.evaluation.protocol import MARKET_RULE, Protocol
from reidblocks.evaluation.reranking import KReciprocal
from reidblocks.evaluation.scores import Distance


class Batch(Structure):
    """What a loader must give: ``reidblocks.data.Item`` collated, or anything of these names."""

    @property
    def image(self) -> Tensor: ...  # (B, 3, H, W)
    @property
    def label(self) -> Tensor: ...  # (B,) identities
    @property
    def camera(self) -> Tensor: ...  # (B,), −1 where there is none


class Names(Structure):
    """What people and cameras are called: a ``reidblocks.data.ReIDDataset``, or its like."""

    @property
    def identity_names(self) -> Mapping[int, str]: ...
    @property
    def camera_names(self) -> Mapping[int, str]: ...


def extract_features(
    model: Callable[[Tensor], Tensor],
    loader: Iterable[Batch],
    *,
    device: torch.device | str | None = None,
    names: Names | None = None,
    progress: bool = False,
    gather: bool = False,
) -> Features:
    """Embed every image of a loader.

    In a distributed run each process embeds what its own loader gives; with ``gather`` all of them
    get the features of all, each image once and in the order of the data set, by the batches'
    ``position`` (see ``FeatureAccumulator``). Alone, a process gets its own.

    Args:
        model: from images (B, 3, H, W) to features (B, D). A module is set to eval meanwhile.
        loader: gives batches with ``image``, ``label`` and ``camera`` and, where they are known,
            ``path``, ``sequence``, ``clothes`` and ``time``, which the features then hold too.
        device: where the images go; as they come if None.
        names: the data set whose names of people and cameras the features keep, for reports.
        progress: count the batches on stderr.
        gather: return the features of all processes, which all must call this then.

    Returns:
        The features, on the CPU.

    Raises:
        ValueError: the loader (with ``gather``, every process's) gives no batch, or the model's
            output is not (B, D).
        TypeError: a batch lacks one of the three, or its labels are not integers.
    """
    parts: list[dict[str, Any]] = []
    module = model if isinstance(model, nn.Module) else nn.Identity()
    for batch in counted(loader, "batches embedded:", shown=progress, every=1):
        _check(batch)
        with eval_mode(module), torch.inference_mode():
            values = model(batch.image if device is None else batch.image.to(device))
        if not isinstance(values, Tensor) or values.dim() != 2:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"extract_features expects the model to give (B, D), got {got}")
        if parts and values.shape[1] != parts[0]["values"].shape[1]:
            raise ValueError(
                f"extract_features expects the model to give (B, {parts[0]['values'].shape[1]}) "
                f"for every batch, got {tuple(values.shape)}"
            )
        part = known_of_batch("extract_features", batch, len(values)) | {"values": values.cpu()}
        given = {"ids": ("label", batch.label), "cameras": ("camera", batch.camera)}
        if gather and hasattr(batch, "position"):
            given["positions"] = ("position", batch.position)
        for name, (field, labels) in given.items():
            part[name] = as_labels("extract_features", field, labels, len(values)).cpu()
        parts.append(part)
    if gather:
        parts = parts_of_all_ranks("extract_features", parts)
    if not parts:
        raise ValueError("extract_features expects at least one batch, got an empty loader")
    every, ids, cameras = (
        torch.cat([part[name] for part in parts]) for name in ("values", "ids", "cameras")
    )
    features = Features(
        every,
        ids,
        cameras,
        **joined(parts),
        identity_names={} if names is None else names.identity_names,
        camera_names={} if names is None else names.camera_names,
    )
    return in_order(features, parts)


def _check(batch: object) -> None:
    missing = [name for name in ("image", "label", "camera") if not hasattr(batch, name)]
    if missing:
        raise TypeError(
            "extract_features expects batches with image, label and camera, got a "
            f"{type(batch).__name__} without {', '.join(missing)}; let the data set return a "
            "namedtuple of these names, such as reidblocks.data.Item"
        )


def evaluate_model(
    model: Callable[[Tensor], Tensor],
    query_loader: Iterable[Batch],
    gallery_loader: Iterable[Batch],
    *,
    device: torch.device | str | None = None,
    names: Names | None = None,
    progress: bool = False,
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    reranking: KReciprocal | None = None,
    max_rank: int = 50,
) -> Evaluation:
    """Embed the images of both loaders and evaluate: see extract_features and evaluate.

    The gallery is ranked where the images were embedded, if ``device`` says where.
    """
    how: dict[str, Any] = {"device": device, "names": names, "progress": progress}
    query = extract_features(model, query_loader, **how)
    query = query if device is None else query.to(device)
    gallery = query
    if gallery_loader is not query_loader:  # else each image would be a match of itself
        gallery = extract_features(model, gallery_loader, **how)
        gallery = gallery if device is None else gallery.to(device)
    return evaluate(
        query,
        gallery,
        protocol=protocol,
        distance=distance,
        reranking=reranking,
        max_rank=max_rank,
    )
