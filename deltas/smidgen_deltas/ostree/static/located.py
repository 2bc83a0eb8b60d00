"""Errors that say where: what is deep inside does not know which part and object it works for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from smidgen_deltas.errors import FormatError, IntegrityError, NotFound


@contextlib.contextmanager
def located(**where: object) -> Iterator[None]:
    """Add `where` to the detail of errors about the input that come from inside, unless they know it themselves."""
    try:
        yield
    except (FormatError, IntegrityError, NotFound) as error:
        for name, value in where.items():
            error.detail.setdefault(name, value)
        raise
