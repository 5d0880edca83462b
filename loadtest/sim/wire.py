"""The UDP between phones and shards: datagrams are late, lost, doubled and overtake each other."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.uri import Address

if TYPE_CHECKING:
    from loadtest.sim.world import World

LOSS = (0.0, 0.0, 0.01, 0.05)
DOUBLE = (0.0, 0.02)
LATE = 0.02
LATE_MS = (20, 60, 700)

Arrive = Callable[[bytes, Address, Address], None]


class Wire:
    """One network; `arrive(datagram, source, destination)` is called for what gets through."""

    def __init__(self, world: "World", arrive: Arrive) -> None:
        self._world = world
        self._arrive = arrive
        self._loss = world.draw.choice(LOSS)
        self._double = world.draw.choice(DOUBLE)

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """On its way."""
        world = self._world
        draw = world.draw
        if world.is_told:
            world.remark("", f"{named(source)} > {named(destination)}", title(datagram))
        if draw.random() < self._loss:
            world.tell("", "lost datagram", title(datagram) if world.is_told else None)
            return
        self._carry(datagram, source, destination)
        if draw.random() < self._double:
            world.tell("", "doubled datagram", title(datagram) if world.is_told else None)
            self._carry(datagram, source, destination)

    def _carry(self, datagram: bytes, source: Address, destination: Address) -> None:
        draw = self._world.draw
        delay_ms = draw.choice(LATE_MS) if draw.random() < LATE else 1 + draw.random()
        self._world.at(delay_ms, lambda: self._arrive(datagram, source, destination))

    def calm(self) -> None:
        """Nothing is lost or doubled any more."""
        self._loss = self._double = 0.0


def named(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def title(datagram: bytes) -> str:
    """A datagram's first line, CSeq, Call-ID and branch: what a reader of a log looks for."""
    first, *lines = datagram.decode("utf-8", "replace").split("\r\n")
    wanted = {
        name: line.partition(":")[2].strip()
        for line in lines
        if (name := line.partition(":")[0].lower()) in ("cseq", "call-id")
    }
    via = next((line for line in lines if line.lower().startswith("via:")), "")
    branch = via.partition("branch=")[2].partition(";")[0]
    return f"{first} | {wanted.get('cseq')} | {wanted.get('call-id')} | {branch}"
