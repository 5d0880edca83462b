"""How one takeover went, moment by moment: what an engineer wants to know the night after."""

import msgspec

FIRST_EFFECT_MS = 1_000
"""A shard that had nothing to send for so long is told of without a first effect."""


class Switch(msgspec.Struct):
    """One node's way to the lead of a shard. Moments are ms of that node's monotonic clock."""

    epoch: int
    old: str
    """Node that led before; "" if none did."""
    why: str
    """What called for a new active."""
    suspected_ms: int
    asked_ms: int
    """The store was asked for the epoch."""
    won_ms: int
    records: int
    moved_ms: int = 0
    """The shard's address is here."""
    read_ms: int = 0
    """The records are decoded."""
    serving_ms: int = 0
    """The barrier is committed too."""
    first_effect_ms: int | None = None

    def document(self) -> dict[str, str | int | None]:
        """What happened, each moment in ms since the suspicion."""
        began = self.suspected_ms
        first = self.first_effect_ms
        return {
            "from": self.old,
            "why": self.why,
            "asked_ms": self.asked_ms - began,
            "won_ms": self.won_ms - began,
            "moved_ms": self.moved_ms - began,
            "read_ms": self.read_ms - began,
            "serving_ms": self.serving_ms - began,
            "first_effect_ms": None if first is None else first - began,
            "records": self.records,
        }
