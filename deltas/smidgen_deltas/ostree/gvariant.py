"""GVariant serialisation, as far as ostree needs it, both ways, normal form only.

Source: the GVariant specification (serialisation format) and ostree's use of it. Integers are little-endian here;
fields that ostree stores byte-swapped are swapped by the callers in `objects`.

Python values: y -> int, b -> bool, u/t -> int, s -> str, ay -> bytes, other arrays -> tuple, tuples -> tuple,
a{sv} and friends -> dict in stored order, v -> Variant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap
from typing import Any, Final

from smidgen_deltas.errors import FormatError

MAX_DEPTH: Final = 32
MAX_SIGNATURE: Final = 255

Source = bytes | mmap


class NotNormal(FormatError):
    """Bytes are not the normal form of their type."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A value with its type."""

    signature: str
    value: Any


@dataclass(frozen=True, slots=True)
class Type:
    """A parsed type. code: one of y b u t s v a ( { ; fixed: size in bytes, or 0 when variable."""

    code: str
    align: int
    fixed: int
    members: tuple[Type, ...] = ()


_BASIC: Final = {
    "y": Type("y", 1, 1),
    "b": Type("b", 1, 1),
    "u": Type("u", 4, 4),
    "t": Type("t", 8, 8),
    "s": Type("s", 1, 0),
    "v": Type("v", 8, 0),
}


def decode(signature: str, data: bytes | memoryview) -> Any:
    """Parse `data` as one value. Raises NotNormal with the offset of what is wrong."""
    return _decode(parse_type(signature), bytes(data), 0, len(data), 0)


def tuple_spans(signature: str, data: Source) -> tuple[tuple[int, int], ...]:
    """First and last offset of each member of a tuple, without decoding the members: for values too large to copy.

    Args:
        data: bytes, or a mapped file.
    Raises NotNormal for wrong framing; what is inside the members is not looked at.
    """
    kind = parse_type(signature)
    if kind.code != "(":
        raise ValueError("only tuples have members")
    return tuple((first, last) for _, first, last in _members(kind, data, 0, len(data)))


def encode(signature: str, value: Any) -> bytes:
    """The normal form of `value`. Raises TypeError or ValueError for a value that does not fit the type."""
    return _encode(parse_type(signature), value)


@lru_cache(maxsize=256)
def parse_type(signature: str) -> Type:
    """Raises NotNormal unless `signature` is exactly one type of those ostree uses."""
    if len(signature) > MAX_SIGNATURE:
        raise NotNormal("type is too long", length=len(signature))
    parsed, end = _parse(signature, 0, 0)
    if end != len(signature):
        raise NotNormal("more than one type", signature=signature[:64])
    return parsed


def _parse(text: str, at: int, depth: int) -> tuple[Type, int]:
    if at >= len(text) or depth > MAX_DEPTH:
        raise NotNormal("type ends early or is too deep", signature=text[:64])
    code = text[at]
    if code in _BASIC:
        return _BASIC[code], at + 1
    if code == "a":
        element, end = _parse(text, at + 1, depth + 1)
        return Type("a", element.align, 0, (element,)), end
    closing = {"(": ")", "{": "}"}.get(code)
    if closing is None:
        raise NotNormal("unknown type", signature=text[:64], at=at)
    members = []
    at += 1
    while at < len(text) and text[at] != closing:
        member, at = _parse(text, at, depth + 1)
        members.append(member)
    if at >= len(text) or not members or (closing == "}" and len(members) != 2):
        raise NotNormal("malformed tuple or entry type", signature=text[:64])
    align = max(member.align for member in members)
    return Type(code, align, _fixed_size(members, align), tuple(members)), at + 1


def _fixed_size(members: list[Type], align: int) -> int:
    size = 0
    for member in members:
        if not member.fixed:
            return 0
        size = _up(size, member.align) + member.fixed
    return _up(size, align)


def _up(offset: int, align: int) -> int:
    return (offset + align - 1) & -align


def offset_width(size: int) -> int:
    """Bytes of a framing offset in a container of `size` bytes."""
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4 if size <= 0xFFFFFFFF else 8


def frame_width(body: int, count: int) -> int:
    """Smallest width with which `count` offsets fit behind `body` bytes."""
    for width in (1, 2, 4):
        if body + count * width < 1 << (8 * width):
            return width
    return 8


# -- reading ---------------------------------------------------------------------------------------------------------


def _decode(kind: Type, data: bytes, start: int, end: int, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotNormal("values are nested too deep", offset=start)
    if kind.fixed and end - start != kind.fixed:
        raise NotNormal("value has the wrong size", offset=start, expected=kind.fixed, found=end - start)
    code = kind.code
    if code == "y":
        return data[start]
    if code == "u" or code == "t":
        return int.from_bytes(data[start:end], "little")
    if code == "s":
        return _string(data, start, end)
    if code == "b":
        if data[start] > 1:
            raise NotNormal("boolean is neither 0 nor 1", offset=start)
        return bool(data[start])
    if code == "v":
        return _variant(data, start, end, depth)
    if code == "a":
        return _array(kind, data, start, end, depth)
    return _tuple(kind, data, start, end, depth)


def _string(data: bytes, start: int, end: int) -> str:
    if end <= start or data[end - 1] or data.find(b"\0", start, end - 1) >= 0:
        raise NotNormal("string is not terminated by its only NUL", offset=start)
    try:
        return data[start : end - 1].decode()
    except UnicodeDecodeError as error:
        raise NotNormal("string is not UTF-8", offset=start + error.start) from error


def _variant(data: bytes, start: int, end: int, depth: int) -> Variant:
    split = data.rfind(b"\0", start, end)
    if split < 0:
        raise NotNormal("variant has no type", offset=start)
    try:
        signature = data[split + 1 : end].decode("ascii")
    except UnicodeDecodeError as error:
        raise NotNormal("variant's type is not ASCII", offset=split + 1) from error
    return Variant(signature, _decode(parse_type(signature), data, start, split, depth + 1))


def _array(kind: Type, data: bytes, start: int, end: int, depth: int) -> Any:
    element = kind.members[0]
    if element.code == "y":
        return data[start:end]
    if element.fixed:
        if (end - start) % element.fixed:
            raise NotNormal("array does not divide into its elements", offset=start)
        spans: Iterator[tuple[int, int]] = ((at, at + element.fixed) for at in range(start, end, element.fixed))
    else:
        spans = _spans(element, data, start, end)
    values = [_decode(element, data, first, last, depth + 1) for first, last in spans]
    if element.code != "{":
        return tuple(values)
    found = dict(values)
    if len(found) != len(values):
        raise NotNormal("dictionary names a key twice", offset=start)
    return found


def _spans(element: Type, data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """First and last offset of each variable-size element."""
    size = end - start
    if not size:
        return
    width = offset_width(size)
    body = int.from_bytes(data[end - width : end], "little") if size >= width else size + 1
    if body >= size or (size - body) % width:
        raise NotNormal("array's framing offsets are wrong", offset=start)
    count = (size - body) // width
    if frame_width(body, count) != width:
        raise NotNormal("array's framing offsets are not of minimal width", offset=start)
    at = 0
    for number in range(count):
        place = start + body + number * width
        last = int.from_bytes(data[place : place + width], "little")
        first = _padded(data, start, at, element.align, body)
        if last < first or last > body:
            raise NotNormal("array's framing offsets are not in order", offset=place)
        yield start + first, start + last
        at = last


def _padded(data: Source, base: int, at: int, align: int, limit: int) -> int:
    """Skip the padding before an element; it must be zero and end within `limit`. Offsets are relative to `base`."""
    first = _up(at, align)
    if first > limit or any(data[base + at : base + first]):
        raise NotNormal("padding is not zero or leaves its container", offset=base + at)
    return first


def _tuple(kind: Type, data: bytes, start: int, end: int, depth: int) -> tuple[Any, ...]:
    places = _members(kind, data, start, end)
    return tuple(_decode(member, data, first, last, depth + 1) for member, first, last in places)


def _members(kind: Type, data: Source, start: int, end: int) -> Iterator[tuple[Type, int, int]]:
    """Type, first and last offset of each member of the tuple that is in `data` from `start` to `end`."""
    size = end - start
    width = offset_width(size)
    framed = sum(1 for member in kind.members[:-1] if not member.fixed)
    body = size - framed * width
    if body < 0 or (framed and frame_width(body, framed) != width):
        raise NotNormal("tuple's framing offsets are wrong", offset=start)
    at, frame = 0, end
    final = len(kind.members) - 1
    for number, member in enumerate(kind.members):
        first = _padded(data, start, at, member.align, body)
        if member.fixed:
            at = first + member.fixed
        elif number == final:
            at = body
        else:
            frame -= width
            at = int.from_bytes(data[frame : frame + width], "little")
        if not first <= at <= body:
            raise NotNormal("tuple's member leaves its container", offset=start + first)
        yield member, start + first, start + at
    if kind.fixed:
        at = _padded(data, start, at, kind.align, body)
    if at != body:
        raise NotNormal("tuple is followed by other bytes", offset=start + at)


# -- writing ---------------------------------------------------------------------------------------------------------


def _encode(kind: Type, value: Any) -> bytes:
    code = kind.code
    if code == "s":
        if "\0" in value:
            raise ValueError("a string may not hold NUL")
        return bytes(value.encode()) + b"\0"
    if code == "v":
        inner = parse_type(value.signature)
        body = _encode(inner, value.value)
        return body + b"\0" + str(value.signature).encode()
    if code == "a":
        return _encode_array(kind.members[0], value)
    if code in "({":
        return _encode_tuple(kind, value)
    return int(value).to_bytes(kind.fixed, "little")


def _encode_array(element: Type, value: Any) -> bytes:
    if element.code == "y":
        return bytes(value)
    items = value.items() if isinstance(value, dict) else value
    out = bytearray()
    ends = []
    for item in items:
        out += bytes(_up(len(out), element.align) - len(out))
        out += _encode(element, item)
        ends.append(len(out))
    if not element.fixed and ends:
        width = frame_width(len(out), len(ends))
        for end in ends:
            out += end.to_bytes(width, "little")
    return bytes(out)


def _encode_tuple(kind: Type, value: Any) -> bytes:
    if len(value) != len(kind.members):
        raise ValueError("a tuple has as many values as members")
    out = bytearray()
    ends = []
    for member, item in zip(kind.members, value, strict=True):
        out += bytes(_up(len(out), member.align) - len(out))
        out += _encode(member, item)
        if not member.fixed:
            ends.append(len(out))
    if kind.fixed:
        return bytes(out) + bytes(kind.fixed - len(out))
    if not kind.members[-1].fixed:
        ends.pop()
    width = frame_width(len(out), len(ends))
    for end in reversed(ends):
        out += end.to_bytes(width, "little")
    return bytes(out)
