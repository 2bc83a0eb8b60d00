"""Names of static deltas and the lists of them, against what stock ostree wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.deltaindex import DeltaIndexInvalid, decode_index, encode_index, listed_deltas
from smidgen_deltas.ostree.deltaname import DeltaName, DeltaNameInvalid, from_base64, index_path, to_base64
from smidgen_deltas.ostree.gvariant import NotNormal, Variant
from support.ostree import FIRST, SECOND, unpack_archive_repo

CHECKSUMS = st.binary(min_size=32, max_size=32)
NAMES = st.builds(DeltaName, st.none() | CHECKSUMS, CHECKSUMS)
FULL, STEP = DeltaName(None, FIRST), DeltaName(FIRST, SECOND)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_archive_repo(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("name", [FULL, STEP])
def test_files_are_where_stock_ostree_puts_them(repo: Path, name: DeltaName) -> None:
    assert (repo / name.superblock).is_file()
    assert (repo / name.part(0)).is_file()
    assert (repo / index_path(name.target)).is_file()


@pytest.mark.parametrize("name", [FULL, STEP])
def test_stock_indexes_are_read_and_written_alike(repo: Path, name: DeltaName) -> None:
    body = (repo / index_path(name.target)).read_bytes()
    found = decode_index(body, name.target)
    assert found[name] == hashlib.sha256((repo / name.superblock).read_bytes()).digest()
    assert encode_index(found) == body


@given(NAMES)
def test_names_come_back(name: DeltaName) -> None:
    assert DeltaName.parse(str(name)) == name
    assert DeltaName.of_folder(name.folder) == name
    assert len(to_base64(name.target)) == 43
    assert from_base64(to_base64(name.target)) == name.target


@given(st.text(max_size=120))
def test_other_names_are_refused(text: str) -> None:
    for parse in (DeltaName.parse, DeltaName.of_folder, from_base64):
        with pytest.raises(DeltaNameInvalid):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        FIRST.hex().upper(),
        f"-{FIRST.hex()}",
        f"{FIRST.hex()}-",
        f"{FIRST.hex()}-{SECOND.hex()}-{FIRST.hex()}",
        f"{FIRST.hex()}\n",
        FULL.folder[:-1] + ("1" if FULL.folder[-1] != "1" else "2"),  # bits that no checksum has
        FULL.folder + "/superblock",
        FULL.folder.replace("deltas/", "deltas/../deltas/"),
        STEP.folder + "-" + to_base64(FIRST),
    ],
)
def test_almost_names_are_refused(text: str) -> None:
    for parse in (DeltaName.parse, DeltaName.of_folder):
        with pytest.raises(DeltaNameInvalid):
            parse(text)


@given(st.lists(st.none() | CHECKSUMS, unique=True, max_size=5), CHECKSUMS, CHECKSUMS)
def test_indexes_come_back_sorted(sources: list[bytes | None], target: bytes, digest: bytes) -> None:
    deltas = {DeltaName(source, target): digest for source in sources}
    body = encode_index(deltas)
    found = decode_index(body, target)
    assert found == deltas
    assert [name.source or b"" for name in found] == sorted(source or b"" for source in sources)
    assert encode_index(dict(reversed(deltas.items()))) == body


def test_an_index_of_another_commit_is_refused() -> None:
    with pytest.raises(DeltaIndexInvalid) as refused:
        decode_index(encode_index({STEP: bytes(32)}), FIRST)
    assert refused.value.detail["index"] == FIRST.hex()


@pytest.mark.parametrize(
    "listed",
    [
        Variant("s", "none"),
        Variant("a{sv}", {str(STEP): Variant("ay", bytes(31))}),
        Variant("a{sv}", {str(STEP): Variant("s", "x")}),
    ],
)
def test_lists_of_something_else_are_refused(listed: Variant) -> None:
    with pytest.raises(DeltaIndexInvalid):
        listed_deltas({"ostree.static-deltas": listed})


def test_no_list_means_no_deltas() -> None:
    assert decode_index(gvariant.encode("a{sv}", {}), FIRST) == {}


@given(st.data())
def test_damaged_indexes_are_refused_or_read_as_they_are(data: st.DataObject) -> None:
    body = bytearray(encode_index({FULL: bytes(32), DeltaName(SECOND, FIRST): bytes(32)}))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_index(bytes(body), FIRST)
    except (NotNormal, DeltaNameInvalid, DeltaIndexInvalid):
        return
    assert all(name.target == FIRST for name in found)
