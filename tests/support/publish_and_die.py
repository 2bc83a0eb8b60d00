"""Run as a program: publish in this process and die by SIGKILL at the n-th word of progress (0: live).

python publish_and_die.py DATA SOURCE TARGET N
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from smidgen_server.publish import publish
from smidgen_server.services import ostree_store
from smidgen_server.services.container import open_services
from smidgen_server.settings import Settings

ostree_store.BLOB_BYTES = 100_000  # type: ignore[misc] # many small commits, so that there is much to lose
ostree_store.BATCH_OBJECTS = 8  # type: ignore[misc]
ostree_store.SETTLE_FILES = 4  # type: ignore[misc]


class Countdown:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, done: int, total: int, unit: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    data, source, target, steps = sys.argv[1:]
    with open_services(Settings(data=Path(data))) as services:
        publish(services, source, target, Countdown(int(steps)))


if __name__ == "__main__":
    main()
