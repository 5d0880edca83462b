"""What a step of a call asks for; performed by the node once the step is committed."""

import msgspec

from calls.records import Event
from media_servers.verbs import Session
from sip.dialog import Origin

Address = tuple[str, int]


class Respond(msgspec.Struct, frozen=True, gc=False):
    """Answer a request by its server transaction."""

    origin: Origin
    status: int
    datagram: bytes


class Request(msgspec.Struct, frozen=True, gc=False):
    """Send a request by a client transaction; asking twice repeats the same bytes."""

    method: str
    branch: str
    datagram: bytes
    destination: Address


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send an ACK to a 2xx: no transaction."""

    datagram: bytes
    destination: Address


class Acked(msgspec.Struct, frozen=True, gc=False):
    """The ACK to our 2xx is there: stop repeating it."""

    origin: Origin


class ApplyMedia(msgspec.Struct, frozen=True, gc=False):
    """Make the media server's session what the record wants."""

    session: Session


class DeleteMedia(msgspec.Struct, frozen=True, gc=False):
    """The media session is over; forgotten ones are found by comparison after a takeover."""

    session: str


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Write the facts of one step to the database, then say `Drained`."""

    key: str
    events: list[Event]


class FindLost(msgspec.Struct, frozen=True, gc=False):
    """Ask the database what epochs before this one left open, then say `CloseLost`."""

    epoch: int


class GoOn(msgspec.Struct, frozen=True, gc=False):
    """More agents are to be settled after a change of the centre: say `Settle`."""


Effect = Respond | Request | Send | Acked | ApplyMedia | DeleteMedia | Publish | FindLost | GoOn
