"""The `config` file of a repository, a GLib key file (INI)."""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from typing import Final

from smidgen_deltas.errors import FormatError, UnsupportedFeature

MAX_CONFIG: Final = 1 << 20
MODES: Final = ("archive", "bare", "bare-user", "bare-user-only", "bare-split-xattrs")
_STORED: Final = {"archive-z2": "archive"}


@dataclass(frozen=True, slots=True)
class Config:
    """What we need of a config. mode: one of MODES; sections: every key as text, for display and remotes."""

    mode: str
    collection_id: str | None = None
    sections: dict[str, dict[str, str]] = field(default_factory=dict)


def parse_config(data: bytes) -> Config:
    """Raises FormatError for damage, UnsupportedFeature for a version or mode that nobody here knows."""
    if len(data) > MAX_CONFIG:
        raise FormatError("repository config is too large", size=len(data))
    parser = configparser.RawConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    try:
        parser.read_string(data.decode())
    except (configparser.Error, UnicodeDecodeError) as error:
        raise FormatError("repository config is damaged", reason=str(error)[:200]) from error
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    core = sections.get("core", {})
    mode = _STORED.get(core.get("mode", ""), core.get("mode", "bare"))
    if core.get("repo_version", "1") != "1" or mode not in MODES:
        raise UnsupportedFeature(
            "repository of an unknown version or mode", version=core.get("repo_version"), mode=mode
        )
    return Config(mode, core.get("collection-id"), sections)


def format_config(mode: str) -> bytes:
    """The config of a new repository."""
    if mode not in MODES:
        raise UnsupportedFeature("unknown repository mode", mode=mode)
    stored = "archive-z2" if mode == "archive" else mode
    return f"[core]\nrepo_version=1\nmode={stored}\n".encode()
