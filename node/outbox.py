"""From the replicated outbox to the database: gathered, repeated until it is there, then drained.

The outbox of a shard may hold OUTBOX_BYTES_MAX; from 80 % there is an alarm, and when it is full
new calls are refused, because a call that could not be accounted for must not be taken.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from calls.effects import Publish
from calls.inputs import Drained
from calls.records import Event
from node.events_db import Done, Row

GATHER_MS = 200
"""Facts of so long go into one transaction of the database."""
RETRY_MS = 500
OUTBOX_BYTES_MAX = 64 << 20
ALARM_SHARE = 0.8

_ENCODER = msgspec.json.Encoder()


class Inserting(Protocol):
    """What it needs of `node.events_db.EventsDb`."""

    def insert(self, batch: Sequence[Row], done: Done) -> None: ...


class OutboxDrain:
    """Empties the outbox of one shard on its active node."""

    def __init__(self, shard: str, database: Inserting, post: Callable[[Any], None]) -> None:
        self._shard = shard
        self._database = database
        self._post = post
        self._waiting: dict[str, list[Row]] = {}
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0
        """Facts that the database does not have yet."""

    @property
    def is_full(self) -> bool:
        return self.bytes > OUTBOX_BYTES_MAX

    @property
    def alarm(self) -> str:
        """What an operator must know, or nothing."""
        if self.bytes <= OUTBOX_BYTES_MAX * ALARM_SHARE:
            return ""
        share = 100 * self.bytes // OUTBOX_BYTES_MAX
        return f"outbox of shard {self._shard} is {share} % full: is the database writable?"

    def publish(self, effect: Publish) -> None:
        """Bring these facts to the database; harmless when it has them already."""
        if effect.key in self._waiting:
            return
        rows = [_row(self._shard, event) for event in effect.events]
        self._waiting[effect.key] = rows
        self.bytes += _size(rows)
        self._arm(GATHER_MS)

    def stop(self) -> None:
        """The shard is another node's now: it publishes what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._waiting.clear()
        self.bytes = 0

    def _arm(self, ms: int) -> None:
        if self._timer is None and not self._under_way:
            self._timer = asyncio.get_running_loop().call_later(ms / 1000, self._flush)

    def _flush(self) -> None:
        self._timer = None
        batch = dict(self._waiting)
        if batch:
            self._under_way += 1
            rows = [row for part in batch.values() for row in part]
            self._database.insert(rows, lambda is_written: self._done(batch, is_written))

    def _done(self, batch: dict[str, list[Row]], is_written: bool) -> None:
        self._under_way -= 1
        if is_written:
            there = [key for key in batch if key in self._waiting]
            for key in there:
                self.bytes -= _size(self._waiting.pop(key))
            if there:
                self._post(Drained(there))
        if self._waiting:
            self._arm(GATHER_MS if is_written else RETRY_MS)


def _row(shard: str, event: Event) -> Row:
    epoch = int(event.id.split("/")[1])
    return (
        event.id,
        shard,
        epoch,
        event.wall_ms,
        event.kind,
        event.call,
        _ENCODER.encode(event.fields),
    )


def _size(rows: Sequence[Row]) -> int:
    return sum(len(row[0]) + len(row[6]) + 64 for row in rows)
