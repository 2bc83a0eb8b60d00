"""Typing `smidgen delta` in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smidgen_client.cli import run


class Desk:
    """Types `smidgen delta`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def type_in(self, *words: object) -> tuple[int, str]:
        """Exit code and all output."""
        status = run(["delta", *map(str, words)])
        said = self._capsys.readouterr()
        return status, said.out + said.err

    def facts(self, *words: object) -> dict[str, Any]:
        status, said = self.type_in(*words, "--json")
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)
        return found
