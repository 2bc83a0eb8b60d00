"""Formats of ostree: what is read must be written again byte for byte, since names are hashes of those bytes."""

from __future__ import annotations

import contextlib
import io

from fuzz.target import Choices, target
from smidgen_deltas.errors import SmidgenError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, GPG, decode_commitmeta, signatures, with_signature
from smidgen_deltas.ostree.config import parse_config
from smidgen_deltas.ostree.deltaindex import decode_index, encode_index
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.filez import encode_filez_header, open_filez
from smidgen_deltas.ostree.gpg import dearmor
from smidgen_deltas.ostree.listing import decode_listing, encode_listing
from smidgen_deltas.ostree.objects import COMMIT, DIRMETA, DIRTREE, HEADER, Commit, DirMeta, DirTree, FileHeader
from smidgen_deltas.ostree.summary import COLLECTIONS, SUMMARY, Summary

SIGNATURES = (HEADER, DIRTREE, DIRMETA, COMMIT, SUMMARY, COLLECTIONS, "a{sv}", "v", "as", "aay", "a(ayay)", "(bayt)")
OBJECTS = (FileHeader, DirMeta, DirTree, Commit)


@target("ostree-gvariant")
def values(data: bytes) -> None:
    choices = Choices(data)
    signature, body = choices.pick(SIGNATURES), choices.rest()
    assert gvariant.encode(signature, gvariant.decode(signature, body)) == body


@target("ostree-types")
def types(data: bytes) -> None:
    choices = Choices(data)
    signature = choices.part().decode("latin-1")
    kind = gvariant.parse_type(signature)
    body = choices.rest()
    assert gvariant.encode(signature, gvariant.decode(signature, body)) == body
    assert not kind.fixed or len(body) == kind.fixed


@target("ostree-object")
def objects(data: bytes) -> None:
    choices = Choices(data)
    kind, body = choices.pick(OBJECTS), choices.rest()
    assert kind.decode(body).encode() == body


@target("ostree-listing")
def listing(data: bytes) -> None:
    assert encode_listing(*decode_listing(data)) == data


@target("ostree-filez")
def filez(data: bytes) -> None:
    opened = open_filez(io.BytesIO(data))
    assert data.startswith(encode_filez_header(opened.header, opened.size))
    assert sum(len(chunk) for chunk in opened.chunks) == opened.size


@target("ostree-summary")
def summary(data: bytes) -> None:
    found = Summary.decode(data)
    assert found.encode() == data
    times = [lambda ref=ref: ref.timestamp for ref in found.refs]
    for look in (found.deltas, found.collections, lambda: found.expires, lambda: found.last_modified, *times):
        with contextlib.suppress(SmidgenError):
            look()
    assert found.has_indexes in (False, True)


@target("ostree-deltaindex")
def deltaindex(data: bytes) -> None:
    found = decode_index(data[32:], data[:32])
    assert decode_index(encode_index(found), data[:32]) == found


@target("ostree-commitmeta")
def commitmeta(data: bytes) -> None:
    assert gvariant.encode("a{sv}", decode_commitmeta(data)) == data
    for key in (GPG, ED25519):
        known = signatures(data, key)
        assert signatures(with_signature(data, key, b"new"), key) == (*known, b"new")


@target("ostree-deltaname")
def deltaname(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        assert DeltaName.of_folder(text).folder == text
    except SmidgenError:
        assert str(DeltaName.parse(text)) == text


@target("ostree-config")
def config(data: bytes) -> None:
    parse_config(data)


@target("ostree-armor")
def armor(data: bytes) -> None:
    dearmor(data)
