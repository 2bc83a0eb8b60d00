"""What is around a static delta: a file with everything inside, signatures, the folder it is in."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smidgen_deltas.errors import DigestMismatch, SignatureInvalid, SizeMismatch, SmidgenError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, GPG, SIGNATURES
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.static.describe import describe_delta
from smidgen_deltas.ostree.static.files import DeltaFiles, DeltaUnreadable
from smidgen_deltas.ostree.static.signed import decode_signed, encode_signed
from smidgen_deltas.ostree.static.superblock import INLINE, SIGNATURE, VARDICT, SuperblockInvalid
from support.delta_desk import Desk
from support.ostree import FIRST, SECOND, VECTORS

NAME = DeltaName(FIRST, SECOND)
KEY = (VECTORS / "toy-ed25519.pub").read_text().strip()
OTHER = base64.b64encode(bytes(range(32))).decode()
SIGNED = VECTORS / "inline-signed-ed25519.delta"
Metadata = dict[str, Variant]


def read(path: Path) -> None:
    files = DeltaFiles.open(path)
    describe_delta(files.superblock, len(files.data), files.part)


def part(change: Callable[[int, bytes], tuple[int, bytes]]) -> Callable[[Metadata], None]:
    def damage(metadata: Metadata) -> None:
        compression, body = metadata[NAME.part(0)].value
        metadata[NAME.part(0)] = Variant(INLINE, change(compression, bytes(body)))

    return damage


def put(key: str, signature: str, value: Any) -> Callable[[Metadata], None]:
    return lambda metadata: metadata.__setitem__(key, Variant(signature, value))


INSIDE: dict[str, tuple[Callable[[Metadata], object], type[SmidgenError]]] = {
    "a byte": (part(lambda kind, body: (kind, body[:99] + bytes((body[99] ^ 1,)) + body[100:])), DigestMismatch),
    "the compression": (part(lambda _, body: (0, body)), DigestMismatch),
    "the length": (part(lambda kind, body: (kind, body + b"?")), SizeMismatch),
    "the type": (put(NAME.part(0), "ay", b"x"), SuperblockInvalid),
    "nothing": (lambda metadata: metadata.pop(NAME.part(0)), DeltaUnreadable),
    "a part more": (put(NAME.part(1), INLINE, (0, b"x")), SuperblockInvalid),
    "a part of another": (put(DeltaName(None, SECOND).part(0), INLINE, (0, b"x")), SuperblockInvalid),
    "detached metadata of another type": (put(NAME.commitmeta, "ay", b""), SuperblockInvalid),
    "detached metadata of another": (put(DeltaName(None, SECOND).commitmeta, VARDICT, {}), SuperblockInvalid),
    "signatures that are none": (put(NAME.commitmeta, VARDICT, {GPG: Variant("s", "signed")}), SignatureInvalid),
}


@pytest.mark.parametrize("what", INSIDE)
def test_what_is_wrong_inside_is_refused(tmp_path: Path, what: str) -> None:
    damage, error = INSIDE[what]
    fields = list(gvariant.decode(SIGNATURE, (VECTORS / "inline.delta").read_bytes()))
    damage(fields[0])
    path = tmp_path / "delta"
    path.write_bytes(gvariant.encode(SIGNATURE, tuple(fields)))
    with pytest.raises(error) as refused:
        read(path)
    assert refused.value.detail.keys() & {"part", "key", "path"}


def test_a_signature_is_verified_when_a_key_is_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    desk = Desk(capsys)
    assert desk.facts("verify", SIGNED, "--key", OTHER, "--key", KEY)["format"] == "ostree"
    assert desk.type_in("verify", SIGNED, "--key", OTHER)[0] == SignatureInvalid.exit
    assert desk.type_in("verify", VECTORS / "inline.delta", "--key", KEY)[0] == SignatureInvalid.exit
    assert desk.type_in("apply", SIGNED, "--key", OTHER, "--from", "ostree:x", "-o", "ostree:x")[0] == 22
    tardiff = tmp_path / "tardiff"
    tardiff.write_bytes(b"tardf1\n\0")
    assert desk.type_in("verify", tardiff, "--key", KEY)[0] == 2
    signed = decode_signed(SIGNED.read_bytes())
    fields = list(gvariant.decode(SIGNATURE, signed.superblock))
    fields[1] ^= 1 << 56  # another second
    forged = tmp_path / "forged"
    forged.write_bytes(encode_signed(gvariant.encode(SIGNATURE, tuple(fields)), signed.signatures))
    assert desk.type_in("verify", forged)[0] == 0
    assert desk.type_in("verify", forged, "--key", KEY)[0] == SignatureInvalid.exit


@pytest.mark.parametrize(
    "members",
    [{}, {ED25519: Variant(SIGNATURES, (bytes(63),))}, {ED25519: Variant("ay", bytes(64))}],
)
def test_signatures_that_are_none_are_refused(members: Metadata) -> None:
    number, superblock, _ = gvariant.decode("(taya{sv})", SIGNED.read_bytes())
    with pytest.raises(SignatureInvalid):
        decode_signed(gvariant.encode("(taya{sv})", (number, superblock, members)))


def test_the_folder_in_a_repository_says_what_is_in_it(tmp_path: Path) -> None:
    right = tmp_path / NAME.folder
    wrong = tmp_path / DeltaName(SECOND, FIRST).folder
    for folder in (right, wrong):
        folder.mkdir(parents=True)
        shutil.copyfile(VECTORS / "inline.delta", folder / "superblock")
    read(right)
    for path in (wrong, wrong / "superblock"):
        with pytest.raises(SuperblockInvalid) as refused:
            read(path)
        assert refused.value.detail["delta"] == str(NAME)
