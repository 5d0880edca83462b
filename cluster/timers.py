"""Timers of a shard's records: a key is armed with its record's deadline after each change."""

import heapq

NEVER_MS = -1


class Timers:
    """Deadlines in shard time. The newest one that a key was armed with counts."""

    def __init__(self) -> None:
        self._armed: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._n = 0

    def arm(self, key: str, deadline_ms: int | None) -> None:
        """The record's deadline is this now; None: it has none."""
        if self._armed.get(key) == deadline_ms:
            return
        if deadline_ms is None:
            del self._armed[key]
            return
        self._armed[key] = deadline_ms
        self._n += 1
        heapq.heappush(self._heap, (deadline_ms, self._n, key))

    def next_ms(self) -> int | None:
        """When `take` may have something; a little early if that timer was changed since."""
        return self._heap[0][0] if self._heap else None

    def take(self, now_ms: int) -> tuple[int, str] | None:
        """The earliest timer that is due, as (deadline, key): once, until `arm` gives it anew."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            deadline_ms, _, key = heapq.heappop(heap)
            if self._armed.get(key) == deadline_ms:
                self._armed[key] = NEVER_MS
                return deadline_ms, key
        return None

    def spent(self, key: str, deadline_ms: int) -> None:
        """If the step that got the timer left it as it was, it does not come again at once."""
        if self._armed.get(key) == deadline_ms:
            self._armed[key] = NEVER_MS

    def sweep(self) -> None:
        """Drop the stale ones once they are the most."""
        if len(self._heap) > 64 + 4 * len(self._armed):
            self._heap = [timer for timer in self._heap if self._armed.get(timer[2]) == timer[0]]
            heapq.heapify(self._heap)
