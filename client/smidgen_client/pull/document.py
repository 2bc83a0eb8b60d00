"""Getting a ref document that may be trusted.

Keys: those given by the user, else those kept for the server, else the ones it shows at first contact, kept from then
on.
An unchanged document is not sent again (ETag); one that is older than one seen before, or has expired, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from smidgen_client.names import RefName
from smidgen_client.progress import Progress
from smidgen_client.state.trust import SeenRef, Trust
from smidgen_client.transport.client import Transport
from smidgen_deltas.errors import SignatureInvalid
from smidgen_deltas.native.refdoc import MAX_DOCUMENT, RefDocument, check_freshness, decode_keys, verify

KEYS_PATH: Final = "u/keys.json"
Keys = Mapping[str, Ed25519PublicKey]


class WrongRef(SignatureInvalid):
    """A validly signed document, but of another ref than was asked for."""


def fetch_document(
    transport: Transport, trust: Trust, name: RefName, keys: Keys, progress: Progress, now: int
) -> RefDocument:
    """The verified, fresh document of a ref.

    Args:
        keys: pinned by the user for this server; empty to use those kept or shown.
        now: UTC seconds.
    Raises:
        SignatureInvalid, WrongRef, RollbackRefused: it must not be trusted. NotFound: there is no such ref.
    """
    server = transport.base_url
    trusted, how = _trusted(transport, trust, keys)
    seen = trust.seen(server, str(name))
    if seen is not None and not _holds(seen, trusted):
        seen = None
    if transport.bundle is not None:
        transport.bundle.head.verify(trusted, now)
    answer = transport.document(name.path, MAX_DOCUMENT, etag=seen.etag if seen else "")
    body = answer.body if answer else seen.document if seen else b""
    document = verify(body, trusted)
    if RefName(document.kind, document.repo, document.ref) != name:
        raise WrongRef("the document is of another ref", asked=str(name), got=f"{document.kind}/{document.repo}")
    check_freshness(document, seen_version=seen.version if seen else 0, now=now)
    if how:
        trust.keep(server, trusted, how=how, now=now)
        progress.say(
            f"from now on trusting keys {', '.join(sorted(trusted))} of {server} ({how})", keys=sorted(trusted)
        )
    if answer is not None:
        trust.accept(server, str(name), document, answer.etag, answer.body)
    return document


def _trusted(transport: Transport, trust: Trust, pinned: Keys) -> tuple[Keys, str]:
    """The keys to verify with, and how they came to be trusted when that is new (to be kept once one verifies)."""
    known = trust.keys(transport.base_url)
    if pinned:
        return pinned, "" if pinned.keys() == known.keys() else "pinned"
    if known:
        return known, ""
    answer = transport.document(KEYS_PATH, MAX_DOCUMENT)
    shown = decode_keys(answer.body) if answer else {}
    if not shown:
        raise SignatureInvalid("the server shows no keys, and none are known for it", server=transport.base_url)
    return shown, "first use"


def _holds(seen: SeenRef, keys: Keys) -> bool:
    """Whether the remembered document is signed by a key that is still trusted: else it is no reason for anything."""
    try:
        verify(seen.document, keys)
    except SignatureInvalid:
        return False
    return True
