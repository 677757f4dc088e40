"""PyTorch building blocks for person re-identification."""

__version__ = "0.1.0"
__all__ = ["__version__"]
