"""The log of one shard: records up to the commit index, the batches above it raw, some below it.

The batches below the commit index are kept for a standby that is a little behind; one that is
further behind gets a snapshot. Both are bounded: RECENT_BATCHES and RECENT_BYTES.
"""

from collections.abc import Iterable, Sequence

import msgspec

from cluster.messages import Batch

RECENT_BATCHES = 4_096
RECENT_BYTES = 16 << 20
PINNED_BATCHES = 65_536
"""A running snapshot holds back trimming up to here; then it has to start again."""
PINNED_BYTES = 128 << 20

EVERYTHING = 1 << 62
"""Greater than any batch's number."""

Changes = Sequence[tuple[str, bytes | None]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode


def pack(changes: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Changes as the bytes of a batch, or of a slice of a snapshot."""
    return _encode(list(changes))


def unpack(data: bytes) -> Changes:
    """msgspec.DecodeError if these are not changes."""
    return _decode(data) if data else ()


class Log:
    """One member's copy. Invariant: commit <= end; what is at or below commit never changes."""

    def __init__(self, birth: int = 0) -> None:
        self.birth = birth
        self.records: dict[str, bytes] = {}
        """As of `commit`."""
        self.commit = 0
        self.end = 0
        self.pin: int | None = None
        """Keep the batches after this number: a snapshot that began there is under way."""
        self.journaled = 0
        """A journal has the batches up to here as they are."""
        self._batches: list[Batch] = []
        self._before_epoch = 0  # epoch of the batch before the first one kept
        self._bytes = 0
        self._changes: dict[int, Changes] = {}  # of our own batches: need no decoding

    @classmethod
    def restored(
        cls, birth: int, records: dict[str, bytes], *, base: int = 0, base_epoch: int = 0
    ) -> "Log":
        """A log that begins with these records as of number `base`."""
        log = cls(birth)
        log.records = records
        log.commit = log.end = base
        log._before_epoch = base_epoch
        return log

    @property
    def first(self) -> int:
        """Number of the first batch kept (end + 1 if none is)."""
        return self.end - len(self._batches) + 1

    def epoch_at(self, seq: int) -> int | None:
        """The epoch in which batch `seq` was written; None if it is not known any more."""
        at = seq - self.first
        if at == -1:
            return self._before_epoch
        return self._batches[at].epoch if 0 <= at < len(self._batches) else None

    def since(self, seq: int) -> list[Batch] | None:
        """The batches after number `seq`; None if they are not all kept."""
        at = seq + 1 - self.first
        return self._batches[at:] if 0 <= at <= len(self._batches) else None

    def tail(self) -> list[Batch]:
        """The batches above the commit index."""
        uncommitted = self.end - self.commit
        return self._batches[-uncommitted:] if uncommitted else []

    def append(self, batch: Batch, changes: Changes | None = None) -> None:
        assert batch.seq == self.end + 1, (batch.seq, self.end)
        assert batch.epoch >= (self.epoch_at(self.end) or 0)
        self._batches.append(batch)
        self._bytes += len(batch.data)
        self.end = batch.seq
        if changes is not None:
            self._changes[batch.seq] = changes

    def cut(self, seq: int) -> None:
        """Drop the batches after `seq`: the new active lacks them, so none was acknowledged."""
        assert seq >= self.commit, (seq, self.commit)
        while self.end > seq:
            self._bytes -= len(self._batches.pop().data)
            self._changes.pop(self.end, None)
            self.end -= 1
        self.journaled = min(self.journaled, seq)

    def commit_to(self, seq: int) -> None:
        """Apply the batches up to `seq`. They were checked when they came."""
        seq = min(seq, self.end)
        if seq <= self.commit:
            return
        records = self.records
        at = self.commit + 1 - self.first
        for batch in self._batches[at : at + seq - self.commit]:
            changes = self._changes.pop(batch.seq, None)
            for key, value in unpack(batch.data) if changes is None else changes:
                if value is None:
                    records.pop(key, None)
                else:
                    records[key] = value
        self.commit = seq
        if len(self._batches) > RECENT_BATCHES + 512 or self._bytes > RECENT_BYTES:
            self._trim()

    def changes_of(self, batch: Batch) -> Changes:
        known = self._changes.get(batch.seq)
        return unpack(batch.data) if known is None else known

    def last_logged(self, key: str) -> bytes | None:
        """The record as of `end`, committed or not."""
        for batch in reversed(self.tail()):
            for changed, value in reversed(self.changes_of(batch)):
                if changed == key:
                    return value
        return self.records.get(key)

    def at_end(self) -> dict[str, bytes]:
        """All records as of `end`."""
        records = dict(self.records)
        for batch in self.tail():
            for key, value in self.changes_of(batch):
                if value is None:
                    records.pop(key, None)
                else:
                    records[key] = value
        return records

    def _trim(self) -> None:
        """Keep what is above commit, and of the rest no more than the bounds say."""
        spare = self.commit - self.first + 1
        drop = 0
        kept_bytes = self._bytes
        pinned = (
            self.pin is not None
            and len(self._batches) <= PINNED_BATCHES
            and self._bytes <= PINNED_BYTES
        )
        if pinned and self.pin is not None:
            spare = min(spare, self.pin - self.first + 1)
        while drop < spare and (
            len(self._batches) - drop > RECENT_BATCHES or kept_bytes > RECENT_BYTES
        ):
            kept_bytes -= len(self._batches[drop].data)
            drop += 1
        if drop > 0:
            self._before_epoch = self._batches[drop - 1].epoch
            del self._batches[:drop]
            self._bytes = kept_bytes
