"""Every error class has a documented exit code, an HTTP status, a code and advice."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import smidgen_benchmarks
import smidgen_client
import smidgen_deltas
import smidgen_server
from smidgen_deltas.errors import SmidgenError

PAGE = Path(__file__).parent.parent.parent / "client" / "EXIT-CODES.md"
PACKAGES = (smidgen_deltas, smidgen_client, smidgen_server, smidgen_benchmarks)


def every_error() -> list[type[SmidgenError]]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, waiting = [], [SmidgenError]
    while waiting:
        error = waiting.pop()
        found.append(error)
        waiting.extend(error.__subclasses__())
    return found


def documented() -> set[int]:
    return {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("error", every_error(), ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_error_is_in_the_table(error: type[SmidgenError]) -> None:
    assert error.exit in documented()
    assert 400 <= error.status < 600
    assert re.fullmatch(r"[A-Z_]+", error.code)
    assert len(error.hint) > 10
    assert (error.__doc__ or "").strip()


def test_no_code_is_documented_in_vain() -> None:
    assert documented() == {error.exit for error in every_error()} | {0, 130}
