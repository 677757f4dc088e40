"""What tells the embeddings of one model from those of another."""

import pytest

from reidblocks.deploy import EmbedderSpec


@pytest.mark.parametrize(
    ("dimension", "fingerprint", "error", "message"),
    [
        (0, "a", ValueError, "dimension above 0, got 0"),
        (8.0, "a", TypeError, "dimension as a whole number"),
        (8, "", ValueError, "a fingerprint, got an empty one"),
    ],
)
def test_what_is_no_spec_is_refused(dimension, fingerprint, error, message):
    with pytest.raises(error, match=message):
        EmbedderSpec("some", dimension, fingerprint)
