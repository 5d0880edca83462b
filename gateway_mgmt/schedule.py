"""Who is asked when: spread over the cycle, one request in flight for each device, two lanes.

A device that misses a poll goes to the slow lane, which has places of its own: the dead wait among
themselves, and hold up nobody who answers. A trap asks for a poll at once, at most one a second.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from heapq import heappop, heappush
from types import MappingProxyType

POKE_MS = 1_000
"""Between two polls of one device that traps asked for."""
SLOW_MS_MAX = 300_000
SLOW_FACTOR_MAX = 4
"""A device that stays silent is asked ever less, down to one in so many cycles."""


class Lane(Enum):
    FAST = "fast"
    SLOW = "slow"


class Turn:
    """One device's place in the schedule."""

    __slots__ = ("due_ms", "lane", "period_ms", "poked", "poked_ms", "silent", "stamp", "state")

    def __init__(self, period_ms: int, due_ms: int) -> None:
        self.period_ms = period_ms
        self.due_ms = due_ms
        self.lane = Lane.FAST
        self.state = "idle"  # then "queued", "asked"
        self.silent = 0
        self.poked_ms: int | None = None
        self.poked = False
        self.stamp = 0


class Schedule:
    """`places`: how many may be asked at once in each lane.

    `due_ms`: who was to be asked when already, so that a change of others delays nobody.
    """

    def __init__(
        self,
        periods_ms: Mapping[str, int],
        now_ms: int,
        places: Mapping[Lane, int],
        due_ms: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._places = dict(places)
        self._asked = dict.fromkeys(Lane, 0)
        self._queues: dict[Lane, deque[str]] = {lane: deque() for lane in Lane}
        self._due: list[tuple[int, int, str]] = []
        self._turns: dict[str, Turn] = {}
        count = len(periods_ms)
        for place, (name, period_ms) in enumerate(periods_ms.items()):
            known_ms = due_ms.get(name)
            spread_ms = now_ms + period_ms * place // count
            turn = Turn(period_ms, spread_ms if known_ms is None else min(known_ms, spread_ms))
            self._turns[name] = turn
            self._push(name, turn)

    @property
    def due_ms(self) -> dict[str, int]:
        """When each is asked next, or was to be asked, if it is asked just now."""
        return {name: turn.due_ms for name, turn in self._turns.items()}

    def lane(self, name: str) -> Lane:
        return self._turns[name].lane

    def poke(self, name: str, now_ms: int) -> None:
        """A trap came of it."""
        turn = self._turns.get(name)
        if turn is None or turn.poked:
            return
        since = turn.poked_ms
        at_ms = now_ms if since is None else max(now_ms, since + POKE_MS)
        turn.poked = True
        if turn.state == "idle" and at_ms < turn.due_ms:
            turn.due_ms = at_ms
            self._push(name, turn)
        elif turn.state == "queued" and at_ms == now_ms:
            queue = self._queues[turn.lane]
            queue.remove(name)
            queue.appendleft(name)

    def take(self, now_ms: int) -> list[str]:
        """Who is to be asked now."""
        while self._due and self._due[0][0] <= now_ms:
            _, stamp, name = heappop(self._due)
            turn = self._turns[name]
            if turn.stamp == stamp and turn.state == "idle":
                turn.state = "queued"
                # Whoever told of a change is not asked after those who did not.
                queue = self._queues[turn.lane]
                queue.appendleft(name) if turn.poked else queue.append(name)
        taken: list[str] = []
        for lane, queue in self._queues.items():
            while queue and self._asked[lane] < self._places[lane]:
                name = queue.popleft()
                turn = self._turns[name]
                turn.state = "asked"
                if turn.poked:
                    turn.poked, turn.poked_ms = False, now_ms
                self._asked[lane] += 1
                taken.append(name)
        return taken

    def done(self, name: str, *, answered: bool | None, now_ms: int) -> None:
        """It was asked. `answered` None: nobody knows; it stays in its lane."""
        turn = self._turns[name]
        assert turn.state == "asked"
        self._asked[turn.lane] -= 1
        turn.state = "idle"
        if answered is not None:
            turn.silent = 0 if answered else turn.silent + 1
            turn.lane = Lane.FAST if answered else Lane.SLOW
        period_ms = turn.period_ms
        if turn.silent:
            factor = min(max(1, turn.silent - 2), SLOW_FACTOR_MAX)
            period_ms = max(period_ms, min(period_ms * factor, SLOW_MS_MAX))
        # From when it was due: its place in the cycle stays. What was late is not made up for.
        next_ms = turn.due_ms + period_ms
        turn.due_ms = next_ms if next_ms > now_ms else now_ms + period_ms
        if turn.poked:  # by a trap that came while it was asked
            turn.due_ms = min(turn.due_ms, max(now_ms, (turn.poked_ms or 0) + POKE_MS))
        self._push(name, turn)

    def next_ms(self) -> int | None:
        """When `take` is to be called, unless something is done or poked before."""
        return self._due[0][0] if self._due else None

    def _push(self, name: str, turn: Turn) -> None:
        turn.stamp += 1
        heappush(self._due, (turn.due_ms, turn.stamp, name))
