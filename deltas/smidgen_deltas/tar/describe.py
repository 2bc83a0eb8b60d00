"""From a header block and the extension headers before it to a Member; where they disagree, one rule or an error."""

from __future__ import annotations

from typing import Final

from smidgen_deltas.tar import pax
from smidgen_deltas.tar.errors import TarAmbiguous, TarCorrupt, TarLimit, TarUnsupported
from smidgen_deltas.tar.extensions import Extensions
from smidgen_deltas.tar.header import MAX_NUMBER, Header
from smidgen_deltas.tar.limits import Limits
from smidgen_deltas.tar.member import BodyReader, Member, MemberType

OLD_SPARSE: Final = b"S"
_TYPES: Final = {
    b"\0": MemberType.FILE,
    b"0": MemberType.FILE,
    b"7": MemberType.FILE,  # contiguous: POSIX lets readers treat it as regular
    OLD_SPARSE: MemberType.FILE,
    b"1": MemberType.HARDLINK,
    b"2": MemberType.SYMLINK,
    b"3": MemberType.CHAR,
    b"4": MemberType.BLOCK,
    b"5": MemberType.DIRECTORY,
    b"6": MemberType.FIFO,
}
_LINKS: Final = frozenset({MemberType.HARDLINK, MemberType.SYMLINK})
_DEVICES: Final = frozenset({MemberType.CHAR, MemberType.BLOCK})
_FOREIGN_HOLES: Final = (b"SUN.holesdata", b"SCHILY.realsize", b"GNU.volume.size")


def describe(header: Header, extensions: Extensions, limits: Limits, body: BodyReader) -> Member:
    """The member as if it had no holes: `stored` and `size` are both what the archive holds.

    Raises TarAmbiguous, TarCorrupt, TarUnsupported, TarLimit.
    """
    offset = header.offset
    if header.typeflag not in _TYPES:
        raise TarUnsupported("tar member of an unsupported type", offset=offset, type=header.typeflag.hex())
    records = (*extensions.inherited, *extensions.records)
    fields = pax.merged(extensions.inherited, extensions.records) if records else {}
    path = _name(fields.get(b"path") or extensions.long_name or header.name, limits, offset)
    size = _size(header, fields, limits)
    kind = _kind(header, path, size)
    linkname = b""
    if kind in _LINKS:
        linkname = _name(fields.get(b"linkpath") or extensions.long_link or header.linkname, limits, offset)
    return Member(
        path=path,
        type=kind,
        mode=header.mode & 0o7777,
        uid=_number(fields, b"uid", header.uid, offset),
        gid=_number(fields, b"gid", header.gid, offset),
        mtime_ns=pax.time_ns(fields[b"mtime"], offset) if b"mtime" in fields else header.mtime * 1_000_000_000,
        size=size,
        stored=size,
        linkname=linkname,
        uname=fields.get(b"uname", header.uname),
        gname=fields.get(b"gname", header.gname),
        devmajor=_device(fields, b"SCHILY.devmajor", header.devmajor, kind, offset),
        devminor=_device(fields, b"SCHILY.devminor", header.devminor, kind, offset),
        xattrs=pax.xattrs(records, limits, offset) if records else (),
        sparse=None,
        records=records,
        offset=extensions.offset if extensions.offset >= 0 else offset,
        _body=body,
    )


def _name(name: bytes, limits: Limits, offset: int) -> bytes:
    if not name:
        raise TarCorrupt("tar member without a name or target", offset=offset)
    if len(name) > limits.name:
        raise TarLimit("name in tar is too long", offset=offset, length=len(name), limit=limits.name)
    return name


def _number(fields: dict[bytes, bytes], key: bytes, otherwise: int, offset: int) -> int:
    return pax.number(fields[key], key, offset, MAX_NUMBER) if key in fields else otherwise


def _size(header: Header, fields: dict[bytes, bytes], limits: Limits) -> int:
    """What the archive holds of the member. The record wins, whatever the header says (POSIX.1-2017 pax, "size")."""
    for key in _FOREIGN_HOLES:
        if key in fields:
            raise TarUnsupported("sparse member of a foreign format", offset=header.offset, key=key.decode())
    if header.typeflag == OLD_SPARSE and (b"size" in fields or any(key.startswith(b"GNU.sparse.") for key in fields)):
        raise TarAmbiguous("sparse member described twice", offset=header.offset)
    size = _number(fields, b"size", header.size, header.offset)
    if size > limits.size:
        raise TarLimit("tar member is too large", offset=header.offset, size=size, limit=limits.size)
    return size


def _kind(header: Header, path: bytes, size: int) -> MemberType:
    """The type. Before POSIX, directories were empty files whose name ends in a slash."""
    kind = _TYPES[header.typeflag]
    if kind is MemberType.FILE and path.endswith(b"/"):
        if header.typeflag != b"\0" or size:
            raise TarAmbiguous("tar member that is a file or a directory", offset=header.offset)
        kind = MemberType.DIRECTORY
    if kind is not MemberType.FILE and size:
        raise TarAmbiguous("tar member that must not have content", offset=header.offset, type=kind, size=size)
    return kind


def _device(fields: dict[bytes, bytes], key: bytes, header: int, kind: MemberType, offset: int) -> int:
    if kind not in _DEVICES:
        return 0
    if _number(fields, key, header, offset) != header:
        raise TarAmbiguous("device with two numbers", offset=offset)
    return header
