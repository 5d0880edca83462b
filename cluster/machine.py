"""What a machine is: the thing a shard runs. Calls are the first.

A machine decides by `step(tx, event)`: it reads and changes records through `tx` and names effects.
The runtime replicates the changed records and performs the effects once they are committed. A
machine keeps no state but what `open` can rebuild from the records.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Protocol

import msgspec


class Timer(msgspec.Struct, frozen=True):
    """The deadline of record `key` has come; `deadline_ms` (shard time) is what it asked for.

    It is only delivered while `Machine.deadline` still gives that value for the record.
    """

    key: str
    deadline_ms: int


class UnknownRecord(Exception):
    """The record is of a kind that this version does not know. It is kept as it is."""


class Redrive(msgspec.Struct, frozen=True):
    """The event that `poisoned` is told of when `redrive` of record `key` raised."""

    key: str


class ClusterLost(msgspec.Struct, frozen=True):
    """Every process that held the records is gone: the shard starts empty at `epoch`.

    It is the first event of the shard's new life.
    """

    shard: str
    epoch: int


class Promoted(msgspec.Struct, frozen=True):
    """By order of an operator the shard goes on at `epoch` with records of a moment before.

    What was acknowledged after that moment is lost. It is the first event of the shard's new life.
    """

    shard: str
    epoch: int
    records_wall_ms: int
    """Unix time of that moment."""


class Step:
    """One step's hands on the records.

    Records are live objects: `get` one to read it, `edit` it before changing it in place.
    """

    __slots__ = (
        "_changed",
        "_drawn",
        "_records",
        "_touched",
        "effects",
        "epoch",
        "n",
        "now_ms",
        "random",
        "shard",
        "wall_ms",
    )

    def __init__(
        self,
        records: dict[str, Any],
        *,
        shard: str,
        epoch: int,
        n: int,
        now_ms: int,
        wall_ms: int,
        random: bytes,
    ) -> None:
        self._records = records
        self._touched: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._drawn = 0
        self.effects: list[Any] = []
        self.shard = shard
        self.epoch = epoch
        self.n = n
        self.now_ms = now_ms
        """Shard time in ms: never goes back, not even over a takeover."""
        self.wall_ms = wall_ms
        """Unix time in ms, for people and for the database."""
        self.random = random
        """32 bytes, drawn for this event."""

    @property
    def id(self) -> str:
        """`shard/epoch/n`: no other step of any node has it; steps order by (epoch, n)."""
        return f"{self.shard}/{self.epoch}/{self.n}"

    def token(self, n: int = 8) -> str:
        """`2 * n` hex digits (n <= 64) out of the event's random bytes, other ones at each call."""
        self._drawn += 1
        return blake2b(self.random, digest_size=n, salt=self._drawn.to_bytes(8, "big")).hexdigest()

    def get(self, key: str) -> Any:
        """The record to read, or None. It must not be changed: use `edit` for that."""
        record = self._records.get(key)
        if record is not None:
            self._touched[key] = None
        return record

    def keys(self, prefix: str) -> list[str]:
        """Keys of the records that begin so; looks at all of them."""
        return [key for key in self._records if key.startswith(prefix)]

    def edit(self, key: str) -> Any:
        """The record, to be changed in place. KeyError if there is none."""
        record = self._records[key]
        self._touched[key] = None
        self._changed[key] = None
        return record

    def put(self, key: str, record: Any) -> None:
        """Store a new record, or replace one."""
        self._touched[key] = None
        self._changed[key] = None
        self._records[key] = record

    def delete(self, key: str) -> None:
        """Remove the record, if there is one."""
        if self._records.pop(key, None) is not None:
            self._touched[key] = None
            self._changed[key] = None

    def emit(self, effect: Any) -> None:
        """Perform `effect` once all records of this step are committed, after earlier effects."""
        self.effects.append(effect)


class Machine(Protocol):
    """Deterministic: equal records and events give equal changes and effects on every node."""

    def encode(self, key: str, record: Any) -> bytes:
        """The record as bytes; equal records give equal bytes."""

    def decode(self, key: str, data: bytes) -> Any:
        """The record again, a new object. UnknownRecord: of a kind that only a newer version has.

        Whatever else it raises says that the bytes cannot be read: `poisoned` is told.
        """

    def deadline(self, key: str, record: Any) -> int | None:
        """Earliest shard time (ms) at which `step` gets `Timer(key, deadline)`.

        Asked after each change of the record. A step that gets the timer changes the record so that
        its deadline is later or None; otherwise the timer is not repeated until it changes.
        """

    def open(self, records: Mapping[str, Any]) -> None:
        """Rebuild what is derived from the records, a live mapping.

        After a rollback.
        """

    def opening(self, records: Mapping[str, Any]) -> Iterator[None]:
        """`open` in slices of some ms, one at each `next`: so no beat is late for a large shard.

        The records do not change meanwhile.
        """

    def step(self, tx: Step, event: Any) -> None:
        """Decide. What it raises rolls the whole step back, and `poisoned` runs instead."""

    def redrive(self, tx: Step, key: str) -> None:
        """After a takeover: emit the effects that this record's pending fields call for."""

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        """`step` raised at `event` and was undone: end the one call concerned.

        After a takeover also `Redrive(key)` of a record that could not be read, and is gone.
        """
