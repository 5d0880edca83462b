"""What is declared of gateways and E1 lines, and which numbers and queues hang on them.

A secret is never here: a credential is a reference, `env:NAME` or `file:/PATH`, that the process
which polls resolves (`gateway_mgmt.io.credentials`).
"""

import re
from collections.abc import Iterable

import msgspec

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.profile import Profile
from gateway_mgmt.receivers import Receiver

Address = tuple[str, int]
"""IPv4 address and UDP port."""


SLOTS = 32
"""Time slots of an E1; slot 0 keeps the frame."""
SPANS_MAX = 64
POLL_MS = 60_000


class Site(msgspec.Struct, frozen=True):
    """A place. The devices of one are watched by one node at a time."""

    name: str = ""
    traps: Address | None = None
    """Where traps of its devices are listened for; None: nowhere."""
    preferred: tuple[str, ...] = ()
    """Nodes that should watch it, best first; none: any."""
    kinds: dict[str, Kind] = {}
    """How alarms behave here, by condition, where that is not as usual."""


class Carrier(msgspec.Struct, frozen=True):
    """Who is at the other end of lines."""

    name: str = ""
    contact: str = ""
    """Whom to call about a fault."""


class Span(msgspec.Struct, frozen=True):
    """An E1 line of a device."""

    index: int
    """Its line index in DS1-MIB, and its ifIndex."""
    slots: tuple[int, ...] = (*range(1, 16), *range(17, SLOTS))
    """Time slots that carry calls."""
    d_channel: int = 16
    """The time slot of the D channel, or of channel-associated signalling; 0: none."""
    trunk: str = ""
    errored_seconds_max: int = 0
    """As many errored seconds in 15 minutes are an alarm; 0: none are."""


class Device(msgspec.Struct, frozen=True):
    """A gateway, or another host that is asked by SNMP."""

    site: str
    profile: str
    address: Address
    access: Community | User
    sip: Address | None = None
    """Is asked by OPTIONS when SNMP does not answer."""
    traps_from: tuple[str, ...] = ()
    """Where its traps come from, besides `address`."""
    interfaces: tuple[int, ...] = ()
    """ifIndex of what is watched besides its spans."""
    poll_ms: int = POLL_MS
    spans: dict[int, Span] = {}


class Trunk(msgspec.Struct, frozen=True):
    """Spans to one carrier, and what hangs on them."""

    carrier: str = ""
    numbers: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


class Inventory(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of it."""

    sites: dict[str, Site] = {}
    carriers: dict[str, Carrier] = {}
    devices: dict[str, Device] = {}
    trunks: dict[str, Trunk] = {}
    receivers: dict[str, Receiver] = {}
    """Who is told of alarms."""
    profiles: dict[str, Profile] = {}
    """Of our own, besides the shipped ones; one of the same name takes its place."""


NONE = Inventory()


def read_slots(written: str) -> tuple[int, ...] | None:
    """`1-15,17-31` as numbers in order; None when it is not that."""
    slots: list[int] = []
    for part in written.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,2})(?:-([0-9]{1,2}))?\s*", part)
        if found is None:
            return None
        first = int(found[1])
        slots += range(first, int(found[2] or first) + 1)
    is_sound = slots and len(set(slots)) == len(slots) and min(slots) > 0 and max(slots) < SLOTS
    return tuple(sorted(slots)) if is_sound else None


def slots_in_words(slots: Iterable[int]) -> str:
    """Numbers as `1-15,17-31`."""
    runs: list[list[int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot - 1:
            runs[-1][1] = slot
        else:
            runs.append([slot, slot])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
