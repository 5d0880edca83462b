"""The simplest thing a shard can be for: counters with a ledger of what was done, and timers."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cluster.machine import ClusterLost, Promoted, Step, Timer


class Counter(msgspec.Struct, array_like=True):
    value: int
    done: list[str]
    pending: list[str] = []
    """Effects that were asked for and not confirmed: a takeover emits them again."""
    due_ms: int | None = None
    stamp_ms: int = 0
    """Shard time of its last change."""


class Add(msgspec.Struct, frozen=True):
    key: str
    op: str
    amount: int = 1


class Arm(msgspec.Struct, frozen=True):
    key: str
    after_ms: int


class Confirm(msgspec.Struct, frozen=True):
    key: str
    op: str


class Done(msgspec.Struct, frozen=True):
    """The effect: `op` brought the counter `key` to `value`; `id` names the step."""

    key: str
    op: str
    value: int
    id: str
    again: bool = False


class Rang(msgspec.Struct, frozen=True):
    key: str
    deadline_ms: int


class Toy:
    """`cluster.machine.Machine`."""

    def __init__(self) -> None:
        self.total = 0
        self.opened = 0
        self.lost: list[int] = []
        self.promoted = 0

    def encode(self, key: str, record: Any) -> bytes:
        return msgspec.msgpack.encode(record)

    def decode(self, key: str, data: bytes) -> Any:
        return msgspec.msgpack.decode(data, type=Counter)

    def deadline(self, key: str, record: Counter) -> int | None:
        return record.due_ms

    def open(self, records: Mapping[str, Any]) -> None:
        self.opened += 1
        self.total = sum(counter.value for counter in records.values())

    def opening(self, records: Mapping[str, Any]) -> Iterator[None]:
        yield
        self.open(records)

    def step(self, tx: Step, event: Any) -> None:
        match event:
            case Add(key, op, amount):
                counter = self._counter(tx, key)
                if op in counter.done:
                    tx.emit(Done(key, op, counter.value, tx.id, again=True))
                    return
                counter = self._changed(tx, key)
                counter.value += amount
                counter.done.append(op)
                counter.pending.append(op)
                self.total += amount
                tx.emit(Done(key, op, counter.value, tx.id))
            case Confirm(key, op):
                if op in self._counter(tx, key).pending:
                    self._changed(tx, key).pending.remove(op)
            case Arm(key, after_ms):
                self._counter(tx, key)
                self._changed(tx, key).due_ms = tx.now_ms + after_ms
            case Timer(key, deadline_ms):
                counter = self._changed(tx, key)
                assert counter.due_ms == deadline_ms <= tx.now_ms, "a timer that nobody has armed"
                counter.due_ms = None
                tx.emit(Rang(key, deadline_ms))
            case ClusterLost(_, epoch):
                self.lost.append(epoch)
                tx.put("lost", Counter(epoch, []))
            case Promoted():
                self.promoted += 1
            case _:
                raise TypeError(event)

    def _counter(self, tx: Step, key: str) -> Counter:
        if tx.get(key) is None:
            tx.put(key, Counter(0, []))
        found: Counter = tx.get(key)
        return found

    def _changed(self, tx: Step, key: str) -> Counter:
        counter: Counter = tx.edit(key)
        assert tx.now_ms >= counter.stamp_ms, "shard time has gone back"
        counter.stamp_ms = tx.now_ms
        return counter

    def redrive(self, tx: Step, key: str) -> None:
        counter: Counter = tx.get(key)
        for op in counter.pending:
            tx.emit(Done(key, op, counter.value, tx.id, again=True))

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        raise error
