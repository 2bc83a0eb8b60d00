"""Run the official conformance suite of distribution-spec against a server of our own: `make conformance-official`.

Needs Go. The suite is fetched through the Go module proxy at a fixed version and built below --cache; it is asked for
everything the next version of the specification adds ("dev"), with a login, and must report no failure and nothing
left out. Its own reports (report.html, junit.xml, results.yaml) go to --results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from smidgen_server.logs import configure  # noqa: E402
from support.server import RunningServer, run_server  # noqa: E402  (the line above makes it importable)

MODULE: Final = "github.com/opencontainers/distribution-spec/conformance"
VERSION: Final = "v0.0.0-20260831232431-97274622c111"


def build(cache: Path) -> Path:
    """Install the suite's program; Go finds by itself that there is nothing to do."""
    environment = {**os.environ, "GOBIN": str(cache.absolute()), "GOFLAGS": "-mod=mod"}
    subprocess.run(["go", "install", f"{MODULE}@{VERSION}"], env=environment, check=True)
    return cache.absolute() / "conformance"


def run(program: Path, server: RunningServer, results: Path) -> int:
    """Returns the suite's exit status; it prints a summary of each part."""
    environment = {
        **os.environ,
        "OCI_REGISTRY": server.host,
        "OCI_TLS": "disabled",
        "OCI_USERNAME": "conformance",
        "OCI_PASSWORD": server.token,
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(results.absolute()),
        "OCI_CONFIGURATION": os.devnull,
    }
    return subprocess.run([str(program)], env=environment, cwd=results).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(".smidgen/go"))
    parser.add_argument("--results", type=Path, default=Path(".smidgen/conformance"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    program = build(arguments.cache)
    configure("error")
    with tempfile.TemporaryDirectory() as data, run_server(Path(data) / "data") as server:
        return run(program, server, arguments.results)


if __name__ == "__main__":
    sys.exit(main())
