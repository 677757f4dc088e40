"""What the functions of evaluation ask of their arguments, said the same way everywhere."""

from torch import Tensor

from reidblocks._checks import expect_floats, expect_shape
from reidblocks.evaluation.features import Features


def expect_sides(caller: str, query: object, gallery: object) -> None:
    """Raise unless both are `Features` on one device."""
    for name, side in (("query", query), ("gallery", gallery)):
        if not isinstance(side, Features):
            raise TypeError(
                f"{caller} expects {name} as Features, got {type(side).__name__}; give "
                "Features(values, ids)"
            )
    assert isinstance(query, Features)
    assert isinstance(gallery, Features)
    _expect_one_device(caller, query.values, gallery.values)


def expect_embeddings(caller: str, query: object, gallery: object) -> None:
    """Raise unless both are floating-point tensors (·, D) on one device."""
    for name, side in (("query", query), ("gallery", gallery)):
        if isinstance(side, Features):
            raise TypeError(
                f"{caller} expects {name} as a tensor, got Features; give {name}.values"
            )
        expect_shape(caller, name, side, "N D")  # type: ignore[arg-type]
        assert isinstance(side, Tensor)
        expect_floats(caller, name, side)
    assert isinstance(query, Tensor)
    assert isinstance(gallery, Tensor)
    _expect_one_device(caller, query, gallery)


def _expect_one_device(caller: str, query: Tensor, gallery: Tensor) -> None:
    if query.device != gallery.device:
        raise ValueError(
            f"{caller} expects query and gallery on one device, got {query.device} and "
            f"{gallery.device}; move one with .to(device)"
        )
