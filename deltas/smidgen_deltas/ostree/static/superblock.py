"""The superblock of a static delta: what it leads to, its parts, and what is to be fetched beside it.

GVariant `(a{sv}tayay(commit)aya(uayttay)a(yaytt))`: metadata, time (big-endian), from, to, the commit itself as a
value, pairs of deltas to apply before (always empty), parts, fallback objects. Version and sizes of parts
and fallbacks are in the byte order of the machine that made the delta, named by the metadata key `ostree.endianness`.

Rules enforced here
 * the commit inside has the checksum that the delta leads to
 * every checksum has 32 bytes, every list of objects divides into records of 33, no object comes twice
 * what is inside under `deltas/` belongs to this delta and has the type that it should have
 * nothing has to be applied before: no generator asks for it, and stock clients would not do it
 * parts and fallbacks are no more and no larger than the limits below
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, UnsupportedFeature
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.commitmeta import ED25519, GPG, signatures
from smidgen_deltas.ostree.deltaname import DeltaName
from smidgen_deltas.ostree.gvariant import Variant
from smidgen_deltas.ostree.objects import (
    CHECKSUM_SIZE,
    COMMIT,
    MAX_METADATA,
    Commit,
    ObjectName,
    ObjectType,
    swap32,
    swap64,
)

SIGNATURE: Final = f"(a{{sv}}tayay{COMMIT}aya(uayttay)a(yaytt))"
RECORD: Final = 1 + CHECKSUM_SIZE
MAX_PARTS: Final = 1 << 16
MAX_PART: Final = 4 << 30  # bytes of a part's file
MAX_USIZE: Final = 1 << 48
MAX_TIME: Final = 253_402_300_799  # UTC seconds: the end of the year 9999
MAX_FILE: Final = 2 << 30  # bytes of a superblock that holds its parts; without them MAX_METADATA
BYTE_ORDER: Final = "ostree.endianness"
INSIDE: Final = "deltas/"
FIRST_KEYS: Final = (
    b"ostree.",
    INSIDE.encode(),
)  # a superblock that has metadata, as all have, begins with a key of it
LITTLE: Final = ord("l")
BIG: Final = ord("B")
INLINE: Final = "(yay)"
VARDICT: Final = "a{sv}"
_OBJECTS: Final = (ObjectType.FILE, ObjectType.DIRTREE, ObjectType.DIRMETA, ObjectType.COMMIT)
_HUGE_OBJECT: Final = 4 << 30  # an average above this means that numbers were read in the wrong byte order


class SuperblockInvalid(FormatError):
    """A superblock is well-formed GVariant but not what ostree allows."""


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part. size: of its file, compressed; usize: of the objects it makes; objects: in the order of operations."""

    sha256: bytes
    size: int
    usize: int
    objects: tuple[ObjectName, ...]


@dataclass(frozen=True, slots=True)
class Fallback:
    """A file object to be fetched as `.filez`. size: of that file; usize: of its content."""

    checksum: bytes
    size: int
    usize: int

    @property
    def name(self) -> ObjectName:
        return ObjectName(ObjectType.FILE, self.checksum)


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a delta says about itself.

    Args:
        created: UTC seconds.
        commit: bytes of the commit object that `name.target` names.
        metadata: all keys, inline parts among them, in stored order.
    """

    name: DeltaName
    created: int
    commit: bytes
    parts: tuple[PartEntry, ...]
    fallbacks: tuple[Fallback, ...] = ()
    metadata: dict[str, Variant] = field(default_factory=lambda: {BYTE_ORDER: Variant("y", LITTLE)})

    def listed(self) -> Iterator[tuple[str, ObjectName]]:
        """Every object that parts and fallbacks list, with where."""
        for number, part in enumerate(self.parts):
            for name in part.objects:
                yield f"part {number}", name
        for number, fallback in enumerate(self.fallbacks):
            yield f"fallback {number}", fallback.name

    def inline_part(self, number: int) -> bytes | None:
        """The bytes of a part that is inside, as its file would be, or None. Raises SuperblockInvalid."""
        key = self.name.part(number)
        found = self.metadata.get(key)
        if found is None:
            return None
        if found.signature != INLINE:
            raise SuperblockInvalid("inline part has another type", key=key, type=found.signature)
        compression, body = found.value
        return bytes((compression,)) + bytes(body)

    def commitmeta(self) -> bytes | None:
        """Detached metadata of the commit, as an object, or None. Raises SuperblockInvalid."""
        key = self.name.commitmeta
        found = self.metadata.get(key)
        if found is None:
            return None
        if found.signature != VARDICT:
            raise SuperblockInvalid("detached metadata has another type", key=key, type=found.signature)
        return gvariant.encode(VARDICT, found.value)

    def with_inline(self, parts: Iterable[bytes]) -> Superblock:
        """The single-file form: `parts` (as their files would be) inside."""
        inline = {
            self.name.part(number): Variant(INLINE, (part[0], memoryview(part)[1:]))
            for number, part in enumerate(parts)
        }
        metadata = self.metadata | inline
        return replace(self, metadata=metadata)

    def with_commitmeta(self, data: bytes | None) -> Superblock:
        """With the detached metadata of the commit; clients that verify commits look for it here only."""
        key = self.name.commitmeta
        metadata = {name: value for name, value in self.metadata.items() if name != key}
        if data is not None:
            metadata[key] = Variant(VARDICT, gvariant.decode(VARDICT, data))
        return replace(self, metadata=metadata)

    def encode(self) -> bytes:
        """The file, in the byte order that the metadata names (little-endian where it names none)."""
        order = self.metadata.get(BYTE_ORDER)
        swapped = order is not None and order.value == BIG
        parts = [
            (0, part.sha256, _order64(part.size, swapped=swapped), _order64(part.usize, swapped=swapped), _list(part))
            for part in self.parts
        ]
        fallbacks = [
            (ObjectType.FILE, one.checksum, _order64(one.size, swapped=swapped), _order64(one.usize, swapped=swapped))
            for one in self.fallbacks
        ]
        commit = gvariant.decode(COMMIT, self.commit)
        source = self.name.source or b""
        return gvariant.encode(
            SIGNATURE,
            (
                self.metadata,
                swap64(self.created),
                source,
                self.name.target,
                commit,
                b"",
                parts,
                fallbacks,
            ),
        )


def decode_superblock(data: bytes, limit: int = MAX_METADATA) -> Superblock:
    """Read a superblock.

    Args:
        limit: of its size; MAX_FILE for files that hold their parts.
    Raises LimitExceeded, NotNormal, SuperblockInvalid, UnsupportedFeature, DigestMismatch, ObjectInvalid,
    SignatureInvalid.
    """
    if len(data) > limit:
        raise LimitExceeded("superblock is too large", size=len(data), limit=limit)
    metadata, created, source, target, commit, before, parts, fallbacks = gvariant.decode(SIGNATURE, data)
    _check_length(target, "to")
    if source:
        _check_length(source, "from")
    if len(before) % (2 * CHECKSUM_SIZE):
        raise SuperblockInvalid("list of deltas to apply before does not divide into pairs", length=len(before))
    if before:
        raise UnsupportedFeature("delta has to be applied after others", first=before[: 2 * CHECKSUM_SIZE].hex())
    if swap64(created) > MAX_TIME:
        raise SuperblockInvalid("delta was made at an impossible time", created=swap64(created), limit=MAX_TIME)
    body = gvariant.encode(COMMIT, commit)
    found = hashlib.sha256(body).digest()
    if found != target:
        raise DigestMismatch(
            "superblock holds another commit than it leads to", expected=target.hex(), found=found.hex()
        )
    Commit.decode(body)
    swapped = _is_swapped(metadata, parts)
    superblock = Superblock(
        name=DeltaName(source or None, target),
        created=swap64(created),
        commit=body,
        parts=_parts(parts, swapped=swapped),
        fallbacks=_fallbacks(fallbacks, swapped=swapped),
        metadata=metadata,
    )
    _check_once(superblock)
    _check_inside(superblock)
    return superblock


def _parts(entries: Any, *, swapped: bool) -> tuple[PartEntry, ...]:
    if len(entries) > MAX_PARTS:
        raise LimitExceeded("delta has too many parts", count=len(entries), limit=MAX_PARTS)
    found = []
    for number, (version, sha256, size, usize, objects) in enumerate(entries):
        version = swap32(version) if swapped else version
        if version:
            raise UnsupportedFeature("part of an unknown version", part=number, version=version)
        _check_length(sha256, f"part {number}")
        entry = PartEntry(
            sha256, _order64(size, swapped=swapped), _order64(usize, swapped=swapped), _objects(objects, number)
        )
        _check_size(entry.size, MAX_PART, f"size of part {number}")
        _check_size(entry.usize, MAX_USIZE, f"usize of part {number}")
        found.append(entry)
    return tuple(found)


def _check_once(superblock: Superblock) -> None:
    """Raise SuperblockInvalid for an object that comes twice."""
    seen: set[ObjectName] = set()
    for where, name in superblock.listed():
        if name in seen:
            raise SuperblockInvalid("an object comes twice", where=where, object=str(name))
        seen.add(name)


def _check_inside(superblock: Superblock) -> None:
    """Raise SuperblockInvalid for a member that belongs to another delta or has another type, SignatureInvalid for
    detached metadata whose signatures are none."""
    name = superblock.name
    known = {name.part(number) for number in range(len(superblock.parts))} | {name.commitmeta}
    for key in superblock.metadata:
        if key.startswith(INSIDE) and key not in known:
            raise SuperblockInvalid("member of another delta is inside", key=key[:200], delta=str(name))
    for number in range(len(superblock.parts)):
        superblock.inline_part(number)
    commitmeta = superblock.commitmeta()
    if commitmeta is not None:
        for kind in (GPG, ED25519):
            signatures(commitmeta, kind)


def _objects(records: bytes, number: int) -> tuple[ObjectName, ...]:
    if len(records) % RECORD:
        raise SuperblockInvalid("list of objects does not divide into records", part=number, length=len(records))
    found = []
    for at in range(0, len(records), RECORD):
        if records[at] not in _OBJECTS:
            raise SuperblockInvalid(
                "part makes an object of an unknown type", part=number, object=at // RECORD, type=records[at]
            )
        found.append(ObjectName(ObjectType(records[at]), records[at + 1 : at + RECORD]))
    return tuple(found)


def _fallbacks(entries: Any, *, swapped: bool) -> tuple[Fallback, ...]:
    found = []
    for number, (kind, checksum, size, usize) in enumerate(entries):
        if kind != ObjectType.FILE:
            raise SuperblockInvalid("fallback is not a file object", fallback=number, type=kind)
        _check_length(checksum, f"fallback {number}")
        entry = Fallback(checksum, _order64(size, swapped=swapped), _order64(usize, swapped=swapped))
        _check_size(entry.size, MAX_USIZE, f"size of fallback {number}")
        _check_size(entry.usize, MAX_USIZE, f"usize of fallback {number}")
        found.append(entry)
    return tuple(found)


def _is_swapped(metadata: dict[str, Variant], parts: Any) -> bool:
    """Whether numbers are big-endian: as the metadata says, else guessed as stock clients do."""
    order = metadata.get(BYTE_ORDER)
    if order is None:
        return any(
            size > usize + usize // 5 or usize // max(len(objects) // RECORD, 1) > _HUGE_OBJECT
            for _, _, size, usize, objects in parts
        )
    if order.signature != "y" or order.value not in (LITTLE, BIG):
        raise SuperblockInvalid("byte order is neither little nor big", value=str(order.value)[:100])
    return bool(order.value == BIG)


def _list(part: PartEntry) -> bytes:
    return b"".join(bytes((name.type,)) + name.checksum for name in part.objects)


def _order64(value: int, *, swapped: bool) -> int:
    return swap64(value) if swapped else value


def _check_length(checksum: bytes, where: str) -> None:
    if len(checksum) != CHECKSUM_SIZE:
        raise SuperblockInvalid("checksum is not 32 bytes", where=where, length=len(checksum))


def _check_size(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise LimitExceeded(f"{what} is over its limit", size=size, limit=limit)
