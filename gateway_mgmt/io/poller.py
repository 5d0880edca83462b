"""What asks a device: `Poller`, and what each of its kinds answers."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway_mgmt.inventory import Address
from gateway_mgmt.io.credentials import Resolved
from gateway_mgmt.reading import Values

TIMEOUT_MS = 2_000
"""Shorter ones make devices seem dead while we are late ourselves."""
RETRIES = 1
UNREADABLE = "its answer cannot be read"


class Target(NamedTuple):
    """Whom to ask."""

    name: str
    address: Address
    credentials: Resolved


class Answered(NamedTuple):
    values: Values
    """A value that the device does not have is None, or not there."""


class Silent(NamedTuple):
    """No answer in time, to any of the tries."""


class Refused(NamedTuple):
    """It answered that it will not: what is wrong, without any secret."""

    why: str


Answer = Answered | Silent | Refused


class Poller(Protocol):
    """One request at a time for each target; many targets at once, up to `places`."""

    name: str
    places: int

    async def get(
        self, target: Target, oids: Sequence[str], *, timeout_ms: int, retries: int
    ) -> Answer:
        """One request, repeated when it is not answered."""

    def forget(self, target: Target) -> None:
        """It may be another engine now: it started again, or did not answer."""

    def close(self) -> None: ...


def make(name: str) -> Poller:
    """`pysnmp`, `gufo`, or `auto`: gufo where it is installed. Raises ImportError."""
    if name in ("auto", "gufo"):
        try:
            from gateway_mgmt.io.gufo import GufoPoller

            return GufoPoller()
        except ImportError:
            if name == "gufo":
                raise
    from gateway_mgmt.io.with_pysnmp import PysnmpPoller

    return PysnmpPoller()
