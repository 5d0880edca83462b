"""Which time slot the next call of virtual gateways takes, and what became of those placed."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from loadtest.gateway import Gateway

SLOTS = (*range(1, 16), *range(17, 32))
"""Of an E1 line: 0 is for frames, 16 is the D channel."""


class Slot(NamedTuple):
    gateway: int
    span: int
    slot: int

    def __str__(self) -> str:
        return f"{self.gateway}/{self.span}/{self.slot}"


class Turns:
    """Calls go to gateways, and to the spans of each, in turn; in a span to the first free slot."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._gateways = gateways
        self._lines = [
            (gateway, span)
            for span in range(1, gateways[0].spans + 1 if gateways else 1)
            for gateway in gateways
        ]
        self._turn = 0

    def take(self) -> Slot | None:
        """None: all slots of lines that are well are in use."""
        for _ in self._lines:
            gateway, span = self._lines[self._turn]
            self._turn = (self._turn + 1) % len(self._lines)
            if not gateway.carries_calls(span):
                continue
            used = gateway.in_use.setdefault(span, set())
            free = next((slot for slot in SLOTS if slot not in used), None)
            if free is not None:
                used.add(free)
                return Slot(gateway.number, span, free)
        return None

    def free(self, slot: Slot) -> None:
        """May be called again, until somebody else takes it."""
        self._gateways[slot.gateway - 1].in_use.get(slot.span, set()).discard(slot.slot)


class Fate(msgspec.Struct, frozen=True):
    """How a call ended; each has one."""

    what: str
    """refused, given_up, hung_up, left or dropped."""
    why: str = ""
    """Of a refused one its status, of a dropped one the fault."""


class Figures(msgspec.Struct):
    """`placed` is the sum of its fates, once all are over."""

    placed: int = 0
    no_slot: int = 0
    """Calls that were due while no slot was free: not placed."""
    answered: int = 0
    refused: dict[str, int] = {}
    """By status; 408 is no answer, too."""
    given_up: int = 0
    """They rang too long, or until the end of the run."""
    hung_up: int = 0
    """By the gateway: after their time, or at the end of the run."""
    left: int = 0
    """Hung up by the other side."""
    dropped: dict[str, int] = {}
    """By the fault that took them."""

    def count(self, fate: Fate) -> None:
        match fate.what:
            case "refused":
                self.refused = dict(Counter(self.refused) + Counter([fate.why]))
            case "dropped":
                self.dropped = dict(Counter(self.dropped) + Counter([fate.why]))
            case what:
                setattr(self, what, getattr(self, what) + 1)

    def lines(self) -> list[str]:
        """For a person."""
        refused, dropped = sum(self.refused.values()), sum(self.dropped.values())
        return [
            f"calls: {self.placed} placed, {self.answered} answered, "
            f"{refused} refused{_each(self.refused)}, {self.given_up} given up while they rang; "
            f"no slot free for {self.no_slot}",
            f"ended: {self.hung_up} by the gateways, {self.left} by the other side, "
            f"{dropped} dropped{_each(self.dropped)}",
        ]


def _each(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{what}: {n}' for what, n in counts.items())})" if counts else ""
