"""Signing summaries: with the server's ed25519 keys, and with a GPG key through the gpg program."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from smidgen_deltas.errors import SettingsError
from smidgen_deltas.ostree import gvariant
from smidgen_deltas.ostree.gvariant import Variant

if TYPE_CHECKING:
    from smidgen_server.services.container import Services
    from smidgen_server.settings import OstreeSettings

GPG_SECONDS: Final = 60
GPG_KEY: Final = "ostree.gpgsigs"
ED25519_KEY: Final = "ostree.sign.ed25519"


def sign_summary(services: Services, body: bytes) -> bytes | None:
    """The `summary.sig` of a summary that this server made; None when nothing is set up to sign."""
    settings = services.settings.ostree
    found: dict[str, Variant] = {}
    if settings.gpg_key is not None:
        found[GPG_KEY] = Variant("aay", (_gpg(settings, settings.gpg_key, body),))
    if settings.sign_ed25519:
        found[ED25519_KEY] = Variant("aay", tuple(key.sign(body) for key in services.keys.signers()))
    return gvariant.encode("a{sv}", found) if found else None


def _gpg(settings: OstreeSettings, key: str, body: bytes) -> bytes:
    """A binary detached signature. Raises SettingsError when gpg does not make one."""
    home = ["--homedir", str(settings.gpg_home)] if settings.gpg_home else []
    command = ["gpg", *home, "--batch", "--no-tty", "--local-user", key, "--detach-sign", "--output", "-"]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=GPG_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError("gpg cannot be run", key=key, reason=str(error)) from error
    if done.returncode != 0 or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip()[:500]
        raise SettingsError("gpg did not sign the summary", key=key, reason=reason)
    return done.stdout
