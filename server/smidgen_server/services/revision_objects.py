"""ostree objects of published revisions, as a maker of static deltas reads them: from tree documents and contents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from smidgen_deltas.digest import Digest
from smidgen_deltas.errors import NotFound, UsageError
from smidgen_deltas.native.tree import ContentRef, OstreeTree, decode_tree
from smidgen_deltas.ostree.objects import FileHeader, ObjectName, ObjectType
from smidgen_deltas.ostree.repo import FileObject, verified
from smidgen_server.blobs.base import BlobReader
from smidgen_server.index import content
from smidgen_server.index.base import Index
from smidgen_server.index.surface import Revision
from smidgen_server.services.contents import locate, read_content
from smidgen_server.services.delta_cost import read_part


class RevisionObjects:
    """All objects of some revisions. For several threads."""

    def __init__(self, index: Index, blobs: BlobReader, revisions: Iterable[Revision]) -> None:
        self._index, self._blobs = index, blobs
        self._metadata: dict[ObjectName, bytes] = {}
        self._files: dict[bytes, tuple[FileHeader, ContentRef | None]] = {}
        for one in revisions:
            self._add(decode_tree(read_part(blobs, one.tree)))
        with index.read() as session:
            wanted = {found.sha256 for _, found in self._files.values() if found}
            self._ids = content.ids(session, wanted)

    def _add(self, tree: OstreeTree | object) -> None:
        if not isinstance(tree, OstreeTree):
            raise UsageError("a static delta leads from one ostree commit to another")
        kinds = (
            (ObjectType.COMMIT, (tree.commit,)),
            (ObjectType.DIRTREE, tree.dirtrees),
            (ObjectType.DIRMETA, tree.dirmetas),
        )
        for kind, bodies in kinds:
            self._metadata |= {ObjectName(kind, Digest.of(body).raw): body for body in bodies}
        headers = [FileHeader.decode(header) for header in tree.headers]
        for one in tree.files:
            found = tree.contents[one.content] if one.content >= 0 else None
            self._files[one.checksum] = headers[one.header], found

    def metadata(self, name: ObjectName) -> bytes:
        """A dirtree, dirmeta or commit. Raises NotFound."""
        body = self._metadata.get(name)
        if body is None:
            raise NotFound("no revision here has the object", object=str(name))
        return body

    @contextlib.contextmanager
    def open_file(self, checksum: bytes) -> Iterator[FileObject]:
        """A file object; nothing of it is read before its chunks are. Raises NotFound; chunks raise ContentLost too."""
        name = ObjectName(ObjectType.FILE, checksum)
        if checksum not in self._files:
            raise NotFound("no revision here has the object", object=str(name))
        header, found = self._files[checksum]
        size = found.size if found else 0
        yield FileObject(header, size, verified(name, header, self._read(found)))

    def _read(self, found: ContentRef | None) -> Iterator[bytes]:
        if found is not None:
            number = self._ids[found.sha256]
            yield from read_content(self._blobs, locate(self._index, [number])[number])
