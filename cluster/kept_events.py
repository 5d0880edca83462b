"""Events of a shard that is being handed over: should it stay here, they are due."""

from collections.abc import Callable
from typing import Any

MOST = 10_000
"""More are dropped; if the shard stays, its timers find out."""


class KeptEvents:
    """Hands events on, but while the shard is held."""

    def __init__(self, post: Callable[[Any], object]) -> None:
        self._hand_on = post
        self._events: list[Any] | None = None

    @property
    def is_held(self) -> bool:
        return self._events is not None

    def post(self, event: Any) -> None:
        if self._events is None:
            self._hand_on(event)
        elif len(self._events) < MOST:
            self._events.append(event)

    def hold(self) -> None:
        """It is being handed over."""
        self._events = []

    def go_on(self) -> None:
        """It stays: what happened meanwhile happens now."""
        events, self._events = self._events or [], None
        for event in events:
            self.post(event)

    def forget(self) -> None:
        """It has left."""
        self._events = None
