"""The encoded form of a recipe is stored on servers and fetched by devices: it must not change by accident."""

from __future__ import annotations

import hashlib

from smidgen_deltas.tar.recipe import Content, Splitter, decode, encode, rebuild
from support import tars

BODY = b"#!/bin/sh\necho hello\n"
TAR = (
    tars.header(b"usr/", typeflag=b"5", mode=0o755, mtime=1_700_000_000)
    + tars.pax((b"mtime", b"1700000000.5"))
    + tars.member(b"usr/hello", BODY, mode=0o755, mtime=1_700_000_000)
    + tars.member(b"usr/hello2", BODY, mode=0o755, mtime=1_700_000_000)
    + tars.END
)
CONTENTS = [Content(len(BODY), hashlib.sha256(BODY).digest())]

# Version 1. A device that fetched a tree document before an update of smidgen must still be able to use it after:
# readers of this form stay, and a change of what is written needs a new version byte.
GOLDEN = (
    "0180240204801800000200012621050004602f09016408400f2104000c5c031a0c0b01090100166902040593010461010901"
    "0c84017573722f30303030373535003030303030303000303030303030300030303030303030303030300031343532343737"
    "30343030357573746172003030303030303030300030303030303030506178486561646572732f7836343432360030303030"
    "3030303030783232206d74696d653d313730303030303030302e350a68656c6c6f3032"
)


def test_these_bytes_always_mean_this_tar() -> None:
    recipe = decode(bytes.fromhex(GOLDEN), CONTENTS)
    assert b"".join(rebuild(recipe, lambda wanted: [BODY])) == TAR


def test_this_tar_is_always_written_so() -> None:
    """Not a promise to devices, but trees are named by their digest: the same image should give the same tree."""
    assert encode(Splitter([TAR], lambda member, size: None), CONTENTS.index).hex() == GOLDEN
