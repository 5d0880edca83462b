"""What a relay between two nodes lets through, and when: links that are cut, slow or broken.

A link has two directions, each of which can be silenced or delayed by itself. As on a network that
drops packets under TCP, nothing is lost or reordered, nothing passes while a direction is silent,
not even the end of a connection, and all of it comes through when the silence ends.
"""

from collections import deque
from dataclasses import dataclass, field

FULL_BYTES = 4 << 20
"""Beyond this no more is read from whoever sends: his own buffers fill, as on a real link."""

Direction = tuple[str, str]
"""(from, to): node names."""


class End:
    """The connection ends here, behind all that was sent before."""


END = End()
Chunk = bytes | End


@dataclass
class Weather:
    """What is done to one direction now."""

    silent: bool = False
    delay_ms: float = 0.0

    @property
    def is_fair(self) -> bool:
        return not self.silent and not self.delay_ms


@dataclass
class Pipe:
    """One direction of one connection."""

    weather: Weather
    waiting: deque[tuple[float, Chunk]] = field(default_factory=deque)
    bytes_waiting: int = 0

    def passes(self) -> bool:
        """What comes now may go on at once."""
        return self.weather.is_fair and not self.waiting

    def put(self, chunk: Chunk, now_ms: float) -> None:
        """What came and may not pass yet."""
        due_ms = now_ms + self.weather.delay_ms
        if self.waiting:  # in order, though the delay has become shorter
            due_ms = max(due_ms, self.waiting[-1][0])
        self.waiting.append((due_ms, chunk))
        if isinstance(chunk, bytes):
            self.bytes_waiting += len(chunk)

    def due(self, now_ms: float) -> list[Chunk]:
        """What may go on now, in order."""
        found: list[Chunk] = []
        while not self.weather.silent and self.waiting and self.waiting[0][0] <= now_ms:
            chunk = self.waiting.popleft()[1]
            if isinstance(chunk, bytes):
                self.bytes_waiting -= len(chunk)
            found.append(chunk)
        return found

    @property
    def next_ms(self) -> float | None:
        """When to ask `due` again; None: when the weather changes, or something comes."""
        return self.waiting[0][0] if self.waiting and not self.weather.silent else None

    @property
    def is_full(self) -> bool:
        return self.bytes_waiting >= FULL_BYTES
