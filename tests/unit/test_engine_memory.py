"""What bounds memory in the engine: the gate for encoders, scratch files for large streams, frames for devices."""

from __future__ import annotations

import io
import mmap
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from smidgen_deltas.engine import coding
from smidgen_deltas.engine.frames import Coded, FrameWriter
from smidgen_deltas.engine.gate import SMALL, Gate
from smidgen_deltas.engine.make import make
from smidgen_deltas.engine.profile import FULL, parse_profile
from smidgen_deltas.engine.scratch import HELD, collect, gather, spool
from smidgen_deltas.errors import LimitExceeded, SizeMismatch, UsageError
from smidgen_deltas.native.delta import Cpu
from smidgen_deltas.native.delta_ops import Whole
from support.delta_trees import apply_delta, split_delta, tree_of

MIB = 1 << 20
NOISE = random.Random(7).randbytes(5 * MIB)


def test_the_gate_lets_through_what_fits_together() -> None:
    gate, order = Gate(100 * MIB), []
    first, second = threading.Event(), threading.Event()

    def work(name: str, size: int, mine: threading.Event) -> None:
        with gate.hold(size):
            order.append(name)
            assert mine.wait(60)

    with ThreadPoolExecutor(3) as executor:
        jobs = [executor.submit(work, "large", 300 * MIB, first)]
        while not order:
            threading.Event().wait(0.01)
        jobs.append(executor.submit(work, "waits", 60 * MIB, second))
        with gate.hold(SMALL):  # at once
            assert order == ["large"]
        first.set()
        second.set()
        for job in jobs:
            job.result(60)
    assert order == ["large", "waits"]


def test_large_streams_lie_in_files() -> None:
    small, large = collect([b"ab", b"c"]), collect([NOISE[:HELD], NOISE[HELD:]])
    assert small == b"abc" and isinstance(large, memoryview) and isinstance(large.obj, mmap.mmap)
    assert large == NOISE and gather([NOISE], len(NOISE)) == NOISE and spool(NOISE) == NOISE
    assert spool(large) is large
    for wrong in (len(NOISE) - 1, len(NOISE) + 1, 10):
        with pytest.raises(SizeMismatch):
            gather([NOISE], wrong)


@pytest.mark.parametrize("effort", ["fast", "default", "best"])
@pytest.mark.parametrize("quick", [False, True])
def test_frames_come_back_whatever_the_codec(effort: str, quick: bool) -> None:  # noqa: FBT001
    streams = coding.Streams(b"ops", b"", bytes(HELD + 100), b"extra" * 9, NOISE[:70_000])
    stored = coding.pack(streams, coding.Effort(effort, quick, 18))
    assert [bytes(part) for part in coding.unpack(stored, 1 << 24).parts()] == [bytes(one) for one in streams.parts()]
    assert sum(coding.stored_sizes(stored, 1 << 24).values()) <= len(stored)
    with pytest.raises(LimitExceeded):
        coding.unpack(stored, HELD)


def test_the_dictionary_is_one_that_the_device_has_memory_for() -> None:
    text = b"".join(b"%d %d\n" % (number, number * number) for number in range(60_000))
    held, _ = coding.Effort("best", dictionary=16).unpacking(coding.Streams(b"", b"", text, b"", b""))
    assert held == len(text) + (1 << 16)
    assert coding.Effort("best").log(len(text)) > 16


def test_a_frame_is_closed_when_it_is_full() -> None:
    out = io.BytesIO()
    with ThreadPoolExecutor(1) as executor:
        writer = FrameWriter(out, "fast", parse_profile("full,memory=16M"), executor)  # full at 1 MiB
        for start in range(0, 3 * MIB, MIB // 2):
            writer.add(Coded(Whole(), literal=NOISE[start : start + MIB // 2]))
        writer.finish()
    assert [info.targets for info in writer.infos] == [2, 2, 2]
    assert sum(info.size for info in writer.infos) == len(out.getvalue())
    assert MIB < writer.all_needs().memory < 8 * MIB


def test_what_a_profile_allows_is_what_the_delta_declares() -> None:
    """Also where one file alone has more than all: it comes in parts."""
    old, store = tree_of({"a": NOISE[:1000]})
    new, _ = tree_of({"a": NOISE[:1001], "large": NOISE * 4, "text": NOISE.hex().encode()})
    for memory in (24, 32, 64):
        out = io.BytesIO()
        with ThreadPoolExecutor(2) as executor:
            make([old], new, out, "fast", executor, profile=parse_profile(f"full,memory={memory}M"))
        header, _ = split_delta(out.getvalue())
        assert header.memory <= memory * MIB
        apply_delta(out.getvalue(), store)


def test_profiles_are_read_and_refused() -> None:
    found = parse_profile("desktop,cpu=light,memory=96M,codec=zstd,without=xz,without=gzip")
    assert (found.cpu, found.memory, found.quick) == (Cpu.LIGHT, 96 * MIB, True)
    assert not found.allows("xz", Cpu.NONE, 0) and not found.allows("zip", Cpu.HEAVY, 0)
    assert found.allows("zip", Cpu.LIGHT, 96 * MIB) and not found.allows("zip", Cpu.LIGHT, 96 * MIB + 1)
    assert parse_profile("full,saves=300K").saves == 300 << 10
    assert parse_profile("full") is FULL
    for wrong in ("", "huge", "full,memory=lots", "full,cpu=some", "full,speed=3", "full,without=", "full,saves=0"):
        with pytest.raises(UsageError):
            parse_profile(wrong)
