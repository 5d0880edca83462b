"""Sounds in frames of 20 ms: loops that all listeners share, and playings that end once."""

from collections.abc import Callable


class Sound:
    """A sound encoded in each law. It may be not ready yet, or turn out to be unusable."""

    __slots__ = ("failed", "frames", "length", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames: dict[int, list[bytes]] = {}
        self.length = 0
        self.failed = False

    def fill(self, frames: dict[int, list[bytes]]) -> None:
        """It is ready: as many frames in each law."""
        self.frames = frames
        self.length = min(map(len, frames.values()))
        self.failed = self.length == 0


class Loop:
    """A sound without end; its place is that of the server's clock, the same for everyone."""

    __slots__ = ("_sound",)

    def __init__(self, sound: Sound) -> None:
        self._sound = sound

    def frame(self, tick: int, law: int) -> bytes | None:
        sound = self._sound
        return sound.frames[law][tick % sound.length] if sound.length else None


class Once:
    """A sound that ends; `on_end` is called once, 20 ms after its last frame. Unusable: at once.

    Whoever listened then hears `then`, if there is one, without a gap.
    """

    __slots__ = ("_on_end", "_sound", "_start", "_then")

    def __init__(self, sound: Sound, on_end: Callable[[], None], then: Loop | None = None) -> None:
        self._sound = sound
        self._on_end: Callable[[], None] | None = on_end
        self._start = -1
        self._then = then

    def frame(self, tick: int, law: int) -> bytes | None:
        sound = self._sound
        if self._on_end is None:
            return None if self._then is None else self._then.frame(tick, law)
        if not (sound.length or sound.failed):
            return None
        if self._start < 0:
            self._start = tick
        place = tick - self._start
        if place < sound.length:
            return sound.frames[law][place]
        ended, self._on_end = self._on_end, None
        ended()
        return None if self._then is None else self._then.frame(tick, law)
