"""The system's trusted certificates, read when the first connection over TLS is made.

Reading them takes longer than a small document over a local link, and a server that is named by http:// needs them only
where it redirects to https://.
"""

from __future__ import annotations

import ssl
from typing import Any, Self

import httpx2


class SystemTrust(ssl.SSLContext):
    """A context for `httpx2.Client(verify=...)`. By itself it trusts nobody: what it does not pass on fails."""

    _protocols: list[str]
    _loaded: ssl.SSLContext | None

    def __new__(cls) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._protocols, made._loaded = [], None
        return made

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        self._protocols = list(alpn_protocols)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self._real().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._real().wrap_bio(*arguments, **options)

    def _real(self) -> ssl.SSLContext:
        if self._loaded is None:
            self._loaded = httpx2.create_ssl_context()
        self._loaded.set_alpn_protocols(self._protocols)
        return self._loaded
