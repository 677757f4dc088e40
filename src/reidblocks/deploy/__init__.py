"""What a trained network goes through before it serves, and how it is put to work."""

from reidblocks.deploy.embedder import Embedder
from reidblocks.deploy.export import export_onnx, export_program, save_embedder
from reidblocks.deploy.folding import fold_for_inference, folded_norms
from reidblocks.deploy.frames import FrameEmbedder
from reidblocks.deploy.images import EmbeddedImages, embed
from reidblocks.deploy.loading import load_embedder
from reidblocks.deploy.spec import EmbedderSpec

__all__ = [
    "EmbeddedImages",
    "Embedder",
    "EmbedderSpec",
    "FrameEmbedder",
    "embed",
    "export_onnx",
    "export_program",
    "fold_for_inference",
    "folded_norms",
    "load_embedder",
    "save_embedder",
]
