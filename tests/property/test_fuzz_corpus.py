"""Every fuzz target keeps its promises on its corpus, and on the same inputs cut short and with bits turned.

Without atheris, so also where it is not to be had, and on kernels built with sanitizers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fuzz.target import CORPUS
from fuzz.targets import TARGETS

VARIANTS = 12


def variants(data: bytes) -> Iterator[bytes]:
    """`data`, and versions of it with the damage that is most usual."""
    rng = random.Random(len(data))
    yield data
    yield data[: len(data) // 2]
    for _ in range(VARIANTS if data else 0):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        yield bytes(damaged)
        yield data[: rng.randrange(len(data))]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_corpus(name: str) -> None:
    seeds = sorted((CORPUS / name).iterdir())
    assert seeds, "a target without a corpus"
    for seed in seeds:
        for data in variants(seed.read_bytes()):
            TARGETS[name].once(data)
