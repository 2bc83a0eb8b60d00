"""Applying a layer's whiteouts to a directory that holds the lower layers."""

from __future__ import annotations

import os

from smidgen_deltas.tar.beneath import Beneath, is_directory, remove
from smidgen_deltas.tar.errors import UnsafePath
from smidgen_deltas.tar.paths import split
from smidgen_deltas.tar.whiteout import Whiteout, WhiteoutKind

Parts = tuple[bytes, ...]


class Eraser:
    """Removes what whiteouts name, but nothing that the same layer made, in whichever order they come."""

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath
        self._kept: set[Parts] = set()

    def keep(self, parts: Parts) -> None:
        """Remember what this layer made; the directories above it stay as well."""
        while parts and parts not in self._kept:
            self._kept.add(parts)
            parts = parts[:-1]

    def apply(self, whiteout: Whiteout) -> None:
        """Remove a path, or all below it. Nothing happens when it is not there, or only behind a symlink."""
        parts = split(whiteout.target)
        try:
            if whiteout.kind is WhiteoutKind.CLEAR:
                self._clear(parts)
            else:
                self._remove(parts)
        except (FileNotFoundError, UnsafePath):
            return
        finally:
            self._beneath.forget()

    def _remove(self, parts: Parts) -> None:
        parent = self._beneath.directory(parts[:-1], make=False)
        if parts not in self._kept:
            remove(parent, parts[-1])
        elif is_directory(parent, parts[-1]):
            self._clear(parts)

    def _clear(self, parts: Parts) -> None:
        handle = self._beneath.directory(parts, make=False)
        with os.scandir(handle) as found:
            names = [os.fsencode(one.name) for one in found]
        for name in names:
            self._remove((*parts, name))
