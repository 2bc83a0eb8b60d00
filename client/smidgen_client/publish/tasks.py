"""Waiting for what a server does in the background."""

from __future__ import annotations

from typing import Final

from smidgen_client.progress import Progress
from smidgen_client.publish.api import Api
from smidgen_deltas.errors import TransportError

FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0


class TaskFailed(TransportError):
    """The server could not do what it was asked for. Detail has its reason."""

    exit = 43
    hint = "The reason is the server's; nothing that was published before has changed."


def wait_for_task(api: Api, number: int, progress: Progress) -> None:
    """Return when the task is done. Raises TaskFailed."""
    wait, shown = FIRST_WAIT, 0
    counting = ""
    while True:
        task = api.call("GET", f"api/v1/tasks/{number}").json()
        if task.get("state") == "done":
            break
        if task.get("state") == "failed":
            raise TaskFailed("the server failed to publish", task=number, reason=str(task.get("error"))[:1000])
        done, unit = int(task.get("done") or 0), str(task.get("unit") or "")
        if unit and unit != counting:
            if counting:
                progress.end()
            progress.begin("server", int(task.get("total") or 0), "bytes" if unit.startswith("bytes") else unit)
            counting, shown = unit, 0
        if counting:  # before, nothing is counted yet
            progress.advance(max(done - shown, 0))
            shown = max(done, shown)
        api.clock.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)
    if counting:
        progress.end()
