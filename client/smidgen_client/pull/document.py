"""Getting a ref document that may be trusted.

Keys: those given by the user, else those kept for the server, else the ones it shows at first contact, kept from then
on. A bundle comes from the server whose keys signed it: one that the ref was had from before, where there is one, else
any that is known here; only a device that knows no keys at all keeps those that a bundle shows.
An unchanged document is not sent again (ETag). One that has expired is refused, and one that is older than one seen
before, wherever that came from: documents of one ref that the same keys sign are one series of versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from smidgen_client.names import RefName
from smidgen_client.progress import Progress
from smidgen_client.state.trust import SeenRef, Trust
from smidgen_client.transport.client import Transport
from smidgen_deltas.errors import RollbackRefused, SignatureInvalid
from smidgen_deltas.native.bundle import Bundle
from smidgen_deltas.native.refdoc import MAX_DOCUMENT, RefDocument, check_freshness, decode_keys, verify

KEYS_PATH: Final = "u/keys.json"
Keys = Mapping[str, Ed25519PublicKey]


class WrongRef(SignatureInvalid):
    """A validly signed document, but of another ref than was asked for."""


class UnknownSigner(SignatureInvalid):
    """A bundle of somebody else than whom the ref was had from."""

    hint = "If its keys are to be trusted, give them with --key or --trust-file."


@dataclass(frozen=True, slots=True)
class _Issuer:
    """Whose document is expected.

    Args:
        server: by which keys and versions are remembered.
        keys: to verify with. how: they came to be trusted, when that is new (to be kept once one verifies).
    """

    server: str
    keys: Keys
    how: str = ""


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
    ref = str(name)
    if transport.bundle is None:
        issuer = _server_issuer(transport, trust, keys)
    else:
        issuer = _bundle_issuer(transport, transport.bundle.head, trust, ref, keys, now)
    own = trust.seen(issuer.server, ref)
    if own is not None and not _holds(own, issuer.keys):
        own = None
    answer = transport.document(name.path, MAX_DOCUMENT, etag=own.etag if own else "")
    body = answer.body if answer else own.document if own else b""
    document = verify(body, issuer.keys)
    if RefName(document.kind, document.repo, document.ref) != name:
        raise WrongRef("the document is of another ref", asked=ref, got=f"{document.kind}/{document.repo}")
    seen = [one.version for one in trust.seen_anywhere(ref) if _holds(one, issuer.keys)]
    check_freshness(document, seen_version=max(seen, default=0), now=now)
    if issuer.how:
        trust.keep(issuer.server, issuer.keys, how=issuer.how, now=now)
        named = sorted(issuer.keys)
        progress.say(f"from now on trusting keys {', '.join(named)} of {issuer.server} ({issuer.how})", keys=named)
    if answer is not None:
        if own is None:
            trust.forget(issuer.server, ref)  # what no trusted key signs
        trust.accept(issuer.server, ref, document, answer.etag, answer.body)
    return document


def _server_issuer(transport: Transport, trust: Trust, pinned: Keys) -> _Issuer:
    server = transport.base_url
    known = trust.keys(server)
    if pinned:
        return _Issuer(server, pinned, "" if pinned.keys() == known.keys() else "pinned")
    if known:
        return _Issuer(server, known)
    answer = transport.document(KEYS_PATH, MAX_DOCUMENT)
    shown = decode_keys(answer.body) if answer else {}
    if not shown:
        raise SignatureInvalid("the server shows no keys, and none are known for it", server=server)
    return _Issuer(server, shown, "first use")


def _bundle_issuer(transport: Transport, head: Bundle, trust: Trust, ref: str, pinned: Keys, now: int) -> _Issuer:
    """Who signed a bundle, of those who may. Raises SignatureInvalid, RollbackRefused when it has expired."""
    servers = [] if pinned else trust.servers(ref)
    if not servers:
        issuer = _server_issuer(transport, trust, pinned)
        head.verify(issuer.keys, now)
        return issuer
    for server in servers:
        keys = trust.keys(server)
        try:
            head.verify(keys, now)
        except RollbackRefused:
            raise
        except SignatureInvalid:
            continue
        return _Issuer(server, keys)
    raise UnknownSigner("no key that is known for this ref has signed the bundle", ref=ref, servers=servers)


def _holds(seen: SeenRef, keys: Keys) -> bool:
    """Whether the remembered document is signed by a key that is still trusted: else it is no reason for anything."""
    try:
        verify(seen.document, keys)
    except SignatureInvalid:
        return False
    return True
