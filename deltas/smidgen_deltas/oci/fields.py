"""Typed access to the members of a decoded JSON object. Absent and null are the same, as Go's encoders write them."""

from __future__ import annotations

from typing import Any, Final

from smidgen_deltas.errors import FormatError

MAX_SIZE: Final = (1 << 63) - 1


class ManifestInvalid(FormatError):
    """A manifest, index or config is JSON but not what its specification says. Detail names the member."""


class Fields:
    """One JSON object; `path` says where it stands in its document."""

    __slots__ = ("_members", "_path")

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise ManifestInvalid("not a JSON object", member=path or "document")
        self._members: dict[str, Any] = value
        self._path = path

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _wrong(self, key: str, wanted: str) -> ManifestInvalid:
        return ManifestInvalid(f"member is not {wanted}", member=self._name(key))

    def __contains__(self, key: str) -> bool:
        return self._members.get(key) is not None

    def text(self, key: str) -> str:
        """A string, "" when absent."""
        value = self._members.get(key)
        return "" if value is None else self._text(value, key)

    def required(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise ManifestInvalid("member is missing", member=self._name(key))
        return value

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise self._wrong(key, "Unicode text")
        return value

    def number(self, key: str) -> int:
        """An integer, 0 <= n < 2**63."""
        value = self._members.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
            raise self._wrong(key, "a size")
        return value

    def flag(self, key: str) -> bool:
        """A truth value, False when absent."""
        value = self._members.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._text(value, f"{key}[{at}]") for at, value in enumerate(self._list(key)))

    def _list(self, key: str) -> list[Any]:
        value = self._members.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "an array")
        return value

    def mapping(self, key: str) -> dict[str, str]:
        """A map of strings to strings, {} when absent."""
        value = self._members.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return {self._text(name, key): self._text(text, f"{key}.{name}") for name, text in value.items()}

    def object(self, key: str) -> Fields | None:
        value = self._members.get(key)
        return None if value is None else Fields(value, self._name(key))

    def objects(self, key: str) -> list[Fields]:
        return [Fields(value, self._name(f"{key}[{at}]")) for at, value in enumerate(self._list(key))]
