from collections.abc import Iterable

class CorrectionsInvalid(Exception): ...

class Rebuilder:
    def __init__(
        self,
        parameters: dict[str, int],
        builder: int,
        joined: bool,
        final_apart: bool,
        period: int,
        anew: bool,
        segments: Iterable[int],
        corrections: bytes,
    ) -> None: ...
    def feed(self, data: bytes | memoryview) -> bytes: ...
    def finish(self) -> bytes: ...
