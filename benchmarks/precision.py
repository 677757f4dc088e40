"""What does a lower precision cost in mAP, on real images?

    python benchmarks/precision.py RUN [--data-root DIR] [--limit 60] [--float16] [--int8]

Evaluates the checkpoint of a run of examples/mdpr in float32, folded, in bfloat16 (folded, the
whole network cast; with --float16 in float16 too), and under bfloat16 autocast. --int8 adds the
folded network in ONNX Runtime, in float32 and with its convolutions in int8: dynamically (one scale
a convolution), and statically after a look at 64 training images (one scale an output channel); it
needs the extra "export". One reading of the images; mAP and rank-1, seconds for all images, and the
mean cosine with the embedding in float32. The network as it was before the training is beside them:
what its mAP is worth.
Writes `benchmarks/results/precision.json`, or `precision_float16.json`.
"""

import argparse
import copy
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring import machine, write
from reidblocks.deploy import fold_for_inference
from reidblocks.evaluation import Features, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/mdpr"))
from build import build_model, eval_loader, load_checkpoint, load_model, read_data
from config import from_dict
from share import Embedding

Embed = Callable[[Tensor], Tensor]


def torch_task(network: Any) -> Embed:
    dtype = next(network.parameters()).dtype
    return lambda images: network.embed(images.to(dtype)).float()


def autocast_task(network: Any) -> Embed:
    def embed(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network.embed(images).float()

    return embed


def onnx_tasks(network: Any, images: Tensor, folder: Path) -> tuple[dict[str, Embed], dict]:
    """The network in ONNX Runtime: as it is, and with its convolutions in int8 in two ways."""
    import onnxruntime
    from onnxruntime import quantization

    class Calibration(quantization.CalibrationDataReader):
        batches = iter(images.contiguous().numpy()[:, None])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    float32, prepared = folder / "float32.onnx", folder / "prepared.onnx"
    dynamic, static = folder / "dynamic.onnx", folder / "static.onnx"
    written = torch.onnx.export(
        Embedding(network).eval(),
        (images[:2].contiguous(),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"],
        verbose=False,
    )
    written.save(float32, external_data=False)
    quantization.quant_pre_process(float32, prepared, skip_symbolic_shape=True)
    convolutions = {"op_types_to_quantize": ["Conv"]}
    unsigned, signed = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
    quantization.quantize_dynamic(prepared, dynamic, weight_type=unsigned, **convolutions)
    quantization.quantize_static(
        prepared,
        static,
        Calibration(),
        per_channel=True,
        activation_type=unsigned,
        weight_type=signed,
        **convolutions,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    tasks: dict[str, Embed] = {}
    sizes = {}
    for name, path in (("float32", float32), ("int8, dynamic", dynamic), ("int8, static", static)):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def embed(images: Tensor, session: Any = session) -> Tensor:
            return torch.from_numpy(session.run(None, {"images": images.contiguous().numpy()})[0])

        tasks[f"ONNX Runtime, {name}"] = embed
        sizes[f"ONNX Runtime, {name}"] = path.stat().st_size / 1e6
    return tasks, sizes


@torch.inference_mode()
def embed_all(tasks: dict[str, Embed], loader: Any, seconds: dict[str, float]) -> dict[str, Any]:
    """Give the features of every network for all images of one side."""
    values: dict[str, list[Tensor]] = {name: [] for name in tasks}
    identities, cameras = [], []
    for batch in loader:
        images = batch.image.contiguous(memory_format=torch.channels_last)
        identities.append(torch.as_tensor(batch.label))
        cameras.append(torch.as_tensor(batch.camera))
        for name, task in tasks.items():
            start = time.perf_counter()
            values[name].append(task(images))
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    who, where = torch.cat(identities), torch.cat(cameras)
    return {name: Features(torch.cat(each), who, where) for name, each in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--data-root")
    parser.add_argument("--limit", type=int, help="people of the test set, the first so many")
    parser.add_argument("--float16", action="store_true", help="too: slow without hardware for it")
    parser.add_argument("--int8", action="store_true", help="too, in ONNX Runtime")
    options = parser.parse_args()
    state = load_checkpoint(options.run)
    config = from_dict(state["config"])
    for name in ("dataset", "data_root"):
        if getattr(options, name):
            config = dataclasses.replace(config, **{name: getattr(options, name)})
    data = read_data(config)
    query, gallery = data.query, data.gallery
    if options.limit:
        people = sorted({sample.identity for sample in query})[: options.limit]
        query, gallery = (
            [sample for sample in side if sample.identity in people] for side in (query, gallery)
        )
    plain = load_model(state).to(memory_format=torch.channels_last).eval()
    folded = fold_for_inference(plain)
    tasks = {
        "float32": torch_task(plain),
        "float32, folded": torch_task(folded),
        "bfloat16, folded": torch_task(copy.deepcopy(folded).bfloat16()),
        "bfloat16 autocast": autocast_task(plain),
    }
    torch.manual_seed(config.seed)
    tasks["untrained, float32"] = torch_task(build_model(config).eval())
    if options.float16:
        tasks["float16, folded"] = torch_task(copy.deepcopy(folded).half())
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.int8:
            some = data.train[:: max(1, len(data.train) // 64)][:64]
            images = torch.cat([batch.image for batch in eval_loader(config, some)])
            more, sizes = onnx_tasks(folded, images, Path(folder))
            tasks |= more
        seconds: dict[str, float] = {}
        sides = [embed_all(tasks, eval_loader(config, side), seconds) for side in (query, gallery)]
    rows: dict[str, Any] = {}
    exact = F.normalize(sides[0]["float32"].values)
    for name in tasks:
        result = evaluate(sides[0][name], sides[1][name])
        cosines = (F.normalize(sides[0][name].values) * exact).sum(1)
        rows[name] = {
            "mAP": result.mAP,
            "change of mAP, points": 100
            * (result.mAP - rows.get("float32", {"mAP": result.mAP})["mAP"]),
            "rank-1": result.rank(1),
            "cosine with float32": cosines.mean().item(),
            "seconds": seconds[name],
        }
        if name in sizes:
            rows[name]["MB of the file"] = sizes[name]
    write(
        "precision_float16" if options.float16 else "precision",
        {
            "machine": machine(),
            "network": f"{config.backbone}, {config.height}×{config.width}, M={config.embed_dim}",
            "data": config.dataset,
            "queries": len(query),
            "gallery": len(gallery),
            **rows,
        },
    )


if __name__ == "__main__":
    main()
