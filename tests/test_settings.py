"""Every public function gives the same under any of torch's process-wide settings.

A user's program may have another default dtype or device, deterministic algorithms, autocast,
inference mode, faster products or no GPU in sight. A table names a small call for each public
name of ``losses``, ``evaluation`` and ``data``; each runs under each setting, and its result is
that of a plain run. What a call needs (inputs, modules with parameters) is made before: parameters
follow torch's default dtype, as they should.

On another default device nothing of the input is there; "meta" stands in for a GPU: a tensor made
on it by mistake meets the input and fails, as on a GPU.
"""

import dataclasses
import enum
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import NAMES, write_set
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import reidblocks.data as data
import reidblocks.evaluation as ev
import reidblocks.losses as losses

Call = Callable[[], object]
Maker = Callable[[Path], Call]  # from a folder of synthetic people

HAS_SCIPY = importlib.util.find_spec("scipy") is not None
LABELS = torch.arange(12) % 4
OTHER_LABELS = torch.arange(8) % 4


def random(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float32, device="cpu")


# --- losses: the value and, where there is one, the gradient


def loss(function: Callable[[Tensor], Tensor], *size: int) -> Maker:
    def make(_: Path) -> Call:
        embeddings = random(*size or (12, 8)).requires_grad_()

        def call() -> object:
            value = function(embeddings)
            if not torch.is_grad_enabled():
                return value
            with torch.autocast("cpu", enabled=False):  # as torch advises: the forward pass alone
                return value, torch.autograd.grad(value.square().sum(), embeddings)[0]

        return call

    return make


def classifier(kind: Callable[[int, int], nn.Module]) -> Maker:
    def make(folder: Path) -> Call:
        module = kind(8, 4)
        with torch.no_grad():
            module.weight.copy_(random(4, 8, seed=1))
        return loss(lambda x: module(x, LABELS))(folder)

    return make


LOSSES: dict[str, Maker] = {
    "AttentionDiversity": loss(lambda x: losses.AttentionDiversity()(x), 3, 4, 8),
    "BatchHardTriplet": loss(lambda x: losses.BatchHardTriplet()(x, LABELS)),
    "ArcFaceClassifier": classifier(losses.ArcFaceClassifier),
    "CircleClassifier": classifier(losses.CircleClassifier),
    "CircleLoss": loss(lambda x: losses.CircleLoss()(x, LABELS)),
    "CosFaceClassifier": classifier(losses.CosFaceClassifier),
    "attention_diversity_loss": loss(losses.attention_diversity_loss, 3, 4, 8),
    "batch_hard_triplet_loss": loss(
        lambda x: losses.batch_hard_triplet_loss(x, LABELS, reduction="none")
    ),
    "batch_hard_triplet_loss_from_distances": loss(
        lambda x: losses.batch_hard_triplet_loss_from_distances(
            x.square(), *losses.pair_masks(LABELS, OTHER_LABELS)
        )
    ),
    "circle_logits": loss(lambda x: losses.circle_logits(x.tanh(), LABELS), 12, 4),
    "circle_loss": loss(lambda x: losses.circle_loss(x, LABELS, reduction="none")),
    "circle_loss_from_similarities": loss(
        lambda x: losses.circle_loss_from_similarities(
            x.tanh(), *losses.pair_masks(LABELS, OTHER_LABELS)
        )
    ),
    "cosine_similarity_matrix": loss(losses.cosine_similarity_matrix),
    "gather_batch": loss(lambda x: losses.gather_batch(x, LABELS)[0]),
    "pair_masks": lambda _: lambda: losses.pair_masks(LABELS),
}
LOSSES_EXCLUDED: dict[str, str] = {}


# --- evaluation


def sides() -> tuple[ev.Features, ev.Features]:
    query = ev.Features(random(9, 8), torch.arange(9) % 4, torch.arange(9) % 2)
    names = [f"{n}.jpg" for n in range(40)]
    gallery = ev.Features(random(40, 8, seed=1), np.arange(40) % 4, np.arange(40) % 3, paths=names)
    return query, gallery


def of_sides(function: Callable[[ev.Features, ev.Features], object]) -> Maker:
    def make(_: Path) -> Call:
        query, gallery = sides()
        return lambda: function(query, gallery)

    return make


def evaluated(query: ev.Features, gallery: ev.Features) -> object:
    protocols = (ev.Protocol(), ev.MARKET1501, ev.NO_CAMERAS, ev.CUHK03_SINGLE_SHOT)
    results = [ev.evaluate(query, gallery, protocol=each, max_rank=7) for each in protocols]
    results += [ev.evaluate(query, gallery, distance="euclidean"), ev.evaluate(gallery, gallery)]
    results += [ev.evaluate(query, gallery, reranking=ev.KReciprocal(4, 2))]
    far = dataclasses.replace(gallery, values=gallery.values + 50)  # a centered copy is made
    results += [ev.evaluate(far, far, distance=distance) for distance in ("cosine", "euclidean")]
    figures = [(each.mAP, each.mINP, each.rank(5), each.worst(3)) for each in results]
    return results, figures, [each.matched_within(5) for each in results], str(results[0])


def verified(query: ev.Features, gallery: ev.Features) -> object:
    found = []
    for distance in ("cosine", "euclidean"):
        pairs = ev.verify(query, gallery, distance=distance, max_false_match_rate=0.5)
        rates = pairs.roc(), pairs.equal_error_rate, pairs.tpr_at(0.1)
        found.append((pairs, rates, pairs.threshold_at(0.3, resamples=20)))
    return found


def made_features(query: ev.Features, gallery: ev.Features) -> object:
    lists = ev.Features(query.values, [1] * 9, range(9), np.arange(9)[::-1], [None] * 9)
    return lists, lists[[2, 0]], lists[1:3], lists[np.arange(9) > 4], gallery[[]], lists.to("cpu")


def accumulated(query: ev.Features, gallery: ev.Features) -> object:
    side = ev.FeatureAccumulator()
    for start in (20, 0, 20):
        part = gallery[start : start + 20]
        places = range(start, start + 20)
        side.update(part.values, part.ids, part.cameras, positions=places, paths=part.paths)
    return side.compute()


def compared(query: ev.Features, gallery: ev.Features) -> object:
    first = ev.evaluate(query, gallery)
    second = ev.evaluate(query, gallery, distance="euclidean")
    return ev.compare(first, second, resamples=20)


@dataclasses.dataclass
class Batch:
    image: Tensor
    label: Any
    camera: Any


def loader() -> list[Batch]:
    labels, cameras = [0, 1, 2, 0, 1, 2], np.arange(6) % 2
    return [Batch(random(6, 8, seed=seed), labels, cameras) for seed in (1, 2)]


def from_loader(function: Callable[[nn.Module, list[Batch]], object]) -> Maker:
    def make(_: Path) -> Call:
        model, batches = nn.BatchNorm1d(8, affine=False), loader()
        return lambda: function(model, batches)

    return make


def mode_of(model: nn.Module, batches: list[Batch]) -> object:
    with ev.eval_mode(model):
        return model(batches[0].image), model.training


def known(query: ev.Features, gallery: ev.Features) -> tuple[ev.Features, ev.Features]:
    query, gallery = (
        dataclasses.replace(
            side,
            sequences=np.arange(len(side)) % 3,
            clothes=np.arange(len(side)) // 4 % 2,
            times=[None, *range(1, len(side))],
        )
        for side in (query, gallery)
    )
    return query, gallery


def by_protocols(query: ev.Features, gallery: ev.Features) -> object:
    query, gallery = known(query, gallery)
    return [ev.evaluate(query, gallery, protocol=each) for each in ev.PROTOCOLS.values()]


def open_set(query: ev.Features, gallery: ev.Features) -> object:
    query, gallery = known(query, gallery)
    gallery = gallery[gallery.ids != 1]
    protocols = (ev.Protocol(), ev.LATER_IN_SEQUENCE, ev.CLOTHES_CHANGING)
    found = [ev.evaluate_open_set(query, gallery, protocol=each) for each in protocols]
    return found, [each.dir_at(0.3) for each in found], str(found[0])


def aggregated(query: ev.Features, gallery: ev.Features) -> object:
    gallery = known(query, gallery)[1]
    tracks = np.arange(40) % 4
    bare = dataclasses.replace(gallery, cameras=None, sequences=None, clothes=None)
    return [
        ev.aggregate(bare, "ids"),
        ev.aggregate(bare, tracks, how="median", normalize=False),
        ev.aggregate(gallery, ("ids", "cameras", "sequences", "clothes"), weights=range(1, 41)),
    ]


EVALUATION: dict[str, Maker] = {
    "PROTOCOLS": of_sides(by_protocols),
    "aggregate": of_sides(aggregated),
    "agglomerative_clusters": of_sides(
        lambda query, gallery: ev.agglomerative_clusters(gallery.values, num_clusters=4, k1=6)
    ),
    "dbscan_clusters": of_sides(
        lambda query, gallery: ev.dbscan_clusters(gallery.values, eps=0.9, k1=6)
    ),
    "evaluate_clusters": of_sides(
        lambda query, gallery: ev.evaluate_clusters(np.arange(40) % 7 - 1, gallery.ids)
    ),
    "evaluate_open_set": of_sides(open_set),
    "FeatureAccumulator": of_sides(accumulated),
    "Features": of_sides(made_features),
    "KReciprocal": lambda _: lambda: ev.KReciprocal(4, 2, 0.3),
    "Protocol": lambda _: lambda: ev.Protocol(junk_ids=[-1, 3]),
    "compare": of_sides(compared),
    "confidence_intervals": of_sides(
        lambda query, gallery: ev.confidence_intervals(ev.evaluate(query, gallery), resamples=20)
    ),
    "eval_mode": from_loader(mode_of),
    "evaluate": of_sides(evaluated),
    "evaluate_model": from_loader(
        lambda model, batches: ev.evaluate_model(model, batches, batches, device="cpu")
    ),
    "expand_queries": of_sides(
        lambda query, gallery: [
            ev.expand_queries(query, gallery, 3, alpha=1.0),
            ev.expand_queries(gallery, gallery, 3),
        ]
    ),
    "extract_features": from_loader(ev.extract_features),
    "rerank": of_sides(
        lambda query, gallery: [
            ev.rerank(query, gallery, ev.KReciprocal(4, 2)),
            ev.rerank(gallery, gallery, ev.KReciprocal(4, 2), distance="euclidean"),
        ]
    ),
    "search": of_sides(lambda query, gallery: ev.search(query.values, gallery.values, 4)),
    "top_matches": of_sides(
        lambda query, gallery: [
            ev.top_matches(query, gallery, 4),
            ev.top_matches(gallery, gallery, 4, reranking=ev.KReciprocal(4, 2), keep_excluded=True),
        ]
    ),
    "verify": of_sides(verified),
}
EVALUATION_EXCLUDED = {
    **dict.fromkeys(
        ("CUHK03_SINGLE_SHOT", "MARKET1501", "NO_CAMERAS"),
        "a constant, passed to evaluate above",
    ),
    **dict.fromkeys(
        ("CLOTHES_CHANGING", "LATER_IN_SEQUENCE", "OWN_SEQUENCE", "SAME_CLOTHES"),
        "in the table PROTOCOLS, each passed to evaluate above",
    ),
    "ClusterEvaluation": "evaluate_clusters returns it",
    "OpenSetEvaluation": "evaluate_open_set returns it",
    **dict.fromkeys(("DropReport", "Evaluation", "Reason"), "evaluate returns it"),
    "SearchResult": "search returns it",
    **dict.fromkeys(("Match", "TopMatches"), "top_matches returns it"),
    **dict.fromkeys(("Threshold", "Verification"), "verify returns it"),
}


# --- data


def augmented(_: Path) -> Call:
    module, images = data.BatchAugmentation(1.0, 1.0, 1.0), random(4, 3, 16, 8).mul(99).byte()
    return lambda: module(images)


def patched(_: Path) -> Call:
    module, images = data.RandomPatch(1.0, min_pool=1), random(4, 3, 16, 8)

    def call() -> object:
        module.pool.clear()
        return [module(image) for image in images]

    return call


def transformed(transform: Callable[[Any], Any]) -> Maker:
    return lambda folder: lambda: transform(data.read_image(person(folder)))


def person(folder: Path) -> Path:
    return min((folder / "query").iterdir())


def sampled(_: Path) -> Call:
    def call() -> object:
        labels = [n % 5 for n in range(30)]
        sampler = data.PKBatchSampler(labels, num_identities=2, num_images=4)
        sampler.set_epoch(3)
        return list(sampler)

    return call


def cached(folder: Path) -> object:
    samples = data.read_market1501(folder).query
    images = data.CachedImages(data.ImageDataset(samples, data.resize_transform((16, 8))))
    return [images[n] for n in range(len(images))]


def public_set(name: str) -> Maker:
    def make(folder: Path) -> Call:
        root = folder.parent / "sets" / name
        if not root.exists():
            write_set(name, root, lambda path: path.write_bytes(person(folder).read_bytes()))
        return lambda: data.READERS[name](root)

    return make


def cropped(folder: Path) -> Call:
    video = folder.parent / "videos" / "train" / "01"
    if not video.exists():
        (video / "img1").mkdir(parents=True)
        (video / "gt").mkdir()
        (video / "gt" / "gt.txt").write_text("1,3,2,2,8,16,1,1,1\n")
        (video / "img1" / "000001.jpg").write_bytes(person(folder).read_bytes())
    crops = folder.parent / "crops"
    return lambda: sorted(f"{path}" for path in data.crop_mot(video.parents[1], crops).rglob("*"))


def table(folder: Path) -> Call:
    rows = [f"{path.name},{n},{n},query" for n, path in enumerate((folder / "query").iterdir())]
    rows = [rows[0].replace("query", "train"), rows[1], rows[2].replace("query", "gallery")]
    path = folder / "query" / "people.csv"
    if not path.exists():
        path.write_text("\n".join(["path,identity,camera,split", *rows]))
    return lambda: data.from_csv(path)


def drawn_again(folder: Path) -> Call:
    return lambda: synthetic(folder.parent).name


def synthetic(root: Path) -> Path:
    return data.synthetic_people(
        root, num_train_identities=2, num_test_identities=2, images_per_camera=2,
        num_cameras=2, size=(32, 16),
    )  # fmt: skip


def dataset(folder: Path) -> data.ReIDDataset:
    return data.read_market1501(folder)


DATA: dict[str, Maker] = {
    **{f"read_{name}": public_set(name) for name in NAMES if name != "mars" or HAS_SCIPY},
    "BatchAugmentation": augmented,
    "CachedImages": lambda folder: lambda: cached(folder),
    "ImageDataset": lambda folder: (
        lambda: data.ImageDataset(
            dataset(folder).train, data.eval_transform((16, 8)), dataset(folder).labels
        )[1]
    ),
    "PKBatchSampler": sampled,
    "RandomPatch": patched,
    "ReIDDataset": lambda folder: lambda: dataset(folder).summary(),
    "check_images": lambda folder: lambda: data.check_images(dataset(folder).query),
    "crop_mot": cropped,
    "diagnose": lambda folder: lambda: list(data.diagnose(dataset(folder), batch=8)),
    "draw_person": lambda _: lambda: data.draw_person(3, 1, 2),
    "eval_transform": transformed(data.eval_transform((16, 8))),
    "from_csv": table,
    "read_folder": lambda folder: (
        lambda: data.read_folder(folder / "bounding_box_train", "{person}_c{camera}s*")
    ),
    "split_people": lambda folder: lambda: data.split_people(dataset(folder), test=0.5),
    "write_csv": lambda folder: (
        lambda: data.write_csv(dataset(folder), folder.parent / "all.csv").read_text()
    ),
    "mask_path": lambda folder: lambda: data.mask_path(person(folder)).name,
    "read_image": lambda folder: lambda: data.read_image(person(folder)),
    "read_masks": lambda folder: lambda: data.read_masks([person(folder)], (8, 4)),
    "resize_transform": transformed(data.resize_transform((16, 8))),
    "synthetic_people": drawn_again,
    "train_transform": transformed(data.train_transform((16, 8), flip=1.0, erase=0.0, patch=0.0)),
}
DATA_EXCLUDED = {
    **dict.fromkeys(("IMAGENET_MEAN", "IMAGENET_STD"), "a constant"),
    "Item": "ImageDataset gives it",
    "READERS": "a table of the readers",
    **({} if HAS_SCIPY else {"read_mars": "SciPy, an extra, is not installed"}),
    "Sample": "the readers give it",
}


# --- the settings


TABLES = {"losses": LOSSES, "evaluation": EVALUATION, "data": DATA}
EXCLUDED = {"losses": LOSSES_EXCLUDED, "evaluation": EVALUATION_EXCLUDED, "data": DATA_EXCLUDED}
CALLS = [(room, name) for room, table in TABLES.items() for name in table]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def faster_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


SETTINGS: dict[str, Callable[[], Any]] = {
    "default float64": lambda: default_dtype(torch.float64),
    "default bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": default_device,
    "deterministic": deterministic,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "medium products": faster_products,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("people"))


def result_of(call: Call, setting: Any = None) -> object:
    torch.manual_seed(0)
    with setting or nullcontext():
        return call()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("room", "name"), CALLS)
def test_the_result_is_that_of_a_plain_run(
    room: str, name: str, setting: str, folder: Path
) -> None:
    call = TABLES[room][name](folder)
    plain = torch.no_grad() if setting == "inference mode" else None
    expected = flat(result_of(call, plain))
    assert_same(flat(result_of(call, SETTINGS[setting]())), expected)


def test_the_result_is_that_without_a_gpu_in_sight(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.pickle"
    command = [sys.executable, __file__, str(folder), str(out), str(torch.get_num_threads())]
    paths = os.pathsep.join(sys.path)  # pytest's too
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    subprocess.run(command, check=True, timeout=300, env=environment)
    found = pickle.loads(out.read_bytes())
    assert list(found) == CALLS
    for (room, name), result in found.items():
        assert_same(result, flat(result_of(TABLES[room][name](folder))))


@pytest.mark.parametrize("room", TABLES)
def test_the_table_is_complete(room: str) -> None:
    public = importlib.import_module(f"reidblocks.{room}").__all__
    assert not TABLES[room].keys() & EXCLUDED[room].keys()
    assert {*TABLES[room], *EXCLUDED[room]} == set(public)
    assert all(EXCLUDED[room].values())


REFUSED = ("median.dim", "histc", "put_", "kthvalue", "max_unpool", "resize_")


class Refusing(TorchDispatchMode):
    """Fail at what ``use_deterministic_algorithms`` refuses on CUDA, by torch's own list."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(function).removeprefix("aten.")
        sums = name.startswith("cumsum") and args[0].is_floating_point()
        weighted = name.startswith("bincount") and any(isinstance(x, Tensor) for x in args[1:])
        if sums or weighted or name.startswith(REFUSED):
            raise AssertionError(f"{function} is refused on CUDA")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("room", "name"), [call for call in CALLS if call[0] != "data"])
def test_no_operator_is_refused_by_deterministic_algorithms(
    room: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = importlib.import_module("reidblocks.evaluation.counting")
    for here, there in (("_count_by_row", "_count_at_once"), ("_find_by_row", "_find_at_once")):
        monkeypatch.setattr(counting, here, getattr(counting, there))  # as on a GPU
    result_of(TABLES[room][name](folder), Refusing())


@pytest.mark.parametrize(
    "call",
    [
        lambda: random(4).cumsum(0),
        lambda: random(4, 4).median(dim=0),
        lambda: random(4).histc(),
        lambda: torch.bincount(torch.tensor([0, 1]), weights=random(2)),
    ],
)
def test_a_refused_operator_is_seen(call: Call) -> None:
    with Refusing(), pytest.raises(AssertionError, match="is refused on CUDA"):
        call()


@pytest.mark.parametrize(
    ("setting", "call"),
    [
        ("default float64", lambda: torch.ones(2)),
        ("default device", lambda: torch.ones(2) + random(2)),
        ("autocast", lambda: random(4, 4) @ random(4, 4, seed=1)),
        ("deterministic", torch.are_deterministic_algorithms_enabled),
        ("medium products", torch.get_float32_matmul_precision),
    ],
)
def test_a_setting_makes_a_difference(setting: str, call: Call) -> None:
    expected = flat(result_of(call))
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        assert_same(flat(result_of(call, SETTINGS[setting]())), expected)


def flat(result: object, name: str = "result") -> dict[str, object]:
    """A result as named tensors and plain values, which can be kept in a file."""
    if isinstance(result, Tensor):
        return {name: result.detach().clone()}
    if isinstance(result, Image.Image):
        return {name: (result.size, result.tobytes())}
    if isinstance(result, enum.Enum | Path):
        return {name: str(result)}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if isinstance(result, tuple | list):
        result = dict(enumerate(result))
    if not isinstance(result, dict):
        return {name: result}
    found: dict[str, object] = {f"{name}: parts": len(result)}
    for key, part in result.items():
        found |= flat(part, f"{name}.{key}")
    return found


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    """Hold results to each other: to the last digit, but for the order of a sum.

    Sums here have up to 10⁴ terms of comparable size, whose roundings add up to some √10⁴ / 2 of
    one; five times that is allowed. What a setting changes is above 10³ of one: TF32 keeps 10
    bits of 23, autocast 7.
    """
    assert list(found) == list(expected)
    for name, value in found.items():
        other = expected[name]
        if isinstance(value, Tensor):
            assert isinstance(other, Tensor), name
            assert (value.dtype, value.device) == (other.dtype, other.device), name
            allowed = 0.0
            if value.is_floating_point() and value.numel():
                finite = other[other.isfinite()].abs()
                largest = float(finite.max()) if len(finite) else 1.0
                allowed = 256 * torch.finfo(value.dtype).eps * max(1.0, largest)
            torch.testing.assert_close(value, other, rtol=0, atol=allowed, equal_nan=True, msg=name)
        elif isinstance(value, float):
            assert value == pytest.approx(
                other,
                rel=256 * sys.float_info.epsilon,
                abs=256 * sys.float_info.epsilon,
                nan_ok=True,
            ), name
        else:
            assert value == other, name


if __name__ == "__main__":
    people, out, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    assert not torch.cuda.is_available()
    results = {call: flat(result_of(TABLES[call[0]][call[1]](Path(people)))) for call in CALLS}
    Path(out).write_bytes(pickle.dumps(results))
