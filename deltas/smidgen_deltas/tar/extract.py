"""Making files from tree entries and contents, beneath a directory handle.

Rules enforced here
 * no name leads out of the directory and no symlink is followed on the way (`beneath`)
 * a file gets its name only after its content was hashed and all its attributes were set; what had the name is
   replaced, never written through
 * what could not be restored (devices without root, attributes the file system lacks) is reported, not hidden
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from smidgen_deltas.errors import StorageError
from smidgen_deltas.tar.attributes import Attributes, Report
from smidgen_deltas.tar.beneath import WORK_MODE, Beneath, install, is_directory, remove
from smidgen_deltas.tar.entries import Entry
from smidgen_deltas.tar.erase import Eraser
from smidgen_deltas.tar.errors import TarCorrupt, TarLimit, UnsafePath
from smidgen_deltas.tar.filebody import write_content
from smidgen_deltas.tar.member import MemberType
from smidgen_deltas.tar.paths import show, split
from smidgen_deltas.tar.pieces import Content
from smidgen_deltas.tar.whiteout import WhiteoutKind, understand

OpenContent = Callable[[Content], Iterable[bytes]]
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICES: Final = frozenset({MemberType.CHAR, MemberType.BLOCK})
MAX_MAJOR: Final = (1 << 12) - 1  # of Linux
MAX_MINOR: Final = (1 << 20) - 1
_KINDS: Final = {MemberType.CHAR: stat.S_IFCHR, MemberType.BLOCK: stat.S_IFBLK}


@dataclass(frozen=True, slots=True)
class Options:
    """How to extract.

    Args:
        attributes: which attributes are restored; by default owners only as root.
        devices: make device nodes; by default only as root.
        whiteouts: apply whiteouts to what is in the directory, as for one layer on top of others. Otherwise a
            whiteout is refused: merged trees have none.
    """

    attributes: Attributes = field(default_factory=lambda: Attributes(owner=os.geteuid() == 0))
    devices: bool = field(default_factory=lambda: os.geteuid() == 0)
    whiteouts: bool = False


def extract(root: int, entries: Iterable[Entry], open_content: OpenContent, options: Options | None = None) -> Report:
    """Make all entries beneath an open directory; what is there already and not named stays.

    Args:
        root: handle of a directory (os.O_DIRECTORY), which stays open.
        entries: parents need not come first, nor at all; of entries with one path the last wins.
        open_content: the stored bytes of a content, in blocks; they are verified here.
    Raises:
        UnsafePath, TarLimit, TarCorrupt: an entry that may not, or cannot, be made. Entries before it were, and
            directories may be left with WORK_MODE.
        DigestMismatch, SizeMismatch: a content is not what it should be; its file was not made.
        StorageError: the file system refused.
    """
    with Beneath(root) as beneath:
        run = _Extraction(beneath, open_content, options or Options())
        for entry in entries:
            with _reporting(entry.path):
                run.place(entry)
        run.finish()
    return run.report


@contextmanager
def _reporting(path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            "cannot extract to the file system", path=show(path), reason=error.strerror or str(error)
        ) from error


@contextmanager
def _temporary(parent: int) -> Iterator[bytes]:
    """A name that is free; what has it afterwards is removed."""
    name = b".smidgen-" + secrets.token_hex(8).encode()
    try:
        yield name
    finally:
        remove(parent, name)


def _dangling(entry: Entry) -> TarCorrupt:
    return TarCorrupt("hard link to what is not a file", path=show(entry.path), target=show(entry.linkname))


class _Extraction:
    def __init__(self, beneath: Beneath, open_content: OpenContent, options: Options) -> None:
        self._beneath = beneath
        self._open_content = open_content
        self._options = options
        self._directories: dict[bytes, Entry] = {}
        self._absent: set[bytes] = set()
        self._eraser = Eraser(beneath)
        self.report = Report()

    def place(self, entry: Entry) -> None:
        whiteout = understand(entry.path)
        if whiteout.kind is WhiteoutKind.PLAIN:
            self._make(entry)
            return
        if not self._options.whiteouts:
            raise UnsafePath("whiteout in a tree that was merged already", path=show(entry.path))
        if whiteout.kind is not WhiteoutKind.IGNORE:
            self._eraser.apply(whiteout)
            self.report.made["whiteout"] += 1

    def _make(self, entry: Entry) -> None:
        parts = split(entry.path)
        if not parts:
            if entry.type is not MemberType.DIRECTORY:
                raise UnsafePath("root of the tree is not a directory", type=entry.type)
            self._directories[entry.path] = entry
            return
        parent = self._beneath.directory(parts[:-1], make=True)
        name = parts[-1]
        if entry.type is MemberType.DIRECTORY:
            self._directory(parent, name, entry)
        elif not self._node(parent, name, entry):
            self._absent.add(entry.path)
            self.report.skip("device" if entry.type in _DEVICES else "hard link to a device", entry.path)
            return
        self.report.made[entry.type] += 1
        if self._options.whiteouts:
            self._eraser.keep(parts)

    def _directory(self, parent: int, name: bytes, entry: Entry) -> None:
        """Make it writable for now; its own attributes come last, when nothing below changes any more."""
        if is_directory(parent, name):
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchmod(handle, WORK_MODE)
            finally:
                os.close(handle)
        else:
            remove(parent, name)
            os.mkdir(name, WORK_MODE, dir_fd=parent)
        self._directories.pop(entry.path, None)
        self._directories[entry.path] = entry

    def _node(self, parent: int, name: bytes, entry: Entry) -> bool:
        """Make anything but a directory; False when that is not possible here."""
        if entry.type is MemberType.HARDLINK:
            return self._hardlink(entry)
        with _temporary(parent) as temporary:
            if entry.type is MemberType.FILE:
                self._file(parent, temporary, entry)
            else:
                if entry.type is MemberType.SYMLINK:
                    os.symlink(entry.linkname, temporary, dir_fd=parent)
                elif not self._special(parent, temporary, entry):
                    return False
                self._options.attributes.to_name(parent, temporary, entry, self.report)
            install(parent, temporary, name)
        self._directories.pop(entry.path, None)
        return True

    def _special(self, parent: int, temporary: bytes, entry: Entry) -> bool:
        if entry.type is MemberType.FIFO:
            os.mkfifo(temporary, 0o600, dir_fd=parent)
            return True
        if not self._options.devices:
            return False
        if entry.devmajor > MAX_MAJOR or entry.devminor > MAX_MINOR:
            raise TarLimit("device number is out of range", path=show(entry.path))
        try:
            number = os.makedev(entry.devmajor, entry.devminor)
            os.mknod(temporary, 0o600 | _KINDS[entry.type], number, dir_fd=parent)
        except PermissionError:  # root of a container, or a mount without devices
            return False
        return True

    def _hardlink(self, entry: Entry) -> bool:
        if entry.linkname in self._absent:
            return False
        *above, target = split(entry.linkname) or (b".",)
        try:
            source = os.dup(self._beneath.directory(tuple(above), make=False))
        except FileNotFoundError as error:
            raise _dangling(entry) from error
        try:
            *beside, name = split(entry.path)
            parent = self._beneath.directory(tuple(beside), make=True)
            if is_directory(source, target):
                raise _dangling(entry)
            with _temporary(parent) as temporary:
                os.link(target, temporary, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
                install(parent, temporary, name)
        except FileNotFoundError as error:
            raise _dangling(entry) from error
        finally:
            os.close(source)
        self._directories.pop(entry.path, None)
        return True

    def _file(self, parent: int, temporary: bytes, entry: Entry) -> None:
        handle = os.open(temporary, _CREATE, 0o600, dir_fd=parent)
        try:
            if entry.content is not None:
                write_content(handle, entry, entry.content, self._open_content(entry.content))
                self.report.written += entry.content.size
            if entry.sparse is not None:
                os.ftruncate(handle, entry.size)
            self._options.attributes.to_handle(handle, entry, self.report)
        finally:
            os.close(handle)

    def finish(self) -> None:
        """Set what directories are to be in the end, the deepest first."""
        for path in sorted(self._directories, key=lambda path: path.count(b"/") + bool(path), reverse=True):
            entry = self._directories[path]
            with _reporting(path):
                try:
                    handle = self._beneath.directory(split(path), make=False)
                except (FileNotFoundError, UnsafePath):
                    continue  # replaced by a later entry
                self._options.attributes.to_handle(handle, entry, self.report)
