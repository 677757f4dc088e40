"""Random states that depend on a step's place in the run and on nothing before it."""

import hashlib

import torch


def seed_step(*place: int) -> None:
    """Seed torch on all devices from numbers such as seed, step and rank.

    A run that seeds every step can be resumed at any step without a saved random state.

    >>> seed_step(0, 7, 1)
    >>> first = torch.rand(1)
    >>> seed_step(0, 7, 1)
    >>> torch.rand(1).equal(first)
    True
    """
    words = " ".join(map(str, place)).encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(words, digest_size=7).digest(), "big"))
