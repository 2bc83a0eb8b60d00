"""Tools that find the old version's chunks in the new one; what they would fetch is what they cost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smidgen_benchmarks.measure import StepFailed, Usage, run, size
from smidgen_benchmarks.service import free_port


@dataclass(frozen=True, slots=True)
class Zchunk:
    """zck: chunks of the new file that the old one has not; no patch file, so the cost is what it would fetch."""

    name: str = "zchunk"
    trees_only: bool = False

    def missing(self) -> str | None:
        return None if shutil.which("zck") and shutil.which("zck_delta_size") else "zchunk not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        before, after = delta.with_name(delta.name + ".old.zck"), delta.with_name(delta.name + ".new.zck")
        run(["zck", old, "-o", before])
        usage = run(["zck", new, "-o", after])
        run(["zck_delta_size", before, after], stdout=delta)
        before.unlink()
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:  # noqa: ARG002 - reuses chunks only over HTTP
        return run(["unzck", "-c", delta.with_name(delta.name + ".new.zck")], stdout=out)

    def cost(self, delta: Path) -> int:
        """`Would download X of Y bytes` is what the tool prints."""
        words = delta.read_text().replace(",", "").split()
        return int(words[words.index("download") + 1])


@dataclass(frozen=True, slots=True)
class Casync:
    """casync: chunks of the new file that the old one's store has not, and the index."""

    name: str = "casync"
    trees_only: bool = False

    def missing(self) -> str | None:
        return None if shutil.which("casync") else "casync not on the PATH"

    def make(self, old: Path, new: Path, delta: Path) -> Usage:
        store = delta.with_name(delta.name + ".castr")
        shutil.rmtree(store, ignore_errors=True)
        run(["casync", "make", f"--store={store}", delta.with_name(delta.name + ".old.caibx"), old])
        before = size(store)
        usage = run(["casync", "make", f"--store={store}", delta.with_name(delta.name + ".caibx"), new])
        index = delta.with_name(delta.name + ".caibx").stat().st_size
        delta.write_text(str(size(store) - before + index))
        return usage

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:
        store = delta.with_name(delta.name + ".castr")
        index = delta.with_name(delta.name + ".caibx")
        usage = run(["casync", "extract", f"--store={store}", f"--seed={old}", index, out])
        shutil.rmtree(store)
        return usage

    def cost(self, delta: Path) -> int:
        return int(delta.read_text())


@dataclass(frozen=True, slots=True)
class Zsync:
    """zsync: the control file, and what the client then fetches, over HTTP from an nginx of our own."""

    name: str = "zsync"
    trees_only: bool = False

    def missing(self) -> str | None:
        absent = [program for program in ("zsyncmake", "zsync") if shutil.which(program) is None]
        absent += [] if _nginx() else ["nginx"]
        return f"{', '.join(absent)} not on the PATH" if absent else None

    def make(self, old: Path, new: Path, delta: Path) -> Usage:  # noqa: ARG002 - the same for every old version
        site = _site(delta)
        site.mkdir()
        (site / "new").symlink_to(new.absolute())
        return run(["zsyncmake", "-u", "new", "-o", site / "new.zsync", site / "new"])

    def apply(self, old: Path, delta: Path, out: Path) -> Usage:
        site = _site(delta)
        with _serving(site) as url:
            usage = run(["zsync", "-i", old, "-o", out, f"{url}/new.zsync"], cwd=site, stdout=site / "told")
        found = re.search(rb"fetched (\d+)", (site / "told").read_bytes())
        if found is None:
            raise StepFailed(
                "zsync does not say what it fetched", told=(site / "told").read_text(errors="replace")[-500:]
            )
        delta.write_text(str(int(found[1]) + size(site / "new.zsync")))
        return usage

    def cost(self, delta: Path) -> int:
        return int(delta.read_text())


def _site(delta: Path) -> Path:
    return delta.with_name(delta.name + ".site")


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@contextlib.contextmanager
def _serving(site: Path) -> Iterator[str]:
    """A folder over HTTP with several ranges in one request, which zsync asks for. Yields the URL."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {site}/{kind};" for kind in kinds)
    user = "" if os.geteuid() else "user root;"  # the folder is ours alone
    (site / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {site}/pid; error_log {site}/log;\n"
        "events { worker_connections 64; }\n"
        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; root {site}; }} }}\n"
    )
    process = subprocess.Popen([str(_nginx()), "-c", str(site / "nginx.conf"), "-e", str(site / "log")])
    try:
        _wait(process, port, site / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """nginx opens its socket before anything else: connecting is refused for a moment only."""
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
    raise StepFailed("nginx did not start", output=log.read_text(errors="replace")[-500:])
