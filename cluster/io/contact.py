"""Whether a store answers: noted once when it stops and once when it does so again."""

from collections.abc import Callable

from cluster.io.clock import now_ms

Note = Callable[..., None]


def quiet(what: str, **fields: object) -> None:
    """For whoever does not want to be told."""


class Contact:
    """What a store's adapter tells of each call."""

    def __init__(self, store: str, note: Note) -> None:
        """`store`: what it is called where a person reads it."""
        self.store = store
        self._note = note
        self._since_ms: int | None = None

    def answered(self) -> None:
        if self._since_ms is not None:
            self._note("store back", store=self.store, away_ms=self.silent_ms())
            self._since_ms = None

    def missed(self, why: str) -> None:
        """`why` names no secret."""
        if self._since_ms is None:
            self._since_ms = now_ms()
            self._note("store away", store=self.store, error=why)

    def silent_ms(self) -> int:
        return 0 if self._since_ms is None else now_ms() - self._since_ms
