"""Journals of one node: files that a thread writes and fsyncs, and tails in memory.

    DATA/journals/NODE/lock                      held while the node runs
    DATA/journals/NODE/SHARD.GENERATION.journal
    /dev/shm/keepline-ID-{0,1}                   the tails of the journal with this id

The lock is what makes an earlier life's journal readable: its process is gone, so it acknowledges
nothing any more.
"""

import contextlib
import fcntl
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cluster.io.process import boot_id, host_id
from cluster.journal import BadJournal, Left, begins, newest, read_journal, tail_begins, tails
from cluster.journaling import generation

TAILS = Path("/dev/shm")
"""A tmpfs: what is written there needs no disk and outlives the process, not the host."""
MODES = ("async", "sync", "off")
LOCK = "lock"
SUFFIX = ".journal"
BEGIN_BYTES = 8_192
"""The first frame is within these."""
FS_IOC_GETVERSION = 0x80087601
"""ioctl(2): how often this inode number has been used, more or less (linux/fs.h)."""
OLD_S = 3_600
"""A tail whose journal is gone is kept for so long: its disk may be away for a while."""


class JournalTaken(OSError):
    """Another process keeps these journals; the text is the one line a person needs."""


class Folder:
    """The folder of one node's journals. `take` it first; `storage` writes into it."""

    def __init__(self, path: Path, *, tails: Path = TAILS) -> None:
        self.path = path
        self.tails = tails
        self._lock = -1

    def take(self) -> None:
        """Be the only process that keeps journals here. JournalTaken, OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 64, 0).decode(errors="replace").strip()
            os.close(lock)
            who = f"process {holder}" if holder else "another process"
            raise JournalTaken(f"{self.path}: {who} is this node already; stop it first") from None
        except OSError:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def release(self) -> None:
        """May be called again."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def files(self, shard: str) -> list[Path]:
        """The shard's journals, oldest first."""
        try:
            found = [
                path
                for path in self.path.iterdir()
                if path.suffix == SUFFIX and path.stem.rpartition(".")[0] == shard
            ]
        except OSError:
            return []
        return sorted(found, key=lambda path: generation(path.name))

    def begun(self, path: Path) -> str:
        """The id of this journal; "": it was not begun here. OSError."""
        with path.open("rb") as file:
            begin = begins(file.read(BEGIN_BYTES))
            # The tails of what a file was copied from belong to somebody else.
            return begin.id if begin and begin.place == _place(file.fileno()) else ""

    def sweep(self, older_s: float = OLD_S) -> None:
        """Remove tails that nobody uses: their journals were deleted with their folder."""
        for tail in self.tails.glob("keepline-*"):
            with contextlib.suppress(OSError):
                stat = tail.lstat()
                if stat.st_uid != os.geteuid() or time.time() - stat.st_mtime < older_s:
                    continue
                with tail.open("rb") as file:
                    head = tail_begins(file.read(BEGIN_BYTES))
                if head is not None and not Path(head[0].home).exists():
                    tail.unlink()

    def newest(self, shard: str, note: Callable[..., None]) -> Left | None:
        """What the shard's newest journal brings that brings anything."""
        found = [(path.name, partial(self.read, path)) for path in reversed(self.files(shard))]
        return newest(found, partial(note, shard=shard, folder=str(self.path)))

    def read(self, path: Path) -> Left | None:
        """What this journal brings; None: nothing yet. BadJournal."""
        try:
            with path.open("rb") as file:
                place = _place(file.fileno())
                disk = file.read()
        except OSError as error:
            raise BadJournal(_why(error)) from error
        return read_journal(disk, self._tails_of, place=place, boot_id=boot_id())

    def _tails_of(self, id: str) -> list[bytes | None]:
        return [self._tail(name) for name in tails(id)]

    def _tail(self, name: str) -> bytes | None:
        try:
            descriptor = os.open(self._tail_path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - by its descriptor
            return file.read() if os.fstat(descriptor).st_uid == os.geteuid() else None

    def _tail_path(self, name: str) -> Path:
        return self.tails / f"keepline-{name}"


def _place(descriptor: int) -> str:
    """Host and file: also a new file that got the number of a removed one is another."""
    version = bytes(8)
    with contextlib.suppress(OSError):  # not every filesystem counts them
        version = fcntl.ioctl(descriptor, FS_IOC_GETVERSION, version)
    inode = os.fstat(descriptor).st_ino
    return f"{host_id()}:{inode}:{int.from_bytes(version[:4], sys.byteorder)}"


class FileStorage:
    """`cluster.journaling.Storage`: one thread does in order what is asked of files."""

    def __init__(self, folder: Folder, call: Callable[[Callable[[], None]], object]) -> None:
        """`call`: run this on the node's loop, from any thread."""
        self._folder = folder
        self._call = call
        self.boot_id = boot_id()
        self.home = str(folder.path)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._files: dict[str, int] = {}  # the thread's own
        self._tails: dict[str, int] = {}
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End after what was asked so far. May be called again."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(timeout_s)
        for descriptor in self._tails.values():
            os.close(descriptor)
        self._tails.clear()

    # -- on the loop -------------------------------------------------------------------------------

    def name(self) -> str:
        return secrets.token_hex(8)

    def create(self, file: str, done: Callable[[str, str], None]) -> None:
        def work() -> None:
            try:
                place = self._create(file)
            except OSError as error:
                why = _why(error)
                self._call(lambda: done(why, ""))
            else:
                self._call(lambda: done("", place))

        self._jobs.put(work)

    def write(self, file: str, data: bytes, *, sync: bool, done: Callable[[str], None]) -> None:
        def work() -> None:
            why = ""
            try:
                self._write(file, data, sync=sync)
            except OSError as error:
                why = _why(error)
            self._call(lambda: done(why))

        self._jobs.put(work)

    def remove(self, file: str) -> None:
        self._jobs.put(lambda: self._remove(file))

    def begin_tail(self, tail: str, data: bytes) -> None:
        # By its name each time: what somebody removed is there again.
        known = self._tails.pop(tail, -1)
        if known >= 0:
            os.close(known)
        path = self._folder._tail_path(tail)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._tails[tail] = descriptor = os.open(path, flags, 0o600)
        _write_all(descriptor, data)

    def add_tail(self, tail: str, data: bytes) -> None:
        _write_all(self._tails[tail], data)

    def remove_tails(self, tails: tuple[str, str]) -> None:
        for tail in tails:
            known = self._tails.pop(tail, -1)
            if known >= 0:
                os.close(known)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._folder._tail_path(tail).unlink()

    # -- on the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        for descriptor in self._files.values():
            os.close(descriptor)

    def _create(self, file: str) -> str:
        path = self._folder.path / file
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._files[file] = descriptor = os.open(path, flags, 0o600)
        _sync_folder(self._folder.path)
        return _place(descriptor)

    def _write(self, file: str, data: bytes, *, sync: bool) -> None:
        descriptor = self._files.get(file)
        if descriptor is None:
            raise FileNotFoundError(2, f"{file} was closed")
        _write_all(descriptor, data)
        if sync:
            os.fdatasync(descriptor)

    def _remove(self, file: str) -> None:
        descriptor = self._files.pop(file, None)
        if descriptor is not None:
            os.close(descriptor)
        with contextlib.suppress(OSError):  # nobody reads it: a newer one is whole
            (self._folder.path / file).unlink()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
