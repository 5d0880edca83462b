"""How late our own loop was: silence that we may have caused ourselves says nothing of a device."""

import asyncio
from collections import deque

LOOK_MS = 50
KEPT = 600
"""Looks that are remembered: half a minute."""


class Lag:
    """Looks at the clock of the running loop.

    By callbacks, which run in the order of their times: how late the loop was is known before any
    time-out of the same turn is acted on.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.worst_ms = 0.0

    def start(self) -> None:
        self._again()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def since_ms(self, since_s: float) -> float:
        """The most that the loop was late since then, by its own clock."""
        late = max((late for at, late in self._late if at >= since_s), default=0.0)
        return max(late, (self._loop.time() - self._due) * 1_000)

    def _again(self) -> None:
        self._due = self._loop.time() + LOOK_MS / 1_000
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        late_ms = (now - self._due) * 1_000
        self._late.append((now, late_ms))
        self.worst_ms = max(self.worst_ms, late_ms)
        self._again()
