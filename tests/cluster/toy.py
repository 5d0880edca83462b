"""The simulator's toy machine, and what only tests do to it: many records, and faults."""

from typing import Any

import msgspec

from cluster.machine import Step
from loadtest.sim import toy
from loadtest.sim.toy import Counter, Done


class Fill(msgspec.Struct, frozen=True):
    """Puts `count` records of about `size` bytes."""

    count: int
    size: int
    first: int = 0


class Forget(msgspec.Struct, frozen=True):
    key: str


class Poison(msgspec.Struct, frozen=True):
    key: str
    twice: bool = False


class Sneak(msgspec.Struct, frozen=True):
    """Changes a record and does not say so."""

    key: str


class Toy(toy.Toy):
    """`cluster.machine.Machine`."""

    def step(self, tx: Step, event: Any) -> None:
        match event:
            case Fill(count, size):
                for n in range(event.first, event.first + count):
                    filler = ["x" * 20] * (size // 21)
                    tx.put(f"call/{n:06}", Counter(n, filler, pending=[f"p{n}"]))
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
            case _:
                super().step(tx, event)

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        if isinstance(event, Poison):
            if event.twice:
                tx.edit(event.key).value = -2
                raise ZeroDivisionError("and another one")
            if tx.get(event.key) is not None:
                tx.edit(event.key).done.append("failed")
            tx.emit(Done(event.key, "failed", 0, tx.id))
