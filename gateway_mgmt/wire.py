"""What goes between the process that polls and the node that started it: a JSON object a line."""

import msgspec

from gateway_mgmt.inventory import Address, Device
from gateway_mgmt.profile import Profile


class Configure(msgspec.Struct, tag="configure", frozen=True):
    """Watch these from now on. What is known of a device that did not change stays known."""

    devices: dict[str, Device]
    profiles: dict[str, Profile]
    traps: Address | None = None
    """Where traps are listened for."""
    engine_id: str = "80001f8804" + b"keepline".hex()
    """Ours, for informs of SNMPv3, in hexadecimal digits; the same wherever a device sends them."""
    boots: int = 1
    """Grows with each start under this engine id."""
    known_ms: dict[str, dict[int, list[int]]] = {}
    """Starts of intervals that somebody keeps already, by device and span."""


class Poll(msgspec.Struct, tag="poll", frozen=True):
    """Ask this device now, if it was not just asked."""

    device: str


class Started(msgspec.Struct, tag="started", frozen=True):
    """The answer to Configure; once more when the traps' address is had that was not before."""

    poller: str
    traps: Address | None
    trap_rcvbuf: int
    error: str = ""
    """Why it could not be done."""
