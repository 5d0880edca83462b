"""What kinds of alarms there are: how long each soaks and holds, how bad it is, what causes what.

Severities are those of X.733 and RFC 3877. Every value can be set anew for a site, or for a gateway
by its vendor's profile.
"""

import msgspec

CRITICAL, MAJOR, MINOR, WARNING = "critical", "major", "minor", "warning"
INDETERMINATE, CLEARED = "indeterminate", "cleared"
RAISABLE = (CRITICAL, MAJOR, MINOR, WARNING, INDETERMINATE)
SEVERITIES = (*RAISABLE, CLEARED)


class Kind(msgspec.Struct, frozen=True):
    """How an alarm of one condition behaves."""

    severity: str
    soak_ms: int = 2_500
    """So long the condition is on before the alarm is raised."""
    hold_ms: int = 10_000
    """So long it is off before the alarm is cleared."""
    takes_out: bool = False
    """What it befalls leaves call routing at once, without a soak."""


DEFAULTS = {
    "unreachable": Kind(CRITICAL),
    "sip_down": Kind(CRITICAL, takes_out=True),
    "reboot": Kind(WARNING, soak_ms=0, hold_ms=0),
    "out_of_service": Kind(MAJOR, takes_out=True),
    "los": Kind(CRITICAL, takes_out=True),
    "lof": Kind(MAJOR, takes_out=True),
    "ais": Kind(MAJOR, takes_out=True),
    "rai": Kind(MINOR),
    "tx_rai": Kind(WARNING),
    "tx_ais": Kind(WARNING),
    "ts16_ais": Kind(MAJOR),
    "ts16_lomf": Kind(MAJOR),
    "tx_lomf": Kind(WARNING),
    "payload_ais": Kind(MAJOR),
    "loopback": Kind(MINOR, takes_out=True),
    "test_code": Kind(MINOR, takes_out=True),
    "other_fault": Kind(INDETERMINATE),
    "unavailable": Kind(MAJOR, takes_out=True),
    "errored_seconds": Kind(MINOR, takes_out=True),
    "d_channel_down": Kind(MAJOR, takes_out=True),
    "trunk_busy": Kind(CRITICAL),
}
NOT_KNOWN = Kind(INDETERMINATE)
"""Of a condition that only a newer version knows."""

_BELOW = frozenset({"d_channel_down", "out_of_service", "trunk_busy"})
"""What fails when its span carries nothing."""
_SIGNAL = _BELOW | {"ts16_ais", "ts16_lomf", "tx_rai", "errored_seconds", "unavailable"}

CAUSES: dict[str, frozenset[str] | None] = {
    "unreachable": None,
    "los": _SIGNAL | {"lof", "ais", "rai", "payload_ais", "other_fault"},
    "ais": _SIGNAL | {"lof", "payload_ais"},
    "lof": _SIGNAL | {"rai", "payload_ais"},
    "unavailable": frozenset({"errored_seconds"}) | _BELOW,
    "loopback": frozenset({"d_channel_down", "out_of_service"}),
    "test_code": frozenset({"d_channel_down", "out_of_service"}),
    "out_of_service": _BELOW,
    "d_channel_down": frozenset({"out_of_service", "trunk_busy"}),
}
"""What follows from a condition, on the same object and on its parts, causes of causes first. An
alarm that follows from another one is kept, and its message waits. None: all but a reboot, which
says why nobody could be reached."""
_RANK = {cause: rank for rank, cause in enumerate(CAUSES)}


def explains(cause: str, condition: str, *, is_same_object: bool) -> bool:
    """Does `condition` follow from `cause` on the same object, or on one that it is part of?

    On the same object never from one that comes later in CAUSES: two that explained each other
    would wait for each other.
    """
    if is_same_object and _RANK.get(condition, len(_RANK)) <= _RANK[cause]:
        return False
    follows = CAUSES[cause]
    return condition != "reboot" if follows is None else condition in follows
