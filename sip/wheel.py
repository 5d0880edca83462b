"""A hashed timer wheel over an injected clock: adding and cancelling cost the same however many
timers stand.

A timer never fires early, and at most GRAIN_MS late while `advance` is called at `next_ms`.
Timers fire in order of their slot, inside one in the order they were added.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

GRAIN_MS = 10
"""Deadlines are rounded up to this."""

T = TypeVar("T")


class Entry(Generic[T]):
    """One timer: what to call with what, or None once it fired or was cancelled."""

    __slots__ = ("call",)

    def __init__(self, fire: Callable[[T], None], argument: T) -> None:
        self.call: tuple[Callable[[T], None], T] | None = (fire, argument)

    def cancel(self) -> None:
        """Never fire, and let go of the argument. Harmless when it has fired or was cancelled
        before.
        """
        self.call = None


class Wheel(Generic[T]):
    """Timers whose callbacks all take one argument of the same type."""

    __slots__ = ("_due", "_slots", "now_ms")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._slots: dict[int, list[Entry[T]]] = {}
        self._due: list[int] = []

    def add(self, delay_ms: int, fire: Callable[[T], None], argument: T) -> Entry[T]:
        """Call `fire(argument)` once, `delay_ms` after the wheel's present time."""
        entry = Entry(fire, argument)
        slot = -(-(self.now_ms + delay_ms) // GRAIN_MS)
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = [entry]
            heappush(self._due, slot)
        else:
            entries.append(entry)
        return entry

    def set_now(self, now_ms: int) -> None:
        """Set the time, unless it would go backwards, and fire nothing."""
        if now_ms > self.now_ms:
            self.now_ms = now_ms

    def advance(self, now_ms: int) -> None:
        """Set the time and fire what is due.

        A timer that a callback adds with no delay fires at the next call, so a call always ends.
        """
        self.set_now(now_ms)
        limit = self.now_ms // GRAIN_MS
        due: list[list[Entry[T]]] = []
        while self._due and self._due[0] <= limit:
            due.append(self._slots.pop(heappop(self._due)))
        for entries in due:
            for entry in entries:
                if entry.call is not None:
                    fire, argument = entry.call
                    entry.call = None
                    fire(argument)

    @property
    def next_ms(self) -> int | None:
        """When to call `advance` next; None while no timer stands."""
        return self._due[0] * GRAIN_MS if self._due else None
