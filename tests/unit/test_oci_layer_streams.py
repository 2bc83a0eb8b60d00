"""Layers in every stored form, well-formed and not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.errors import LimitExceeded, SmidgenError, UnsupportedFeature
from smidgen_deltas.oci import media
from smidgen_deltas.oci.gunzip import GzipInvalid
from smidgen_deltas.oci.layer import LayerMislabelled, open_layer, sniff
from smidgen_deltas.zstd import ZstdInvalid, compress
from support import tars

TAR = tars.member(b"file", bytes(range(256)) * 3000) + tars.END
HALF = len(TAR) // 2
SKIPPABLE = b"\x5f\x2a\x4d\x18\x04\0\0\0note"

GOOD = {
    "plain": (media.OCI_LAYER, TAR),
    "gzip": (media.OCI_LAYER_GZIP, gzip.compress(TAR)),
    "gzip, docker": (media.DOCKER_LAYER_GZIP, gzip.compress(TAR)),
    "gzip, several members": (media.OCI_LAYER_GZIP, gzip.compress(TAR[:HALF]) + gzip.compress(TAR[HALF:])),
    "gzip, empty members": (media.OCI_LAYER_GZIP, gzip.compress(b"") + gzip.compress(TAR) + gzip.compress(b"")),
    "gzip, padded": (media.OCI_LAYER_GZIP, gzip.compress(TAR) + bytes(700_000)),
    "zstd": (media.OCI_LAYER_ZSTD, compress(TAR, 3)),
    "zstd, several frames": (media.OCI_LAYER_ZSTD, compress(TAR[:HALF], 3) + compress(TAR[HALF:], 3, checksum=True)),
    "zstd, skippable frames": (media.OCI_LAYER_ZSTD, SKIPPABLE + compress(TAR, 3) + SKIPPABLE * 2),
    "unlabelled": ("", gzip.compress(TAR)),
}


class Dribble:
    """Gives one to three bytes at a time, as a slow socket may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 1 + self._file.tell() % 3))


@pytest.mark.parametrize(("media_type", "data"), GOOD.values(), ids=GOOD.keys())
def test_layers_open(media_type: str, data: bytes) -> None:
    blocks = list(open_layer(media_type, io.BytesIO(data), len(TAR)))
    assert b"".join(blocks) == TAR
    assert all(0 < len(block) <= 1 << 18 for block in blocks)


@pytest.mark.parametrize("name", ["gzip, several members", "zstd, skippable frames", "plain"])
def test_layers_come_in_crumbs(name: str) -> None:
    media_type, data = GOOD[name]
    assert b"".join(open_layer(media_type, Dribble(data), len(TAR))) == TAR


@pytest.mark.parametrize(("media_type", "data"), GOOD.values(), ids=GOOD.keys())
def test_output_is_bounded(media_type: str, data: bytes) -> None:
    produced = 0
    with pytest.raises(LimitExceeded):
        for block in open_layer(media_type, io.BytesIO(data), 1000):
            produced += len(block)
    assert produced <= 1000


def test_bombs_are_given_up_early() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    with pytest.raises(LimitExceeded):
        for _ in open_layer(media.OCI_LAYER_GZIP, io.BytesIO(data), 1 << 20):
            pass


GZIP, ZSTD = gzip.compress(TAR), compress(TAR, 3, checksum=True)


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


BAD: dict[str, tuple[str, bytes, type[SmidgenError]]] = {
    "gzip cut short": (media.OCI_LAYER_GZIP, GZIP[:-1], GzipInvalid),
    "gzip cut in its header": (media.OCI_LAYER_GZIP, GZIP[:5], GzipInvalid),
    "gzip checksum": (media.OCI_LAYER_GZIP, damaged(GZIP, len(GZIP) - 6), GzipInvalid),
    "gzip length": (media.OCI_LAYER_GZIP, damaged(GZIP, len(GZIP) - 1), GzipInvalid),
    "gzip with junk behind": (media.OCI_LAYER_GZIP, GZIP + b"junk", GzipInvalid),
    "gzip with junk in the padding": (media.OCI_LAYER_GZIP, GZIP + bytes(600) + b"j", GzipInvalid),
    "second member damaged": (media.OCI_LAYER_GZIP, GZIP + damaged(GZIP, 2), GzipInvalid),
    "zstd cut short": (media.OCI_LAYER_ZSTD, ZSTD[:-1], ZstdInvalid),
    "zstd checksum": (media.OCI_LAYER_ZSTD, damaged(ZSTD, len(ZSTD) - 1), ZstdInvalid),
    "zstd with junk behind": (media.OCI_LAYER_ZSTD, ZSTD + b"junk", ZstdInvalid),
    "labelled gzip, is plain": (media.OCI_LAYER_GZIP, TAR, LayerMislabelled),
    "labelled gzip, is zstd": (media.OCI_LAYER_GZIP, ZSTD, LayerMislabelled),
    "labelled zstd, is gzip": (media.OCI_LAYER_ZSTD, GZIP, LayerMislabelled),
    "labelled plain, is gzip": (media.OCI_LAYER, GZIP, LayerMislabelled),
    "labelled gzip, is nothing": (media.OCI_LAYER_GZIP, b"", LayerMislabelled),
    "no layer": (media.OCI_CONFIG, TAR, UnsupportedFeature),
    "bzip2": ("", bz2.compress(TAR), UnsupportedFeature),
    "xz": (media.OCI_LAYER, lzma.compress(TAR), UnsupportedFeature),
}


@pytest.mark.parametrize(("media_type", "data", "error"), BAD.values(), ids=BAD.keys())
def test_is_refused(media_type: str, data: bytes, error: type[SmidgenError]) -> None:
    with pytest.raises(error) as caught:
        for _ in open_layer(media_type, io.BytesIO(data), 1 << 30):
            pass
    assert type(caught.value) is error


@given(st.sampled_from((GZIP, ZSTD)), st.integers(0, 2000), st.binary(max_size=5), st.integers(0, 5))
def test_damaged_layers_end_in_an_error_or_the_same_bytes(data: bytes, at: int, new: bytes, cut: int) -> None:
    hurt = data[:at] + new + data[at + cut :]
    try:
        found = b"".join(open_layer("", io.BytesIO(hurt), 1 << 22))
    except SmidgenError:
        return
    assert found in (TAR, hurt)  # hurt: no longer compressed, as far as anyone can see


def test_sniffing_needs_few_bytes() -> None:
    assert sniff(b"") is media.Compression.NONE
    assert sniff(b"\x1f\x8b") is media.Compression.GZIP
    assert sniff(SKIPPABLE[:4]) is media.Compression.ZSTD
