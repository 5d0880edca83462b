"""Shard time: integer milliseconds that never go back, not even over a takeover.

The active's beats carry it. A standby maps it to its own clock by the least delayed beat, and a new
active starts at the later of the last stamp and that mapping: no way back, no jump.
"""

START_MS = 1_000
"""A new shard's time begins here, so that 0 can mean "never"."""

WINDOW_MS = 5_000
"""Mappings older than one to two windows are forgotten: clocks drift apart."""


class ShardClock:
    """One member's view of its shard's time. All arguments are the node's monotonic ms."""

    def __init__(self, now_ms: int) -> None:
        self.last_ms = 0
        self._offset = START_MS - now_ms
        self._best: int | None = None
        self._best_before: int | None = None
        self._window_began_ms = now_ms

    def heard(self, stamp_ms: int, now_ms: int) -> None:
        """A standby got shard time `stamp_ms`; on its way it may have been delayed."""
        if now_ms - self._window_began_ms > WINDOW_MS:
            self._best_before, self._best = self._best, None
            self._window_began_ms = now_ms
        offset = stamp_ms - now_ms
        if self._best is None or offset > self._best:
            self._best = offset
        self.last_ms = max(self.last_ms, stamp_ms)

    def lead(self, now_ms: int) -> None:
        """From here on this member makes the time."""
        heard = [best for best in (self._best, self._best_before) if best is not None]
        if heard:
            self._offset = max(heard)
        self._offset = max(self._offset, self.last_ms - now_ms)

    def start_at(self, shard_ms: int, now_ms: int) -> None:
        """The shard goes on from a snapshot at this time."""
        self._offset = max(shard_ms, START_MS) - now_ms
        self._best = self._best_before = None
        self.last_ms = shard_ms

    def now(self, now_ms: int) -> int:
        """Shard time, for the active."""
        self.last_ms = max(self.last_ms, now_ms + self._offset)
        return self.last_ms

    def local(self, shard_ms: int) -> int:
        """The node's own time at which the active's shard time will be `shard_ms`."""
        return shard_ms - self._offset
