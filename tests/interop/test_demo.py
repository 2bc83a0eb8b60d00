"""`make demo` without a network: says so, and goes the whole way with a tree made on the spot."""

from __future__ import annotations

import os
import re
import subprocess
import sys

ROW = re.compile(r"(ostree commit|OCI image), (from nothing|update) +([\d,]+) +([\d,]+) +([\d,]+) .* (verified)$", re.M)


def test_without_a_network_the_demo_says_so_and_still_shows_its_table() -> None:
    away = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "smidgen_benchmarks.demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **away})
    assert done.returncode == 0, done.stderr
    assert "no network, or no such package" in done.stdout
    assert "using a small tree made on the spot instead" in done.stdout
    rows = {
        (what, how): [int(number.replace(",", "")) for number in rest[:3]]
        for what, how, *rest in ROW.findall(done.stdout)
    }
    assert len(rows) == 4, done.stdout
    for what in ("ostree commit", "OCI image"):
        files, full, fetched = rows[what, "update"]
        assert files > 100
        assert fetched < full / 20
