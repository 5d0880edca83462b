"""What happens to a simulated person, and what he wants done: the two ends of his step."""

from dataclasses import dataclass

from loadtest.facts import AnyFact
from sip.dialog import Origin
from sip.message import Message
from sip.uri import Address


@dataclass(frozen=True, slots=True)
class Start:
    """The caller lifts his receiver and dials."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request or response came, as the transaction layer hands it on."""

    msg: Message
    source: Address


@dataclass(frozen=True, slots=True)
class Expired:
    """No final answer came to the request with this branch (timer B or F)."""

    branch: str
    method: str


@dataclass(frozen=True, slots=True)
class Hears:
    """What this phone hears in this call has changed to `what` (see loadtest.identity)."""

    call: str
    what: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The person's `deadline_ms` has come."""


@dataclass(frozen=True, slots=True)
class Release:
    """Whoever talks until he is released now talks for his talk time and then hangs up."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the other side for a sign of life, by a fresh OPTIONS inside the call."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Hang up now, whatever the state."""


Event = Start | Received | Expired | Hears | Tick | Release | Probe | HangUp


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request in a client transaction."""

    method: str
    branch: str
    datagram: bytes
    dst: Address


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a request in its server transaction."""

    origin: Origin
    status: int
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Direct:
    """Send a datagram without a transaction: the ACK to a 2xx."""

    datagram: bytes
    dst: Address


@dataclass(frozen=True, slots=True)
class Acked:
    """The ACK to our 2xx came."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Speak:
    """Send and hear audio in this call, from now on like this.

    `law` is 0 or 8; `keys` the payload type for digits, None where the other side takes none.
    """

    call: str
    remote: Address
    law: int
    keys: int | None
    sends: bool
    listens: bool


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop sending and hearing audio in this call, and log what was heard."""

    call: str


@dataclass(frozen=True, slots=True)
class Press:
    """Send these digits as RFC 4733 events."""

    call: str
    digits: str


@dataclass(frozen=True, slots=True)
class Note:
    """Log what was seen."""

    fact: AnyFact


Effect = Ask | Reply | Direct | Acked | Speak | Hush | Press | Note
