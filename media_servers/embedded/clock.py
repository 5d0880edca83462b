"""The 20 ms clock: a round is cut into slots, and what is timed is spread over them evenly.

Sending to everybody at the start of a round would let the last of them wait, and relayed packets
with him; a slot's worth is sent in a fraction of a millisecond.
"""

from collections.abc import Callable
from typing import Protocol

SLOTS = 10
"""Slots of a round, 2 ms each.

With 120 who listen, one slot a round holds relayed packets up for 0.9 ms in the 99.9th percentile,
ten for 0.6 ms; twenty are no better and wake the process twice as often.
"""

SLOT_FILLED = 10
"""So many share a slot before another one is begun: waking up costs as much as sending to three."""

ROUND_NS = 20_000_000
SLOT_NS = ROUND_NS // SLOTS

MAX_BEHIND_NS = 5 * ROUND_NS
"""Later than this, rounds are left out instead of being made up for in a burst."""


class Beats(Protocol):
    def beat(self, tick: int, now_ms: int) -> None: ...


class Clock:
    """Who is served when. Few share slots, so that the process sleeps in the others; of many, each
    is in the slot that held the fewest when it came.

    A bug in one must not silence the others: whoever raises is dropped, and `on_bug` told.
    """

    def __init__(self, now_ns: int, on_bug: Callable[[Beats, Exception], None]) -> None:
        self._slots: list[list[Beats]] = [[] for _ in range(SLOTS)]
        self._place: dict[int, int] = {}
        self._step = 0
        self._due_ns = now_ns + SLOT_NS
        self._on_bug = on_bug
        self.behind_ns = 0
        """The furthest that a slot was late; whoever reads it sets it back."""
        self.left_out = 0
        """Slots that were left out because the process was held up."""

    def add(self, what: Beats) -> None:
        """Serve `what` once in each round; no matter if it is served already."""
        if id(what) not in self._place:
            slot = self._slot()
            self._place[id(what)] = slot
            self._slots[slot].append(what)

    def _slot(self) -> int:
        sizes = [len(slot) for slot in self._slots]
        room = max((size for size in sizes if size < SLOT_FILLED), default=0)
        return sizes.index(room if room else min(sizes))

    def drop(self, what: Beats) -> None:
        """Serve `what` no more."""
        slot = self._place.pop(id(what), None)
        if slot is not None:
            self._slots[slot].remove(what)

    def run(self, now_ns: int) -> None:
        """Serve every slot that is due."""
        behind = now_ns - self._due_ns
        if behind > self.behind_ns:
            self.behind_ns = behind
        if behind > MAX_BEHIND_NS:
            late = behind // SLOT_NS
            self.left_out += late
            self._due_ns += late * SLOT_NS
        now_ms = now_ns // 1_000_000
        while self._due_ns <= now_ns:
            tick, slot = divmod(self._step, SLOTS)
            for what in tuple(self._slots[slot]):
                try:
                    what.beat(tick, now_ms)
                except Exception as error:  # noqa: BLE001 - the boundary that the class names
                    self.drop(what)
                    self._on_bug(what, error)
            self._step += 1
            self._due_ns += SLOT_NS

    def next_ns(self) -> int | None:
        """When the next slot with anyone in it is due; None while there is nobody to serve."""
        for ahead in range(SLOTS):
            if self._slots[(self._step + ahead) % SLOTS]:
                return self._due_ns + ahead * SLOT_NS
        return None
