"""What a step of alarms asks for; performed by the node once the step is committed."""

import msgspec

from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import TrunkState


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """Bring a notice to the receivers that wait for it, then say `Sent` with its key."""

    key: str
    notice: Notice


class Tell(msgspec.Struct, frozen=True, gc=False):
    """Let another shard step on `event`, once; say `Told` when it has committed that."""

    shard: str
    id: str
    """Equal when it is repeated."""
    event: TrunkState


class Look(msgspec.Struct, frozen=True, gc=False):
    """Poll this gateway soon: an alarm soaks, and its cause may have been seen by nobody yet."""

    gateway: str


class StartPoller(msgspec.Struct, frozen=True, gc=False):
    """Start the process that polls, with these boots of its SNMP engine."""

    boots: int


class Again(msgspec.Struct, frozen=True, gc=False):
    """A step on several observations was undone: step on each of them alone."""

    observations: tuple[Observation, ...]


Effect = Deliver | Tell | Look | StartPoller | Again
