"""What a shard of alarms replicates.

Everything that is still to be done stands in a field here: a message that a receiver has not
confirmed (`Notice.waiting`), a trunk's state that a shard of calls has not (`Route.confirmed`), a
soak or hold that has not ended (`Alarm.until_ms`). Times are milliseconds of shard time unless the
name says `wall`. Fields are only ever added at the end.
"""

import msgspec

from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.trunks import Impact, Trunk, TrunkState

# An alarm's life.
IDLE = 0  # off; remembered for as long as it counts as flapping when it comes on again
SOAKING = 1
RAISED = 2
HOLDING = 3  # off again, not for long enough to be cleared

# What the receivers were told last of it; "" is: nothing, or that it is cleared.
TOLD_RAISED, TOLD_FLAPPING = "raised", "flapping"


class Alarm(msgspec.Struct, array_like=True, gc=False):
    """One condition of one object."""

    path: str
    condition: str
    state: int = IDLE
    since_wall_ms: int = 0
    """When it was seen on first."""
    until_ms: int = 0
    """End of the soak or hold, or of the memory of an idle one; 0: none."""
    returns: list[int] = []
    """When it came on again shortly after it had gone off; at most FLAPS of them."""
    stable_ms: int = 0
    """It flaps, and does so no more at this moment if nothing happens; 0: does not flap."""
    id: str = ""
    """Of this occurrence, from the raise to the clear."""
    seq: int = 0
    """How many messages there were about this occurrence."""
    told: str = ""
    by: str = ""
    """Why its message waits: `condition@path` of the cause, or `window:ID`; empty: it does not."""
    is_known: bool = True
    """The last poll could tell."""
    acked_by: str = ""
    acked_wall_ms: int = 0
    note: str = ""

    @property
    def key(self) -> str:
        return alarm_key(self.path, self.condition)

    @property
    def name(self) -> str:
        """As others' `by` has it."""
        return f"{self.condition}@{self.path}"

    @property
    def is_active(self) -> bool:
        """Does it explain what follows from it?"""
        return self.state != IDLE or self.stable_ms > 0


def alarm_key(path: str, condition: str) -> str:
    return f"alarm/{condition}/{path}"


class Line(msgspec.Struct, array_like=True, gc=False):
    """An object that is out of call routing."""

    path: str
    faults: list[str]
    """What is wrong with it, sorted; empty: nothing any more, but it does not return yet."""
    back_ms: int = 0
    """When it returns; 0: not while it has faults."""
    last: str = ""
    """The fault that went last."""


class Route(msgspec.Struct, array_like=True, gc=False):
    """A trunk's state, and which shards of calls have it."""

    state: TrunkState
    confirmed: dict[str, int] = {}
    """The `order` that each shard confirmed last."""


class Window(msgspec.Struct, array_like=True, gc=False):
    """Maintenance: alarms of an object and its parts that are raised meanwhile wait for its end."""

    id: str
    prefix: str
    from_ms: int
    until_ms: int
    by: str = ""
    note: str = ""


class Notice(msgspec.Struct, array_like=True, gc=False):
    """A message about an alarm, kept until every receiver has it."""

    id: str
    """The alarm's, and the number of the message: a repeat has the same."""
    alarm: str
    seq: int
    what: str
    """raised, flapping or cleared."""
    path: str
    condition: str
    severity: str
    """Of the alarm, whatever is told of it."""
    since_wall_ms: int
    wall_ms: int
    impact: Impact
    waiting: list[str] = []
    """The receivers that do not have it yet."""
    note: str = ""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One line of the history."""

    n: int
    wall_ms: int
    what: str
    """raised, told, flapping, cleared, acknowledged, window, window_over, routing, refused,
    dropped, bug, promoted or cluster_lost."""
    path: str
    condition: str = ""
    alarm: str = ""
    by: str = ""
    """Who did it, or why no message went."""
    note: str = ""


class Journal(msgspec.Struct, array_like=True, gc=False):
    """How many lines of history there ever were."""

    written: int = 0


class Engine(msgspec.Struct, array_like=True, gc=False):
    """The SNMP engine that listens for this shard (RFC 3414 §2.2.2): whoever it told its boots, and
    then hears fewer, takes it for an impostor."""

    boots: int = 0


class Plan(msgspec.Struct, frozen=True):
    """What is declared: all that alarms are decided by."""

    gateways: dict[str, dict[str, Kind]] = {}
    """Those that are watched, each with the kinds that its profile sets anew."""
    trunks: dict[str, Trunk] = {}
    kinds: dict[str, Kind] = {}
    """What the site sets anew."""
    receivers: tuple[str, ...] = ()
    """Who is told of alarms."""
    shards: tuple[str, ...] = ()
    """The shards of calls, who are told of trunks."""
    return_ms: int = 10_000
    """So long all must be well before an object returns to call routing."""
    looked_for: dict[str, int] = {}
    """By path of a gateway or a line: which of `conditions` is looked for there. Empty: an older
    version has written this, and nobody knows."""
    conditions: tuple[tuple[str, ...], ...] = ()


class Settings(msgspec.Struct, gc=False):
    """The plan that this shard decides by."""

    plan: Plan
    version: int = 1


Record = Alarm | Line | Route | Window | Notice | Entry | Journal | Settings | Engine

TYPES: dict[str, type] = {
    "alarm": Alarm,
    "line": Line,
    "route": Route,
    "window": Window,
    "notice": Notice,
    "history": Entry,
    "journal": Journal,
    "settings": Settings,
    "engine": Engine,
}
"""A record's type by the first part of its key."""
