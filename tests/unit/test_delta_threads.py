"""Several threads rebuild targets: the same files, the same errors, and no more memory than was allowed."""

from __future__ import annotations

import io
import lzma
import random
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smidgen_client.cli import run
from smidgen_deltas.engine import coding
from smidgen_deltas.engine.workers import AHEAD, Work
from smidgen_deltas.errors import DigestMismatch, FormatError, LimitExceeded, SmidgenError
from support.delta_trees import Memory, apply_delta, delta_of, tree_of
from support.small_delta import DELTA, FRAMES, HEADER, forged, new_store, verify_finished

MUCH = 1 << 40
SPARES = pytest.mark.parametrize("spare", [0, 1 << 20, MUCH])


class Meter:
    """Jobs that know what is in work beside them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[int] = []
        self.beside = 0
        self.done: list[int] = []

    def job(self, number: int, needs: int) -> Callable[[], None]:
        def work() -> None:
            with self._lock:
                self._held.append(needs)
                self.beside = max(self.beside, sum(self._held) - max(self._held))
            sum(range(20_000))
            with self._lock:
                self._held.remove(needs)
                self.done.append(number)

        return work


@pytest.mark.parametrize("spare", [0, 5, 30, MUCH])
def test_targets_share_the_memory_that_is_allowed(spare: int) -> None:
    meter, draw = Meter(), random.Random(spare)
    with ThreadPoolExecutor(4) as executor:
        work = Work(executor, spare)
        for number in range(200):
            needs = draw.choice((0, 1, 3, 10, 40))
            work.run(number, needs, meter.job(number, needs), long=draw.random() < 0.8)
            if number % 40 == 39:
                with work.beside(draw.choice((1, 25))):
                    pass
                assert len(meter.done) == number + 1
        work.settle()
    assert sorted(meter.done) == list(range(200))
    assert meter.beside <= spare


def test_the_first_error_in_order_of_targets_is_told_when_all_are_finished() -> None:
    meter, second = Meter(), threading.Event()

    def fails(error: SmidgenError, before: threading.Event | None) -> Callable[[], None]:
        def work() -> None:
            if before is not None:
                assert before.wait(60)
            else:
                second.set()
            raise error

        return work

    with ThreadPoolExecutor(4) as executor:
        work = Work(executor, MUCH)
        work.run(0, 1, meter.job(0, 1))
        work.run(1, 1, fails(DigestMismatch("the first"), second))
        work.run(2, 1, fails(FormatError("the second"), None))
        work.run(3, 1, meter.job(3, 1))
        with pytest.raises(DigestMismatch, match="the first"):
            work.settle()
        assert sorted(meter.done) == [0, 3]


def test_only_what_a_target_needs_is_waited_for() -> None:
    meter, go = Meter(), threading.Event()
    with ThreadPoolExecutor(2) as executor:
        work = Work(executor, MUCH)
        work.run(0, 1, meter.job(0, 1))
        work.run(1, 1, lambda: None if go.wait(60) else pytest.fail("was waited for"))
        work.wait(frozenset({0}))
        assert meter.done == [0]
        go.set()
        work.settle()


def changed_modules() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Files of which some are encoded again, some patched, some copied; more than are ahead at a time."""
    draw = random.Random(7)
    old = {f"file{number}": draw.randbytes(3000 + 500 * number) for number in range(3 * AHEAD)}
    new = {f"new{name}": body[:700] + b"changed" + body[700:] for name, body in old.items()}
    packed = {f"{name}.xz": lzma.compress(body, check=lzma.CHECK_CRC32) for name, body in list(new.items())[:6]}
    before = {f"{name}.xz": lzma.compress(body, check=lzma.CHECK_CRC32) for name, body in list(old.items())[:6]}
    return old | {f"new{name}": body for name, body in before.items()}, new | packed


@SPARES
def test_the_result_is_the_same(spare: int) -> None:
    files, later = changed_modules()
    old, _ = tree_of(files)
    new, _ = tree_of(later)
    delta, _ = delta_of([old], new, "fast")
    one, several = (tree_of(files)[1] for _ in range(2))
    apply_delta(delta, one)
    apply_delta(delta, several, spare)
    assert several.bodies == one.bodies
    assert sorted(several.finished) == sorted(one.finished)


def outcome(delta: bytes, memory: Memory, spare: int | None) -> object:
    try:
        apply_delta(delta, memory, spare)
    except SmidgenError as error:
        return type(error), str(error)
    return "applied"


@SPARES
def test_damage_is_told_as_by_one_thread(spare: int) -> None:
    draw = random.Random(11)
    for _ in range(60):
        number = draw.randrange(len(FRAMES))
        parts = [bytearray(part) for part in coding.unpack(FRAMES[number], HEADER.frames[number].raw).parts()]
        chosen = draw.choice([part for part in parts if part])
        for _ in range(draw.randrange(1, 4)):
            chosen[draw.randrange(len(chosen))] = draw.randrange(256)
        frame = coding.pack(coding.Streams(*map(bytes, parts)), coding.Effort("fast"))
        damaged = forged(number, frame, sum(map(len, parts)))
        one, several = new_store(), new_store()
        assert outcome(damaged, several, spare) == outcome(damaged, one, None)
        verify_finished(several)


def test_truncation_leaves_nothing_in_work() -> None:
    memory = new_store()
    with pytest.raises(SmidgenError):
        apply_delta(DELTA[:-1], memory, MUCH)
    verify_finished(memory)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with the tars `old` and `new`, and the delta between them."""
    for name, files in zip(("old", "new"), changed_modules(), strict=True):
        with tarfile.open(tmp_path / name, "w") as tar:
            for path, body in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    words = [str(tmp_path / name) for name in ("old", "new")]
    assert run(["delta", "make", "--effort", "fast", *words, "-o", str(tmp_path / "delta")]) == 0
    return tmp_path


def apply_to(folder: Path, *words: str) -> int:
    return run(
        ["delta", "apply", str(folder / "delta"), "--from", str(folder / "old"), "-o", str(folder / "out"), *words]
    )


@pytest.mark.parametrize("words", [(), ("--jobs", "1"), ("--jobs", "3"), ("--jobs", "3", "--max-memory", "1G")])
def test_the_command_rebuilds_with_any_number_of_threads(pair: Path, words: tuple[str, ...]) -> None:
    assert apply_to(pair, *words) == 0
    assert (pair / "out").read_bytes() == (pair / "new").read_bytes()


def test_the_command_refuses_what_needs_more_memory_than_is_allowed(pair: Path) -> None:
    assert apply_to(pair, "--max-memory", "1000") == LimitExceeded.exit
    assert sorted(path.name for path in pair.iterdir()) == ["delta", "new", "old"]
