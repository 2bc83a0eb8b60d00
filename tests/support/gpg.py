"""A throw-away GPG key."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GpgKey:
    """`home` holds the secret key; `public` is a file with the public one."""

    home: Path
    identity: str
    public: Path


@contextmanager
def make_key(home: Path, identity: str = "tester@example.org") -> Iterator[GpgKey]:
    """`home` must be short: the agent's socket is in it."""
    home.mkdir(mode=0o700)
    base = ["gpg", "--homedir", str(home), "--batch", "--no-tty"]
    made = [*base, "--passphrase", "", "--quick-generate-key", identity, "ed25519", "sign", "never"]
    subprocess.run(made, check=True, capture_output=True)
    public = home / "public.asc"
    with public.open("wb") as file:
        subprocess.run([*base, "--export", identity], check=True, stdout=file)
    try:
        yield GpgKey(home, identity, public)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
