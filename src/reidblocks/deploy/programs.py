"""Files that need no class of a network: programs of torch.export and ONNX, and what they tell."""

import hashlib
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks.deploy.embedder import Embedder

KEY = "reidblocks"  # of what is told: an ONNX model's property, a program's extra file
FORMAT = 1  # goes up where older versions cannot read what this one writes
Size = tuple[int, int]


class Told(NamedTuple):
    """What a file tells of its model, as JSON."""

    name: str
    dimension: int
    fingerprint: str
    takes: Literal["pixels", "normalized"]  # the preprocessing is inside, or is still to be done
    size: Size  # of the images that the network takes
    pixel_mean: list[float]  # from 0 to 255
    pixel_std: list[float]
    channel_order: Literal["RGB", "BGR"]
    normalize: bool
    image_size: Size | None  # of the images that the file takes, where it is always the same

    @classmethod
    def of(
        cls, embedder: Embedder, takes: Literal["pixels", "normalized"], image_size: Size | None
    ) -> Self:
        spec = embedder.spec
        return cls(
            *(spec.name, spec.dimension, spec.fingerprint, takes),
            embedder.size,
            embedder.mean.flatten().tolist(),
            embedder.std.flatten().tolist(),
            embedder.channel_order,
            embedder.normalize,
            image_size,
        )

    def as_json(self) -> str:
        return json.dumps({"format": FORMAT, **self._asdict()})

    @classmethod
    def from_json(cls, text: str, path: Path) -> Self:
        try:
            content = json.loads(text)
            if content["format"] > FORMAT:
                raise ValueError(
                    f"it is of format {content['format']}, newer than {FORMAT}, the newest that "
                    "this reidblocks reads: update reidblocks"
                )
            fields = {name: content[name] for name in cls._fields}
            told = cls(**fields)
            fixed = None if told.image_size is None else (told.image_size[0], told.image_size[1])
            return told._replace(size=(told.size[0], told.size[1]), image_size=fixed)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} does not tell its preprocessing as reidblocks writes it: {error}"
            ) from error

    def embedder(self, network: nn.Module) -> Embedder:
        """Return the embedder of a network that was read from the file."""
        kind = WholeEmbedder if self.takes == "pixels" else Embedder
        embedder = kind(
            network,
            self.size,
            channel_order=self.channel_order,
            normalize=self.normalize,
            name=self.name,
        )
        for buffer, levels in ((embedder.mean, self.pixel_mean), (embedder.std, self.pixel_std)):
            buffer.copy_(torch.tensor(levels).view(3, 1, 1))
        embedder._dimension, embedder._fingerprint = self.dimension, self.fingerprint
        embedder._image_size = self.image_size
        return embedder.eval().requires_grad_(False)


class WholeEmbedder(Embedder):
    """An embedder whose network has the preprocessing inside."""

    def _prepared(self, images: Tensor) -> Tensor:
        if self._image_size is None or images.shape[2:] == self._image_size:
            return images
        resized = F.interpolate(images.float(), self._image_size, mode="bilinear", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)


class Program(nn.Module):
    """A program of torch.export as a module, which `eval` and `train` pass by."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: Tensor) -> Any:
        return self.program(images)

    def train(self, mode: bool = True) -> Self:
        self.training = mode  # a program is in the mode it was exported in, and refuses to be asked
        return self


class OnnxNetwork(nn.Module):
    """An ONNX file run by ONNX Runtime, with as many threads as torch has: on CUDA if it can."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        expect_onnx("load_embedder", writes=False)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [each for each in wanted if each in onnxruntime.get_available_providers()]
        self.path = path
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # of its own C++ classes
            raise ValueError(f"ONNX Runtime cannot read {path}: {first_line(error)}") from error
        self.input = self.session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        found = self.session.run(None, {self.input: images.contiguous().cpu().numpy()})[0]
        return torch.from_numpy(found).to(images.device)


def expect_onnx(caller: str, *, writes: bool) -> None:
    """Raise unless what runs ONNX, and if need be writes it, is installed."""
    needed = ("onnx", "onnxscript", "onnxruntime") if writes else ("onnxruntime",)
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ImportError(
            f"{caller} needs {', '.join(missing)} for an ONNX file: pip install "
            "'reidblocks[export]', or use a .pt2 file"
        )


def read_program(path: Path) -> Embedder:
    """Read an embedder from a .pt2 or .onnx file, of reidblocks or another."""
    network: nn.Module
    if path.suffix == ".onnx":
        network = OnnxNetwork(path)
        told = network.session.get_modelmeta().custom_metadata_map.get(KEY)
        first = network.session.get_inputs()[0]
        shape, dtype = first.shape, first.type
    else:
        extra = {f"{KEY}.json": ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # damaged bytes make it raise nearly anything
            raise ValueError(
                f"{path} is no program of torch.export, or of a torch that this one "
                f"({torch.__version__}) cannot read: {first_line(error)}"
            ) from error
        network, told = Program(program.module()), extra[f"{KEY}.json"]
        names = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        value = names[program.graph_signature.user_inputs[0]]
        shape, dtype = list(value.shape), str(value.dtype)
    network.eval()
    if told:
        return Told.from_json(told, path).embedder(network)
    return _guessed(network, path, shape, dtype)


def _guessed(network: nn.Module, path: Path, shape: list[Any], dtype: str) -> Embedder:
    """Return an embedder of a file that does not tell its preprocessing, and warn."""
    fixed = len(shape) == 4 and all(isinstance(side, int) for side in shape[1:])
    if dtype not in ("tensor(float)", "torch.float32") or not fixed or shape[1] != 3:
        raise ValueError(
            f"{path} does not tell its preprocessing, and takes {dtype} {shape}: expected float32 "
            "images (B, 3, height, width) of one size, or a file of save_embedder, export_onnx or "
            "export_program"
        )
    warnings.warn(
        f"{path} does not tell its preprocessing: its images are taken to be RGB of "
        f"{shape[2]}×{shape[3]}, normalized by ImageNet's mean and standard deviation",
        stacklevel=4,
    )
    embedder = Embedder(network, (shape[2], shape[3]), name=path.stem).eval().requires_grad_(False)
    with path.open("rb") as file:
        embedder._fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return embedder


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
