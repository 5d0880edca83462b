"""Keeps the journal of one copy of a shard: what is written where, and when.

"Written" means, before the member acknowledges a batch:

- `sync`: it is on the disk, an fsync after it has returned. The acknowledgement waits for that.
- else: it is in memory that outlives this process (a tail: a file in a tmpfs). Writing there waits
  for no disk. What is in the tails follows to the file every FLUSH_MS, and an fsync every FSYNC_MS.

So without `sync` a journal lacks nothing of what its member acknowledged as long as the host was
not restarted: its tails go with the memory, and without both of them nobody can say what it lacks.
When that can no longer be kept up, because the disk is full, fails or is slower than the log, the
tails are removed *first* and then the member goes on without: a journal never claims too much. It
begins anew with a checkpoint after RETRY_MS. With `sync` a member that cannot write stops
acknowledging instead, and the shard goes on without it.

A checkpoint is all records as of a commit index. It goes into a new file, in pieces, while the old
file is continued; with its last piece come the batches since, and from there on the new file is the
journal. At any moment one of the two is whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from cluster.journal import MAGIC, Base, Begin, Entry, Facts, Kept, Part, begin_tail, frame, tails
from cluster.log import EVERYTHING, Log, pack
from cluster.messages import Batch

FLUSH_MS = 200
FSYNC_MS = 1_000
PART_RECORDS = 400
COMPACT_BYTES = 4 << 20
"""A journal that grew by so much, and by COMPACT_TIMES its checkpoint, begins anew with one."""
COMPACT_TIMES = 4
QUEUE_BYTES = 8 << 20
"""More than this cannot wait for the disk: the journal is given up until RETRY_MS have passed."""
STALL_MS = 1_000
"""With `sync`: an fsync that takes longer is as good as an error."""
RETRY_MS = 10_000
SLOW = "the disk is slower than the calls"


class Storage(Protocol):
    """Where journals lie. What is asked of files is done in that order, later; never at once."""

    @property
    def boot_id(self) -> str: ...

    @property
    def home(self) -> str:
        """Where the files are."""

    def name(self) -> str:
        """A new one, random."""

    def create(self, file: str, done: Callable[[str, str], None]) -> None:
        """A new file on the disk: what went wrong ("": nothing), and its place."""

    def write(self, file: str, data: bytes, *, sync: bool, done: Callable[[str], None]) -> None:
        """Append, and fsync if `sync`; then tell what went wrong ("": nothing)."""

    def remove(self, file: str) -> None: ...

    def begin_tail(self, tail: str, data: bytes) -> None:
        """Replace what is in it, at once. OSError."""

    def add_tail(self, tail: str, data: bytes) -> None:
        """Append at once. OSError."""

    def remove_tails(self, tails: tuple[str, str]) -> None:
        """At once."""


@dataclass(slots=True)
class File:
    """One file of the journal."""

    name: str
    id: str
    member: str
    number: int = 0
    """Of the next frame."""
    size: int = 0
    checkpoint: int = 0
    """Size of its checkpoint."""
    tail: int = 0
    """Which one is written now."""
    has_tails: bool = False
    queue: list[bytes] = field(default_factory=list)
    queued: int = 0
    """Bytes in the queue."""
    queued_ms: int = 0
    """Since when the oldest of them waits."""
    writing: bool = False
    writing_ms: int = 0
    is_dirty: bool = False
    """Something was written and not yet fsynced."""
    synced_ms: int = 0

    @property
    def tails(self) -> tuple[str, str]:
        return tails(self.id)

    def put(self, entry: Entry) -> bytes:
        data = frame(self.number, entry)
        self.number += 1
        self.size += len(data)
        return data


@dataclass(slots=True)
class Checkpoint:
    """All records, on their way into a new file."""

    file: File
    birth: int
    seq: int
    epoch: int
    records: int
    parts: Iterator[tuple[str, bytes]]


class Keeper(Protocol):
    """What a member needs of its journal."""

    @property
    def held(self) -> int:
        """Batches up to here may be acknowledged."""

    @property
    def failed(self) -> bool:
        """It cannot be written, so nothing may be acknowledged."""

    @property
    def is_idle(self) -> bool:
        """Nothing is kept, and `keep` would begin."""

    def keep(
        self, log: Log, member: str, *, epoch: int, in_sync: tuple[str, ...], shard_ms: int
    ) -> None:
        """Everything that is in the log now. To be called before anything is said of it."""

    def tick(self, now_ms: int) -> None: ...


class NoJournal:
    """Nothing is kept."""

    held = EVERYTHING
    failed = False
    is_idle = False

    def keep(
        self, log: Log, member: str, *, epoch: int, in_sync: tuple[str, ...], shard_ms: int
    ) -> None:
        pass

    def tick(self, now_ms: int) -> None:
        pass


class Journal:
    """The journal of one shard on one node."""

    def __init__(
        self,
        *,
        shard: str,
        sync: bool,
        storage: Storage,
        old: Sequence[tuple[str, str]],
        note: Callable[..., None],
        now_ms: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        """`old`: files that earlier lives left, and the id of each ("": it has none).

        They go when a new one is whole.
        """
        self.shard = shard
        self.sync = sync
        self.failed = False
        self.alarm = ""
        """Why it is not kept as it should be; "": it is."""
        self.on_held: Callable[[], None] = lambda: None
        """`held` has grown."""
        self._storage = storage
        self._old = list(old)
        self._note = note
        self._now_ms = now_ms
        self._wall_ms = wall_ms
        self._generation = max((generation(name) for name, _ in old), default=0)
        self._log: Log | None = None
        self._member = ""
        self._file: File | None = None
        self._checkpoint: Checkpoint | None = None
        self._held = 0
        self._end = 0  # what is held once the write that is under way has come to its end
        self._facts = Facts(0, ())
        self._last = Kept([], 0, 0, 0, 0)
        self._retry_ms: int | None = None

    @property
    def held(self) -> int:
        return self._held if self.sync else EVERYTHING

    @property
    def is_idle(self) -> bool:
        return self._file is None and self._checkpoint is None and self._retry_ms is None

    @property
    def is_whole(self) -> bool:
        """Would it bring everything back if this process died now?"""
        return self._file is not None and (self.sync or self._file.has_tails)

    # -- what the member took ----------------------------------------------------------------------

    def keep(
        self, log: Log, member: str, *, epoch: int, in_sync: tuple[str, ...], shard_ms: int
    ) -> None:
        self._member = member
        if log is not self._log:
            self._follow(log)
        if not log.birth:
            return  # it holds nothing yet; what an earlier life left may still be wanted
        self._last = Kept([], log.commit, epoch, shard_ms, self._wall_ms())
        if in_sync and (epoch, in_sync) != (self._facts.epoch, self._facts.in_sync):
            self._facts = Facts(epoch, in_sync)
            if self._file is not None:
                self._put(self._file, self._facts)
        # What was cut since is not held any more, whatever the disk has or is about to have.
        self._held = min(self._held, log.journaled)
        self._end = min(self._end, log.journaled)
        file = self._file
        if file is not None:
            self._add(log, file)
        elif self.is_idle:
            self._begin(log)

    def _follow(self, log: Log) -> None:
        """The copy is another one from here on, and the journal of the old one at its end.

        It says so before anything is acknowledged that it lacks.
        """
        self._log = log
        self._held = self._end = 0
        self._checkpoint = None
        file, self._file = self._file, None
        if file is not None:
            self._leave(file)

    def _leave(self, file: File) -> None:
        """It brings what it has until another one is whole, but it may lack something."""
        self._old.append((file.name, file.id))
        self._storage.remove_tails(file.tails)
        if file.queue and not file.writing:
            self._storage.write(file.name, b"".join(file.queue), sync=True, done=lambda error: None)

    def _add(self, log: Log, file: File) -> None:
        if log.journaled == log.end:
            return
        batches = log.since(log.journaled)
        if batches is None:
            self._give_up("it fell behind what is kept in memory")
            return
        log.journaled = log.end
        self._last.batches = _listed(batches)
        self._put(file, self._last)

    def _put(self, file: File, entry: Entry) -> None:
        data = file.put(entry)
        if file.has_tails:
            try:
                self._storage.add_tail(file.tails[file.tail], data)
            except OSError as error:
                self._lose_tails(file, error)
        if not file.queue:
            file.queued_ms = self._now_ms()
        file.queue.append(data)
        file.queued += len(data)
        if file.queued > QUEUE_BYTES:
            self._give_up(SLOW)
        elif self.sync and not file.writing:
            self._flush(file)

    def _lose_tails(self, file: File, error: OSError) -> None:
        file.has_tails = False
        self._storage.remove_tails(file.tails)
        self._retry_ms = self._now_ms() + RETRY_MS
        self._complain(f"no memory for its newest part: {error.strerror}")

    # -- the disk ----------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Call every 10 to 25 ms."""
        file, log = self._file, self._log
        is_retry = self._retry_ms is not None and now_ms >= self._retry_ms
        if is_retry:
            self._retry_ms = None
            self.failed = False
        if file is None or log is None:
            return
        is_over = _has_outgrown(file) or file.member != self._member or is_retry
        if is_over and self._checkpoint is None and self._retry_ms is None:
            self._begin(log)
        if file.writing:
            if self.sync and now_ms - file.writing_ms > STALL_MS:
                self._give_up(f"the disk has not answered for {STALL_MS} ms")
        elif (file.queue and now_ms - file.queued_ms >= FLUSH_MS) or (
            file.is_dirty and now_ms - file.synced_ms >= FSYNC_MS
        ):
            self._flush(file)

    def _flush(self, file: File) -> None:
        log, now_ms = self._log, self._now_ms()
        assert log is not None
        data, file.queue, file.queued = b"".join(file.queue), [], 0
        sync = self.sync or now_ms - file.synced_ms >= FSYNC_MS
        if file.has_tails:
            # What is in the other one has come to the disk with the flush before this one.
            file.tail = 1 - file.tail
            try:
                self._storage.begin_tail(
                    file.tails[file.tail], begin_tail(file.id, self._storage.home)
                )
            except OSError as error:
                self._lose_tails(file, error)
        self._write(file, log, data, sync=sync)

    def _write(self, file: File, log: Log, data: bytes, *, sync: bool) -> None:
        file.writing, file.writing_ms = True, self._now_ms()
        file.is_dirty = not sync
        if sync:
            file.synced_ms = file.writing_ms
        self._end = log.journaled

        def written(error: str) -> None:
            file.writing = False
            if file is not self._file:
                return
            if error:
                self._give_up(error)
                return
            self._remove_old()
            if self._end > self._held:
                self._held = self._end
                self.on_held()
            if self.sync and file.queue and not file.writing and file is self._file:
                self._flush(file)

        self._storage.write(file.name, data, sync=sync, done=written)

    def _remove_old(self) -> None:
        old, self._old = self._old, []
        for name, id in old:
            self._storage.remove(name)
            if id:
                self._storage.remove_tails(tails(id))

    def _give_up(self, why: str) -> None:
        """Nothing more is kept for now, and what was kept no longer claims that it lacks nothing.

        With `sync` it may claim that: nothing is acknowledged from here on.
        """
        self._checkpoint = None
        file, self._file = self._file, None
        if file is not None:
            self._old.append((file.name, file.id))
            self._storage.remove_tails(file.tails)
        self._retry_ms = self._now_ms() + RETRY_MS
        self.failed = self.sync
        self._complain(why)

    def _complain(self, why: str) -> None:
        self.alarm = why
        self._note("journal not kept", shard=self.shard, error=why)

    def retire(self) -> None:
        """This node stops, and nobody counts on it: what is kept goes to the disk, whole or not."""
        file, self._file, self._checkpoint = self._file, None, None
        self._retry_ms = EVERYTHING
        if file is not None:
            self._leave(file)

    def remove(self) -> None:
        """The shard is gone for good, and nothing of it shall come back."""
        self.retire()
        self._remove_old()

    # -- checkpoints -------------------------------------------------------------------------------

    def _begin(self, log: Log) -> None:
        self._generation += 1
        name = f"{self.shard}.{self._generation:08}.journal"
        file = File(name, self._storage.name(), self._member)
        # A record's bytes are never changed in place, so this is what the records are now.
        frozen = dict(log.records)
        checkpoint = self._checkpoint = Checkpoint(
            file,
            log.birth,
            log.commit,
            log.epoch_at(log.commit) or 0,
            len(frozen),
            iter(frozen.items()),
        )

        def created(error: str, place: str) -> None:
            begin = Begin(self.shard, file.member, file.id, self.sync, place, self._storage.boot_id)
            self._go_on(checkpoint, error, MAGIC + file.put(begin))

        self._storage.create(name, created)

    def _go_on(self, checkpoint: Checkpoint, error: str, data: bytes = b"") -> None:
        """What came before is written: on with `data` or the next records, or with what is new."""
        file = checkpoint.file
        if self._checkpoint is not checkpoint:
            self._storage.remove(file.name)
            return
        if error:
            self._no_checkpoint(file, error)
            return
        if not data and (part := list(islice(checkpoint.parts, PART_RECORDS))):
            data = file.put(Part(pack(part)))
        if data:
            self._storage.write(
                file.name,
                data,
                sync=self.sync,
                done=lambda error: self._go_on(checkpoint, error),
            )
        else:
            self._complete(checkpoint)

    def _no_checkpoint(self, file: File, why: str) -> None:
        """What there is goes on, however long it gets; with nothing there, nothing is kept."""
        self._storage.remove(file.name)
        if self._file is None:
            self._give_up(why)
        else:
            self._checkpoint = None
            self._retry_ms = self._now_ms() + RETRY_MS
            self._complain(why)

    def _complete(self, checkpoint: Checkpoint) -> None:
        """Records and all batches since: from here on it is the journal."""
        log, file = self._log, checkpoint.file
        assert log is not None
        batches = log.since(checkpoint.seq)
        if batches is None:
            self._no_checkpoint(file, SLOW)
            return
        kept = self._last
        kept.batches = _listed(batches)
        base = Base(checkpoint.birth, checkpoint.seq, checkpoint.epoch, checkpoint.records, kept)
        newest = file.put(base) + file.put(self._facts)
        log.journaled = log.end
        file.checkpoint = file.size
        self._checkpoint = None
        self.alarm = ""
        if not self.sync:
            file.has_tails = True
            try:
                self._storage.begin_tail(file.tails[1], begin_tail(file.id, self._storage.home))
                self._storage.begin_tail(
                    file.tails[0], begin_tail(file.id, self._storage.home) + newest
                )
            except OSError as error:
                self._lose_tails(file, error)
        before, self._file = self._file, file
        if before is not None:
            self._old.append((before.name, before.id))
            self._storage.remove_tails(before.tails)
        self._write(file, log, newest, sync=True)


def generation(name: str) -> int:
    """The number in a file's name: of two files the one with the higher number is newer."""
    digits = name.removesuffix(".journal").rpartition(".")[2]
    return int(digits) if digits.isdecimal() else 0


def _has_outgrown(file: File) -> bool:
    return file.size - file.checkpoint > max(COMPACT_BYTES, COMPACT_TIMES * file.checkpoint)


def _listed(batches: Sequence[Batch]) -> list[tuple[int, int, bytes]]:
    return [(batch.epoch, batch.seq, batch.data) for batch in batches]
