"""tar-diff: the format read and written to the letter; what is wrong is refused by name before anything comes out."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from smidgen_deltas import zstd
from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import (
    DigestMismatch,
    FormatError,
    LimitExceeded,
    NotFound,
    SmidgenError,
    StorageError,
    UnsupportedFeature,
)
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tardiff.apply import apply_delta, check
from smidgen_deltas.tardiff.make import make_delta
from smidgen_deltas.tardiff.old_files import Folder, SourceMissing
from smidgen_deltas.tardiff.old_tree import LONGEST, OldTree, deployed_path
from smidgen_deltas.tardiff.operations import (
    MAX_ADDED,
    MAX_FRAME,
    MAX_NUMBER,
    Add,
    Copy,
    Data,
    Dictionary,
    Open,
    Operation,
    OperationsInvalid,
    Seek,
    decode,
    encode,
)
from smidgen_deltas.tardiff.stream import TardiffInvalid, magic, read_operations, write_operations
from smidgen_deltas.tardiff.verify import DeltaWrong, prove
from smidgen_deltas.wire import varint
from support.tars import END, GNU, header, member

OLD = {b"a": b"0123456789", b"b/c": bytes(range(256))}
EVERY: list[Operation] = [
    Data(b"head"),
    Open(b"a"),
    Copy(3),
    Add(b"\1\xff\0"),
    Seek(9),
    Copy(1),
    Open(b"b/c"),
    Seek(250),
    Copy(6),
    Data(b""),
    Copy(0),
    Seek(256),
]
RESULT = b"head012" + bytes((ord("3") + 1, ord("4") - 1, ord("5"))) + b"9" + bytes(range(250, 256))
FRAME = zstd.compress(b"from nothing " * 9)
RAW = b"".join(piece for operation in EVERY for piece in map(bytes, encode(operation)))


def opened(path: bytes) -> bytes:
    if path not in OLD:
        raise SourceMissing("an old file is missing", path=repr(path))
    return OLD[path]


def packed(raw: bytes, version: int = 1) -> bytes:
    return magic(version) + zstd.compress(raw)


def applied(delta: bytes, expected: Digest | None = None) -> bytes:
    sink = BytesIO()
    apply_delta(BytesIO(delta), opened, sink, expected)
    return sink.getvalue()


def test_operations_are_the_bytes_that_the_format_says() -> None:
    spelled = [
        (Data(b"xy"), b"\0\2xy"),
        (Open(b"a/b"), b"\1\3a/b"),
        (Copy(300), b"\2\xac\2"),
        (Add(b"\7"), b"\3\1\7"),
        (Seek(0), b"\4\0"),
        (Dictionary(b"zz"), b"\5\2zz"),
    ]
    for operation, expected in spelled:
        assert b"".join(map(bytes, encode(operation))) == expected
    stream = b"".join(expected for _, expected in spelled)
    for size in (1, 2, len(stream)):
        blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
        found = list(decode(blocks, 2))
        assert [at for at, operation in found if isinstance(operation, Seek)] == [stream.index(b"\4\0")]
        assert b"".join(bytes(piece) for _, one in found if isinstance(one, Data) for piece in [one.data]) == b"xy"


def test_every_operation_is_carried_out() -> None:
    assert applied(packed(RAW)) == RESULT
    file = BytesIO()
    assert write_operations(file, EVERY) == len(file.getvalue())
    assert applied(file.getvalue(), Digest.of(RESULT)) == RESULT
    facts = check(BytesIO(file.getvalue()), opened)
    assert (facts.size, facts.sources, facts.literal, facts.added, facts.copied) == (len(RESULT), 2, 4, 3, 10)


def test_what_is_written_suits_every_applier() -> None:
    """One frame with a window of at most 128 MiB and no dictionary: libzstd's own limits take it."""
    file = BytesIO()
    write_operations(file, EVERY, 19, workers=2)
    frame = file.getvalue()[8:]
    assert zstd.frame_size(frame) == len(frame)
    decoder = zstd.Decompressor()
    assert decoder.decompress(frame) == RAW
    assert decoder.eof


def test_paths_are_cleaned_as_stock_appliers_do() -> None:
    for spelling in (b"a", b"/a", b"./a", b"//./a"):
        assert applied(packed(bytes((1, len(spelling))) + spelling + b"\2\1")) == b"0"


@pytest.mark.parametrize(
    ("raw", "error", "at"),
    [
        pytest.param(b"\0\1x\6\0", OperationsInvalid, 3, id="unknown kind"),
        pytest.param(b"\5" + varint(len(FRAME)) + FRAME, OperationsInvalid, 0, id="dictionary in version 1"),
        pytest.param(b"\0\1x\2\1", OperationsInvalid, 3, id="copy before open"),
        pytest.param(b"\3\1x", OperationsInvalid, 0, id="add before open"),
        pytest.param(b"\4\0", OperationsInvalid, 0, id="seek before open"),
        pytest.param(b"\0\5xy", OperationsInvalid, 0, id="data ends early"),
        pytest.param(b"\1\5a", OperationsInvalid, 0, id="path ends early"),
        pytest.param(b"\1\1a\3\2x", OperationsInvalid, 3, id="added bytes end early"),
        pytest.param(b"\1\1a\2", OperationsInvalid, 3, id="number missing"),
        pytest.param(b"\1\1a\2\x80", OperationsInvalid, 3, id="number ends early"),
        pytest.param(b"\1\1a\2" + b"\xff" * 9 + b"\1", OperationsInvalid, 3, id="number over 63 bits"),
        pytest.param(b"\1\1a\2" + b"\x80" * 10 + b"\0", OperationsInvalid, 3, id="number of eleven bytes"),
        pytest.param(b"\1\1a\2\x0b", OperationsInvalid, 3, id="copy beyond the end"),
        pytest.param(b"\1\1a\4\x09\3\2xy", OperationsInvalid, 5, id="add beyond the end"),
        pytest.param(b"\1\1a\4" + varint(MAX_NUMBER) + b"\2\1", OperationsInvalid, 13, id="far beyond the end"),
        pytest.param(b"\1\0", OperationsInvalid, 0, id="no path"),
        pytest.param(b"\1\1.", OperationsInvalid, 0, id="the folder itself"),
        pytest.param(b"\1\4../a", UnsafePath, 0, id="upward"),
        pytest.param(b"\1\6b/../a", UnsafePath, 0, id="upward within"),
        pytest.param(b"\1\3a\0b", UnsafePath, 0, id="NUL"),
        pytest.param(b"\1\1z\2\1", SourceMissing, None, id="missing source"),
        pytest.param(b"\1" + varint(5000) + b"a" * 5000, LimitExceeded, 0, id="long path"),
        pytest.param(b"\1\1a\3" + varint(MAX_ADDED + 1), LimitExceeded, 3, id="much added at once"),
    ],
)
def test_damaged_operations_are_refused_before_any_output(raw: bytes, error: type[SmidgenError], at: int) -> None:
    sink = BytesIO()
    with pytest.raises(error) as caught:
        apply_delta(BytesIO(packed(b"\0\5first" + raw)), opened, sink)
    assert caught.value.detail.get("at") == (None if at is None else at + 7)
    assert sink.getvalue() == b""


@pytest.mark.parametrize(
    ("delta", "error"),
    [
        pytest.param(b"", TardiffInvalid, id="empty"),
        pytest.param(b"tardf1\n", TardiffInvalid, id="short magic"),
        pytest.param(b"tardf1\n\1" + zstd.compress(RAW), TardiffInvalid, id="magic"),
        pytest.param(b"tardf3\n\0" + zstd.compress(RAW), UnsupportedFeature, id="version"),
        pytest.param(magic(1), zstd.ZstdInvalid, id="no frame"),
        pytest.param(packed(RAW)[:-1], zstd.ZstdInvalid, id="cut"),
        pytest.param(packed(RAW) + b"x", zstd.ZstdInvalid, id="more bytes"),
        pytest.param(packed(RAW) + zstd.compress(b"\0\0"), zstd.ZstdInvalid, id="second frame"),
        pytest.param(magic(1) + b"\x50\x2a\x4d\x18\0\0\0\0" + packed(RAW)[8:], FormatError, id="skippable frame"),
        pytest.param(magic(1) + b"\x28\xb5\x2f\xfd\x00\xff" + bytes(9), zstd.ZstdInvalid, id="huge window"),
    ],
)
def test_damaged_files_are_refused_before_any_output(delta: bytes, error: type[SmidgenError]) -> None:
    sink = BytesIO()
    with pytest.raises(error):
        apply_delta(BytesIO(delta), opened, sink)
    assert sink.getvalue() == b""


def test_every_cut_and_every_changed_byte_is_refused_or_harmless() -> None:
    """Below the frame there is no digest, so the caller's finds what still can be carried out."""
    for at in range(len(RAW)):
        for raw in (RAW[:at], RAW[:at] + bytes((RAW[at] ^ 0x81,)) + RAW[at + 1 :]):
            try:
                assert applied(packed(raw), Digest.of(RESULT)) == RESULT
            except (FormatError, NotFound, DigestMismatch):
                continue


def test_the_promised_digest_decides() -> None:
    with pytest.raises(DigestMismatch):
        applied(packed(RAW), Digest.of(b"other"))


def test_the_tar_is_bounded() -> None:
    with pytest.raises(LimitExceeded):
        check(BytesIO(packed(b"\1\1a" + b"\2\x0a\4\0" * 20)), opened, limit=199)
    with pytest.raises(LimitExceeded):
        list(read_operations(BytesIO(packed(bytes(2) * 600)), limit=1000))


def test_version_2_reads_frames_over_the_whole_source() -> None:
    raw = b"\1\3b/c\5" + varint(len(FRAME)) + FRAME + b"\2\0"
    assert applied(packed(raw, 2)) == b"from nothing " * 9
    with pytest.raises(OperationsInvalid):
        applied(packed(raw + b"\2\1", 2))  # the source is at its end
    with pytest.raises(OperationsInvalid):
        applied(packed(b"\1\1a\5\4abcd", 2))
    with pytest.raises(LimitExceeded):
        applied(packed(b"\1\1a\5" + varint(MAX_FRAME + 1), 2))


def test_a_folder_is_never_left(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    root = tmp_path / "old"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"content")
    (root / "empty").touch()
    (root / "link").symlink_to("../outside")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    with Folder(root) as folder:
        assert bytes(folder.open(b"d/file")) == b"content"
        assert bytes(folder.open(b"empty")) == b""
        for path, error in {
            b"link": StorageError,
            b"up/outside": UnsafePath,
            b"../outside": UnsafePath,
            b"pipe": SourceMissing,
            b"d": SourceMissing,
            b"none/file": SourceMissing,
        }.items():
            with pytest.raises(error):
                folder.open(path)
    with pytest.raises(StorageError):
        Folder(tmp_path / "absent")


def tree(*tars: bytes) -> OldTree:
    found = OldTree()
    for tar in tars:
        found.add(tar)
    return found


def test_sources_are_what_extraction_leaves() -> None:
    low = (
        header(b"usr/", 0, b"5")
        + header(b"lib", 0, b"2", linkname=b"usr")
        + member(b"usr/kept", b"kept")
        + member(b"usr/replaced", b"old")
        + member(b"usr/removed", b"removed")
        + member(b"usr/secret", b"secret", mode=0o600)
        + member(b"dir/below", b"below")
        + END
    )
    high = (
        member(b"lib/replaced", b"new")
        + member(b"usr/.wh.removed")
        + member(b"dir/.wh..wh..opq")
        + header(b"lib/hard", 0, b"1", linkname=b"usr/kept")
        + END
    )
    found = {file.path: (bytes(file.data), file.names) for file in tree(low, high).files()}
    assert found == {b"usr/kept": (b"kept", (b"usr/kept", b"usr/hard")), b"usr/replaced": (b"new", (b"usr/replaced",))}


def test_hard_links_to_objects_are_opened_where_the_applier_finds_them() -> None:
    """In an image of a booted system a file's bytes are in the repository; only its own name is there on the device."""
    name = b"sysroot/ostree/repo/objects/aa/" + b"b" * 62 + b".file"
    tar = member(name, b"content") + header(b"usr/bin/tool", 0, b"1", linkname=name) + END
    assert [file.path for file in tree(tar).files()] == [name]
    assert [file.path for file in tree(tar).files(deployed_path)] == [b"usr/bin/tool"]


@pytest.mark.parametrize("path", [b"run/lock", b"tmp/file", b"dev/node", b"usr/share/\xff"])
def test_what_a_deployed_system_has_not_is_no_source_there(path: bytes) -> None:
    tar = member(path, b"content") + member(b"usr/run/file", b"other") + END
    assert [file.path for file in tree(tar).files()] == [path, b"usr/run/file"]
    assert [file.path for file in tree(tar).files(deployed_path)] == [b"usr/run/file"]


def test_a_source_has_a_path_that_appliers_can_open() -> None:
    """By another of its names, if there is a shorter one."""
    short, long = (b"/".join([b"d" * 60] * 40)[:size] for size in (LONGEST, LONGEST + 1))

    def named(path: bytes, kind: bytes = b"L") -> bytes:
        return member(b"././@LongLink", path + b"\0", kind, magic=GNU)

    assert [file.path for file in tree(named(short) + member(b"cut", b"content") + END).files()] == [short]
    far = named(long) + member(b"cut", b"content")
    assert list(tree(far + END).files()) == []
    near = named(long, b"K") + header(b"near", 0, b"1", linkname=b"cut")
    assert [file.path for file in tree(far + near + END).files()] == [b"near"]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\1" + varint(4097) + b"a" * 4097, id="path"),
        pytest.param(b"\1\1a\3" + varint(MAX_ADDED + 1), id="added bytes"),
    ],
)
def test_the_guard_refuses_what_stock_appliers_do(raw: bytes) -> None:
    old = member(b"a", b"0123456789") + END
    with pytest.raises(LimitExceeded) as refused:
        prove(BytesIO(packed(raw)), [old], b"")
    assert refused.value.detail["size"] == refused.value.detail["limit"] + 1


def test_a_made_delta_is_proven_before_it_is_given_away() -> None:
    old = member(b"a", b"0123456789" * 50) + END
    new = member(b"a", b"0123456789" * 49 + b"987654321x") + END
    file = BytesIO()
    with ThreadPoolExecutor(1) as executor:
        make_delta([old], new, file, executor)
    prove(file, [old], new)
    with pytest.raises(DeltaWrong):
        prove(file, [old], new[:-1])
    with pytest.raises(SourceMissing):
        prove(file, [member(b"b", b"x") + END], new)
