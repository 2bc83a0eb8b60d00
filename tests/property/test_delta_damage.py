"""Damaged deltas: a typed error, or the right bytes; never anything else, and nothing unverified is finished."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen_deltas.engine import coding
from smidgen_deltas.errors import SmidgenError
from support.delta_trees import apply_delta, delta_of, file_of
from support.small_delta import DELTA, FRAMES, HEADER, forged, new_store, verify_finished


@given(st.data())
def test_any_flipped_byte_is_refused(data: st.DataObject) -> None:
    damaged = bytearray(DELTA)
    at = data.draw(st.integers(0, len(DELTA) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    memory = new_store()
    try:
        apply_delta(bytes(damaged), memory)
    except SmidgenError:
        pass
    else:
        raise AssertionError("a damaged delta was applied")
    verify_finished(memory)


@given(st.integers(0, len(DELTA) - 1))
def test_any_truncation_is_refused(end: int) -> None:
    memory = new_store()
    try:
        apply_delta(DELTA[:end], memory)
    except SmidgenError:
        pass
    else:
        raise AssertionError("a truncated delta was applied")
    verify_finished(memory)


@settings(max_examples=300)
@given(st.data())
def test_forged_streams_are_refused_or_harmless(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(FRAMES) - 1))
    streams = coding.unpack(FRAMES[number], HEADER.frames[number].raw)
    parts = [bytearray(part) for part in streams.parts()]
    chosen = data.draw(st.sampled_from([part for part in parts if part]))
    for _ in range(data.draw(st.integers(1, 3))):
        chosen[data.draw(st.integers(0, len(chosen) - 1))] = data.draw(st.integers(0, 255))
    frame = coding.pack(coding.Streams(*(bytes(part) for part in parts)), coding.Effort("fast"))
    memory = new_store()
    with contextlib.suppress(SmidgenError):
        apply_delta(forged(number, frame, sum(len(part) for part in parts)), memory)
    verify_finished(memory)


@given(st.binary(max_size=120))
def test_any_frame_bytes_are_decoded_within_bounds_or_refused(stored: bytes) -> None:
    try:
        streams = coding.unpack(stored, 1 << 16)
    except SmidgenError:
        return
    assert sum(len(part) for part in streams.parts()) <= 1 << 16


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.data())
def test_any_edit_of_a_file_round_trips(pieces: list[bytes], data: st.DataObject) -> None:
    old = b"".join(pieces) * data.draw(st.integers(1, 20))
    order = data.draw(st.permutations(pieces))
    new = b"".join(order) + data.draw(st.binary(max_size=50))
    before, memory = file_of(old)
    after, _ = file_of(new)
    delta, _ = delta_of([before], after, data.draw(st.sampled_from(["fast", "default", "best"])))
    assert memory.open(apply_delta(delta, memory).root) == new
