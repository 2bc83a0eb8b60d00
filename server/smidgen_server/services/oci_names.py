"""Grammar of the registry: repository names, tags, references (distribution-spec, "Pulling manifests")."""

from __future__ import annotations

import re
from typing import Final

from smidgen_deltas.digest import Digest
from smidgen_server.services.oci_errors import NameInvalid, TagInvalid

_PART: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
NAME: Final = rf"{_PART}(?:/{_PART})*"
MAX_NAME: Final = 255
_NAME: Final = re.compile(NAME)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


def check_name(name: str) -> str:
    """The name itself. Raises NameInvalid."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise NameInvalid("not a repository name", name=name[:300])
    return name


def check_tag(tag: str) -> str:
    """The tag itself. Raises TagInvalid."""
    if not _TAG.fullmatch(tag):
        raise TagInvalid("not a tag", tag=tag[:300])
    return tag


def parse_reference(text: str) -> Digest | str:
    """A digest, or else a tag. Raises DigestInvalid, TagInvalid."""
    return Digest.parse(text) if ":" in text else check_tag(text)
