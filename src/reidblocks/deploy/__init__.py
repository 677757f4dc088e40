"""What a trained network goes through before it serves."""

from reidblocks.deploy.embedder import Embedder
from reidblocks.deploy.folding import fold_for_inference, folded_norms

__all__ = ["Embedder", "fold_for_inference", "folded_norms"]
