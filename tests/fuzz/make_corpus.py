"""Write the seeds of the corpus: python -m fuzz.make_corpus. Inputs that fuzzing found lie beside them and stay."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.format_seeds import format_seeds
from fuzz.kernel_seeds import kernel_seeds
from fuzz.target import CORPUS
from fuzz.targets import TARGETS
from fuzz.unpack_seeds import unpack_seeds


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name of the seed, input."""
    yield from format_seeds()
    yield from kernel_seeds()
    yield from unpack_seeds()


def main() -> None:
    for target, name, data in seeds():
        assert target in TARGETS, target
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
