"""The socket that the server listens on: given by systemd or a parent process, or opened here."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import SettingsError
from smidgen_server.settings import Settings

BACKLOG: Final = 1024
SOCKET_MODE: Final = 0o660  # a proxy in the server's group may connect
FIRST_ACTIVATED: Final = 3  # sd_listen_fds(3)


def open_socket(settings: Settings, *, fd: int | None, activated: int | None) -> socket.socket:
    """A listening socket.

    Args:
        fd: descriptor of one that is open already.
        activated: how many sockets systemd passed, None without socket activation.
    Raises:
        SettingsError: the address is taken or not ours, or the descriptor is no listening socket.
    """
    if activated is not None and activated != 1:
        raise SettingsError("exactly one socket must be passed", passed=activated)
    number = FIRST_ACTIVATED if activated else fd
    if number is not None:
        return _inherited(number)
    try:
        return _unix(settings.uds) if settings.uds else _tcp(settings.listen)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.uds or settings.listen}: {error.strerror or error}") from None


def host_port(listen: str) -> tuple[str, int]:
    """`HOST:PORT` and `[IPV6]:PORT`; an empty host is every address."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _inherited(number: int) -> socket.socket:
    try:
        found = socket.socket(fileno=number)
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise SettingsError("the descriptor is not a listening socket", fd=number)
    except OSError as error:
        raise SettingsError("the descriptor is not a socket", fd=number, reason=error.strerror) from None
    os.set_inheritable(number, False)
    return found


def _tcp(listen: str) -> socket.socket:
    host, port = host_port(listen)
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _unix(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()  # left by a server before; a live one would be found by the operator's own mistake only
    path.parent.mkdir(parents=True, exist_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.bind(str(path))
    path.chmod(SOCKET_MODE)
    found.listen(BACKLOG)
    return found
