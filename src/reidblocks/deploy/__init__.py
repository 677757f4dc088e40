"""What a trained network goes through before it serves."""

from reidblocks.deploy.embedder import Embedder

__all__ = ["Embedder"]
