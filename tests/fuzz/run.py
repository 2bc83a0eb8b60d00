"""Run fuzz targets for a fixed number of executions: python -m fuzz.run [--runs N] [TARGET...], or `make fuzz`

Each target runs in a process of its own under atheris (libFuzzer for Python), from its folder in `corpus`. Python code
is instrumented for coverage; kernels are not, they are reached by mutating the corpus and through the Python code. New
inputs that reach new code stay in build/fuzz, and so do inputs that broke a target: put those into `corpus`, where
tests/property/test_fuzz_corpus.py repeats them for ever, also on kernels built with sanitizers (`make asan`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import atheris

from fuzz.target import CORPUS, Target

FOUND: Final = Path(__file__).parents[2] / "build" / "fuzz"
DEFAULT_RUNS: Final = 10_000  # of all targets in about a minute of two idle cores
SECONDS: Final = 20  # most for one input; a hang is a finding
LONGEST: Final = 1 << 14  # bytes of an input
RESIDENT: Final = 700  # MiB
ADDRESSES: Final = 1 << 29  # bytes of address space beyond what is mapped when the targets have been loaded


def options(name: str, runs: int) -> list[str]:
    """Words for libFuzzer. It starts with its first folder, to which it adds."""
    folders = seeds, grown, broken = CORPUS / name, FOUND / name / "corpus", FOUND / name / "broken"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return [
        f"-runs={runs}", "-seed=1", f"-timeout={SECONDS}", f"-max_len={LONGEST}", f"-rss_limit_mb={RESIDENT}",
        f"-artifact_prefix={broken}/", str(grown), str(seeds),
    ]  # fmt: skip


def in_child(one: Target, runs: int) -> int:
    """Start fuzzing; returns the process. What it prints goes to build/fuzz/NAME/log."""
    words = options(one.name, runs)
    process = os.fork()
    if process:
        return process
    log = os.open(log_of(one.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES, mapped + ADDRESSES))
    atheris.Setup([one.name, *words], one.once)
    atheris.Fuzz()
    os._exit(1)  # Fuzz ends the process itself


def log_of(name: str) -> Path:
    return FOUND / name / "log"


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    runs: int
    seconds: float
    kept: bool


def fuzz(chosen: list[Target], runs: int) -> Iterator[Result]:
    """Run targets, as many at once as there are processors; results as they come."""
    waiting = list(reversed(chosen))
    running: dict[int, tuple[Target, int, float]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            one = waiting.pop()
            count = max(1, int(runs * one.share))
            running[in_child(one, count)] = one, count, time.monotonic()
        process, status = os.wait()
        one, count, started = running.pop(process)
        yield Result(one.name, count, time.monotonic() - started, status == 0)


def main() -> int:
    with atheris.instrument_imports(include=["smidgen_deltas"]), quiet():
        from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="TARGET", help="Default: all.")
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, help="Executions per target.")
    given = parser.parse_args()
    broken = 0
    for result in fuzz([TARGETS[name] for name in given.names or TARGETS], given.runs):
        verdict = "ok" if result.kept else "BROKEN"
        print(f"{result.name:26} {result.runs:8} runs {result.seconds:7.1f} s  {verdict}", flush=True)
        if not result.kept:
            broken += 1
            print(log_of(result.name).read_text(errors="replace")[-4000:], flush=True)
    print(f"{broken} targets broke a promise" if broken else "every target kept its promises")
    return 1 if broken else 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the line that atheris prints for each module."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        yield


if __name__ == "__main__":
    sys.exit(main())
