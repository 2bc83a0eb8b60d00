"""GPG signatures of commits and summaries, checked by the program `gpgv`.

gpgv trusts exactly the keyrings it is given, never the user's own. Key and signature files lie in a folder made for one
call; the signed bytes go through a pipe.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smidgen_deltas.errors import FormatError, LimitExceeded, MissingExtra, SignatureInvalid

PROGRAM: Final = "gpgv"
SECONDS: Final = 60
MAX_KEYRING: Final = 16 << 20
_BEGIN: Final = b"-----BEGIN PGP "
_END: Final = b"-----END PGP "
_STATUS: Final = "[GNUPG:] "
_CRC_INIT, _CRC_POLY = 0xB704CE, 0x1864CFB


class GpgvMissing(MissingExtra):
    """The program gpgv is not installed."""

    hint = "Install gpgv (Debian package `gpgv`), or let the remote be verified by ed25519."


class ArmorInvalid(FormatError):
    """A keyring or signature in ASCII armor is damaged."""


@dataclass(frozen=True, slots=True)
class GpgSigner:
    """Who made a good signature. fingerprint: of the key or subkey; primary: of the key it belongs to."""

    fingerprint: str
    primary: str


def verify_gpg(signed: bytes, found: Iterable[bytes], keyrings: Collection[bytes]) -> GpgSigner:
    """Who of the owners of `keyrings` made one of the binary detached signatures `found` over `signed`.

    Args:
        keyrings: exported public keys, binary or armored.
    Raises SignatureInvalid when there is none, ArmorInvalid, LimitExceeded, GpgvMissing.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise GpgvMissing("GPG signatures cannot be checked without gpgv")
    tried = 0
    reason = "no signature"
    with tempfile.TemporaryDirectory(prefix="smidgen-gpgv-") as folder:
        command = [program, "--homedir", folder, "--status-fd", "1", *_keyrings(Path(folder), keyrings)]
        signature = Path(folder) / "signature"
        for data in found:
            tried += 1
            signature.write_bytes(data)
            signer, reason = _run([*command, str(signature), "-"], signed)
            if signer is not None:
                return signer
    raise SignatureInvalid("no GPG signature by a trusted key", signatures=tried, keyrings=len(keyrings), reason=reason)


def dearmor(data: bytes) -> bytes:
    """Binary form of all blocks of an armored file; data that is not armored comes back as it is.

    RFC 4880, 6.2: headers up to an empty line, base64, an optional checksum line. Raises ArmorInvalid.
    """
    if not data.lstrip().startswith(_BEGIN):
        return data
    out = []
    lines = iter(data.splitlines())
    for line in lines:
        if line.startswith(_BEGIN):
            out.append(_block(lines))
    return b"".join(out)


def _keyrings(folder: Path, keyrings: Collection[bytes]) -> list[str]:
    words = []
    for number, keyring in enumerate(keyrings):
        if len(keyring) > MAX_KEYRING:
            raise LimitExceeded("keyring is too large", size=len(keyring), limit=MAX_KEYRING)
        path = folder / f"{number}.gpg"
        path.write_bytes(dearmor(keyring))
        words += ["--keyring", str(path)]
    return words


def _run(command: list[str], signed: bytes) -> tuple[GpgSigner | None, str]:
    """Whoever made the one signature, if it is good; else gpgv's word for what is wrong."""
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    try:
        done = subprocess.run(command, input=signed, capture_output=True, timeout=SECONDS, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SignatureInvalid("gpgv could not be run", reason=str(error)) from error
    told = [line.removeprefix(_STATUS).split() for line in done.stdout.decode(errors="replace").splitlines()]
    facts = {words[0]: words[1:] for words in told if words}
    valid = facts.get("VALIDSIG", [])
    if done.returncode == 0 and "GOODSIG" in facts and valid:
        return GpgSigner(valid[0], valid[-1]), ""
    known = ("BADSIG", "REVKEYSIG", "EXPKEYSIG", "EXPSIG", "NO_PUBKEY", "ERRSIG", "NODATA")
    return None, next((word for word in known if word in facts), done.stderr.decode(errors="replace")[-200:].strip())


def _block(lines: Iterable[bytes]) -> bytes:
    """One armored block, its BEGIN line already read."""
    body: list[bytes] = []
    checksum = None
    headers = True
    for line in lines:
        line = line.strip()
        if line.startswith(_END):
            return _decoded(b"".join(body), checksum)
        if headers:
            headers = bool(line)
        elif line.startswith(b"="):
            checksum = line[1:]
        else:
            body.append(line)
    raise ArmorInvalid("armored block has no end")


def _decoded(text: bytes, checksum: bytes | None) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
        expected = int.from_bytes(base64.b64decode(checksum, validate=True), "big") if checksum is not None else None
    except (binascii.Error, ValueError) as error:
        raise ArmorInvalid("armored block is not base64", reason=str(error)) from error
    if expected is not None and expected != _crc24(data):
        raise ArmorInvalid("armored block does not match its checksum")
    return data


def _crc24(data: bytes) -> int:
    crc = _CRC_INIT
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= _CRC_POLY
    return crc
