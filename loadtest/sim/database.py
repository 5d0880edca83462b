"""The database of a simulated centre: facts by id, each once, and at times nobody there.

What `node.events_db` is to a real node.
"""

from collections import Counter
from typing import Any

from calls.inputs import CloseLost, LostCall
from calls.records import Event


class Database:
    """All facts of all shards, in the order in which they came."""

    def __init__(self) -> None:
        self.is_away = False
        self.events: dict[str, Event] = {}

    def insert(self, events: list[Event]) -> bool:
        """Were they written? Those that are there already are left as they are."""
        if not self.is_away:
            for event in events:
                self.events.setdefault(event.id, event)
        return not self.is_away

    def facts(self, kind: str, shard: str = "") -> list[dict[str, Any]]:
        """What it has of this kind, in order."""
        return [
            event.fields | {"call": event.call}
            for event in self.events.values()
            if event.kind == kind and shard in ("", _shard(event))
        ]

    def left_behind(self, shard: str, epoch: int) -> CloseLost | None:
        """Calls that epochs before this one left open, and facts by kind; None: nobody there."""
        if self.is_away:
            return None
        before = [
            event
            for event in self.events.values()
            if _shard(event) == shard and _epoch(event) < epoch
        ]
        kinds = Counter(event.kind for event in before)
        about: dict[str, dict[str, Event]] = {}
        for event in before:
            if event.call:
                about.setdefault(event.call, {})[event.kind] = event
        calls = [
            LostCall(
                call,
                seen["received"].fields.get("number", ""),
                seen["received"].fields.get("caller", ""),
                seen["received"].wall_ms,
                "queued" in seen,
                "answered" in seen,
            )
            for call, seen in about.items()
            if "received" in seen and "ended" not in seen
        ]
        return CloseLost(epoch, calls, dict(kinds))


def _shard(event: Event) -> str:
    return event.id.partition("/")[0]


def _epoch(event: Event) -> int:
    return int(event.id.split("/")[1])
