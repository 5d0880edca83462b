"""What can happen to a shard of alarms: the events that `gateway_mgmt.alarms.machine` steps on."""

import msgspec

from gateway_mgmt.alarms.records import Plan
from gateway_mgmt.observation import Observation


class PollerStarts(msgspec.Struct, frozen=True, gc=False):
    """A process that polls is about to start: its SNMP engine has booted once more."""


class Observed(msgspec.Struct, frozen=True, gc=False):
    """What one poll, or one trap, has shown."""

    observations: tuple[Observation, ...]


class Acknowledge(msgspec.Struct, frozen=True, gc=False):
    """Somebody takes care of this occurrence of an alarm."""

    alarm: str
    by: str
    note: str = ""


class SetWindow(msgspec.Struct, frozen=True, gc=False):
    """Maintenance of `prefix` and its parts; one of the same id is replaced."""

    id: str
    prefix: str
    from_wall_ms: int
    until_wall_ms: int
    by: str = ""
    note: str = ""


class EndWindow(msgspec.Struct, frozen=True, gc=False):
    """The maintenance is over before its time."""

    id: str
    by: str = ""


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A receiver has these notices, or will not have them."""

    receiver: str
    notices: tuple[str, ...]
    """Keys of their records."""
    refused: str = ""
    """Why it will not; empty: it has them."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """A shard of calls has committed what it was told of a trunk."""

    shard: str
    trunk: str
    order: int


class Configure(msgspec.Struct, frozen=True, gc=False):
    """The plan as this node knows it: this version of it."""

    plan: Plan
    version: int = 1
