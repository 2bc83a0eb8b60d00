"""Where builds are computed: a standard Executor. Each build is contained in a process (`delta_worker`), anywhere.

`processes`: on this machine, so many at once as the setting `builds` says. The pool's own threads only watch processes;
`ProcessPoolExecutor` is not used because one dead child breaks all of its work, and running work cannot be cancelled.
`dask://HOST:PORT`: on the workers of a Dask cluster, which see the same database and blob store; `dask+tls://` with the
certificates of Dask's own configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from smidgen_deltas.errors import MissingExtra, SettingsError, StorageError
from smidgen_server.settings import Settings

Params = ParamSpec("Params")
Result = TypeVar("Result")
SCHEMES: Final = {"dask": "tcp", "dask+tls": "tls"}
CONNECT_SECONDS: Final = 10


class ExecutorUnavailable(StorageError):
    """The cluster does not answer."""

    status, hint = 503, "Check the setting `deltas.executor`, and that the Dask scheduler runs."


def check(settings: Settings) -> None:
    """Raises SettingsError when the builds could not see what they need."""
    if "://" in settings.deltas.executor and settings.database_url.startswith("sqlite"):
        raise SettingsError("deltas.executor: other machines need a database that they can reach, as PostgreSQL")


def open_executor(settings: Settings) -> Executor:
    """Raises MissingExtra, ExecutorUnavailable. Close it with `shutdown`."""
    scheme, separator, address = settings.deltas.executor.partition("://")
    if not separator:
        return ThreadPoolExecutor(settings.deltas.builds, thread_name_prefix="build")
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Dask needs the extra `cluster`: in the sources of smidgen, pip install '.[server,cluster]'"
        ) from error
    try:
        connect: Any = Client
        return _Cluster(connect(f"{SCHEMES[scheme]}://{address}", timeout=CONNECT_SECONDS, set_as_default=False))
    except (OSError, TimeoutError) as error:
        raise ExecutorUnavailable("the Dask scheduler does not answer", address=address) from error


class _Cluster(Executor):
    """Dask's Executor together with its connection. A build is not pure: asked for again, it is made again."""

    def __init__(self, client: Any) -> None:
        self._client, self._executor = client, client.get_executor(pure=False)

    def submit(self, fn: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs) -> Future[Result]:
        future: Future[Result] = self._executor.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - see Executor
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()
