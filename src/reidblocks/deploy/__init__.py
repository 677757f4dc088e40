"""What a trained network goes through before it serves."""

from reidblocks.deploy.embedder import Embedder
from reidblocks.deploy.folding import fold_for_inference, folded_norms
from reidblocks.deploy.spec import EmbedderSpec

__all__ = ["Embedder", "EmbedderSpec", "fold_for_inference", "folded_norms"]
