"""What the 32 time slots of an E1 do, as far as a device tells it. What none tells is unknown."""

from collections.abc import Collection

from gateway_mgmt.inventory import SLOTS, Span
from gateway_mgmt.reading import SpanReading

FRAME, D_CHANNEL, D_CHANNEL_DOWN = "frame", "d_channel", "d_channel_down"
IDLE, IN_USE, OUT_OF_SERVICE = "idle", "in_use", "out_of_service"
NOT_USED, UNKNOWN = "not_used", "unknown"
STATES = (FRAME, D_CHANNEL, D_CHANNEL_DOWN, IDLE, IN_USE, OUT_OF_SERVICE, NOT_USED, UNKNOWN)
"""`not_used`: is declared to carry no calls."""

CARRIES_NOTHING = frozenset(
    {"los", "lof", "ais", "loopback", "test_code", "unavailable", "out_of_service"}
)
"""Of a line that is so no time slot carries anything."""

IN_USE_BITS = "slots_in_use"
"""A column of this name in a profile tells which: bit N of its value is time slot N."""
IN_USE_COUNT = "channels_in_use"
"""A column of this name tells how many of the span's channels carry a call."""


def in_use(span: Span, reading: SpanReading) -> int | None:
    """How many channels carry a call; None: the device does not tell."""
    bits = reading.own.get(IN_USE_BITS)
    if bits is not None:
        return sum(bits >> slot & 1 for slot in span.slots)
    counted = reading.own.get(IN_USE_COUNT)
    return None if counted is None else max(0, min(counted, len(span.slots)))


def states(
    span: Span,
    reading: SpanReading | None,
    conditions: Collection[str],
    out: Collection[int] = (),
) -> list[str]:
    """The state of each time slot. `out`: channels that an alarm says are out of service."""
    found = [NOT_USED] * SLOTS
    found[0] = FRAME
    for slot in span.slots:
        found[slot] = UNKNOWN if reading is None else _carrying(slot, span, reading)
    is_dead = not CARRIES_NOTHING.isdisjoint(conditions)
    down = {"d_channel_down", "ts16_ais", "ts16_lomf"}
    is_down = is_dead or not down.isdisjoint(conditions)
    for slot in span.slots:
        if slot in out or is_dead or "d_channel_down" in conditions:
            found[slot] = OUT_OF_SERVICE
    if span.d_channel:
        found[span.d_channel] = D_CHANNEL_DOWN if is_down else D_CHANNEL
        if reading is None:
            found[span.d_channel] = UNKNOWN
    return found


def _carrying(slot: int, span: Span, reading: SpanReading) -> str:
    bits = reading.own.get(IN_USE_BITS)
    if bits is not None:
        return IN_USE if bits >> slot & 1 else IDLE
    counted = in_use(span, reading)
    if counted == 0:
        return IDLE
    return IN_USE if counted == len(span.slots) else UNKNOWN
