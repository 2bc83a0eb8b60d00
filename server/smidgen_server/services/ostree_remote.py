"""A remote archive repository as a source of objects, over HTTP."""

from __future__ import annotations

from pathlib import Path

from smidgen_deltas.errors import UnsupportedFeature
from smidgen_deltas.ostree.config import parse_config
from smidgen_deltas.ostree.filez import read_filez_header
from smidgen_deltas.ostree.objects import MAX_METADATA, ObjectName, ObjectType, check_metadata, loose_path
from smidgen_deltas.ostree.refs import parse_ref_file
from smidgen_server.services.ostree_check import CheckedFile, check_filez
from smidgen_server.services.remote import Body, Remote

MODE = "archive"
MAX_SMALL = 1 << 20  # config, refs


class RemoteSource:
    """See `ostree_source.ObjectSource`. A file that arrives damaged is fetched again before it is given up."""

    def __init__(self, remote: Remote, connections: int) -> None:
        self._remote = remote
        self.threads = connections

    def check_mode(self) -> None:
        """Raise UnsupportedFeature unless the remote is an archive repository, the only mode that is served."""
        config = self._remote.optional("config", MAX_SMALL)
        if config is not None and (mode := parse_config(config).mode) != MODE:
            raise UnsupportedFeature("only archive repositories can be mirrored", mode=mode)

    def summary(self) -> tuple[bytes | None, bytes | None]:
        """The summary and its signature, each None where there is none. Signature first, as stock clients ask: a
        summary that changes in between is newer than its signature, and is found out by whoever verifies it."""
        signature = self._remote.optional("summary.sig", MAX_METADATA)
        return self._remote.optional("summary", MAX_METADATA), signature

    def ref(self, name: str) -> bytes:
        """The commit of a branch. Raises RemoteMissing."""
        return parse_ref_file(self._remote.required(f"refs/heads/{name}", MAX_SMALL), name)

    def metadata(self, kind: ObjectType, checksum: bytes) -> bytes:
        name = ObjectName(kind, checksum)

        def check(body: Body) -> bytes:
            data = body.whole(MAX_METADATA)
            check_metadata(name, data)
            return data

        return self._remote.fetch(loose_path(name, MODE), check)

    def file(self, checksum: bytes, scratch: Path) -> CheckedFile:
        def check(body: Body) -> CheckedFile:
            header, size = read_filez_header(body)
            return check_filez(checksum, header, size, body, scratch)

        return self._remote.fetch(loose_path(ObjectName(ObjectType.FILE, checksum), MODE), check)

    def detached(self, commit: bytes) -> bytes | None:
        return self._remote.optional(loose_path(ObjectName(ObjectType.COMMITMETA, commit), MODE), MAX_METADATA)
