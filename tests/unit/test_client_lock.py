"""The lock of a store: one holder at a time, and nothing left of a store that was not begun."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smidgen_client.state.lock import exclusive
from smidgen_deltas.errors import Conflict


class Failed(Exception):
    """What goes wrong while the lock is held."""


def fail(lock: Path) -> None:
    with pytest.raises(Failed), exclusive(lock, wait=False):
        raise Failed


def test_a_failure_leaves_no_folders_that_were_not_there(tmp_path: Path) -> None:
    fail(tmp_path / "repo/tmp/pull.smidgen/lock")
    assert not list(tmp_path.iterdir())
    (tmp_path / "repo").mkdir()
    fail(tmp_path / "repo/tmp/pull.smidgen/lock")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["repo"]


def test_a_failure_leaves_what_was_begun(tmp_path: Path) -> None:
    lock = tmp_path / "tree/.smidgen/lock"
    with pytest.raises(Failed), exclusive(lock, wait=False):
        (tmp_path / "tree/.smidgen/part").touch()
        raise Failed
    assert lock.exists()
    with pytest.raises(Failed), exclusive(lock, wait=False):
        raise Failed
    assert lock.exists()


def test_success_keeps_the_lock(tmp_path: Path) -> None:
    with exclusive(tmp_path / "tree/.smidgen/lock", wait=False):
        with pytest.raises(Conflict), exclusive(tmp_path / "tree/.smidgen/lock", wait=False):
            raise AssertionError
    assert (tmp_path / "tree/.smidgen/lock").exists()


def test_never_two_holders_while_the_lock_comes_and_goes(tmp_path: Path) -> None:
    lock, inside, wrong = tmp_path / "tree/.smidgen/lock", threading.Semaphore(1), []

    def work() -> None:
        for _ in range(200):
            try:
                with exclusive(lock, wait=True):
                    if not inside.acquire(blocking=False):
                        wrong.append("two")
                        continue
                    inside.release()
                    raise Failed
            except Failed:
                pass

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for _ in range(4)]:
            done.result()
    assert not wrong
