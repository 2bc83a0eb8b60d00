"""Documents, layers and archives of images."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from fuzz.target import Choices, target
from smidgen_deltas.oci import strictjson
from smidgen_deltas.oci.config import parse_config
from smidgen_deltas.oci.layer import open_layer
from smidgen_deltas.oci.layout import Layout
from smidgen_deltas.oci.model import parse_manifest

OUTPUT = 1 << 22
MEDIA_TYPES = ("", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd")


@target("oci-json")
def json(data: bytes) -> None:
    strictjson.parse(data, 1 << 16, "document")


@target("oci-manifest")
def manifest(data: bytes) -> None:
    assert parse_manifest(data).body == data


@target("oci-config")
def config(data: bytes) -> None:
    assert parse_config(data).body == data


@target("oci-layer")
def layer(data: bytes) -> None:
    choices = Choices(data)
    media_type = choices.pick(MEDIA_TYPES)
    assert sum(len(block) for block in open_layer(media_type, io.BytesIO(choices.rest()), OUTPUT)) <= OUTPUT


@target("oci-archive", share=0.5)
def archive(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        layout = Layout.open(Path(file.name))
        for descriptor in layout.tags().values():
            layout.manifest(descriptor)
