"""A small machine: counters that grow, a ledger of what was done, timers, and faults on demand."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cluster.machine import ClusterLost, Promoted, Step, Timer


class Counter(msgspec.Struct, array_like=True):
    value: int
    done: list[str]
    pending: str = ""
    """An effect that was asked for and not confirmed: a takeover emits it again."""
    due_ms: int | None = None


class Add(msgspec.Struct, frozen=True):
    key: str
    op: str
    amount: int = 1


class Fill(msgspec.Struct, frozen=True):
    """Puts `count` records of about `size` bytes."""

    count: int
    size: int
    first: int = 0


class Arm(msgspec.Struct, frozen=True):
    key: str
    after_ms: int


class Confirm(msgspec.Struct, frozen=True):
    key: str
    op: str


class Forget(msgspec.Struct, frozen=True):
    key: str


class Poison(msgspec.Struct, frozen=True):
    key: str
    twice: bool = False


class Sneak(msgspec.Struct, frozen=True):
    """Changes a record and does not say so."""

    key: str


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
                counter = tx.get(key)
                if counter is None:
                    tx.put(key, Counter(0, []))
                elif op in counter.done:
                    tx.emit(Done(key, op, counter.value, tx.id, again=True))
                    return
                counter = tx.edit(key)
                counter.value += amount
                counter.done.append(op)
                counter.pending = op
                self.total += amount
                tx.emit(Done(key, op, counter.value, tx.id))
            case Fill(count, size):
                for n in range(event.first, event.first + count):
                    tx.put(f"call/{n:06}", Counter(n, ["x" * 20] * (size // 21), pending=f"p{n}"))
            case Confirm(key, op):
                if tx.get(key) is not None and tx.get(key).pending == op:
                    tx.edit(key).pending = ""
            case Arm(key, after_ms):
                if tx.get(key) is None:
                    tx.put(key, Counter(0, []))
                tx.edit(key).due_ms = tx.now_ms + after_ms
            case Timer(key, deadline_ms):
                tx.edit(key).due_ms = None
                tx.emit(Rang(key, deadline_ms))
            case Forget(key):
                counter = tx.get(key)
                if counter is not None:
                    self.total -= counter.value
                    tx.delete(key)
            case Poison(key):
                counter = tx.edit(key)
                counter.value = -1_000_000
                counter.done.append("poison")
                self.total = -1
                tx.put("left-over", Counter(1, []))
                tx.emit(Done(key, "poison", -1, tx.id))
                raise ZeroDivisionError("a bug in a step")
            case Sneak(key):
                tx.get(key).value += 1
            case ClusterLost(_, epoch):
                self.lost.append(epoch)
                tx.put("lost", Counter(epoch, []))
            case Promoted():
                self.promoted += 1
            case _:
                raise TypeError(event)

    def redrive(self, tx: Step, key: str) -> None:
        counter = tx.get(key)
        if counter.pending:
            tx.emit(Done(key, counter.pending, counter.value, tx.id, again=True))

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        if isinstance(event, Poison):
            if event.twice:
                tx.edit(event.key).value = -2
                raise ZeroDivisionError("and another one")
            if tx.get(event.key) is not None:
                tx.edit(event.key).done.append("failed")
            tx.emit(Done(event.key, "failed", 0, tx.id))
