"""Stable 64-bit seeds: a sample depends on what it is a sample of, never on batching, order or resuming."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def stable_seed(*parts: int | str) -> int:
    """A seed from the parts that name a random draw, equal on every machine and in every Python process.

    Args:
        parts: Integers and strings, for example (run seed, step, prompt_id, sample_index).

    Returns:
        An integer in [0, 2**63), so that it fits an int64 column.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        # Length and type go in too, so that ("a", "bc") and ("ab", "c"), or 1 and "1", differ.
        text = f"{type(part).__name__}:{part}".encode()
        digest.update(len(text).to_bytes(4, "little") + text)
    return int.from_bytes(digest.digest(), "little") >> 1


def uniforms(seed: int, count: int) -> NDArray[np.float64]:
    """The first `count` uniform numbers in [0, 1) of a seed's own counter-based (Philox) stream."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """The order in which an epoch visits `size` prompts."""
    return np.random.Generator(np.random.Philox(key=stable_seed(seed, "epoch", epoch))).permutation(size)
