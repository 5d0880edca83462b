"""What can happen to a shard of calls: the events that `calls.machine` steps on."""

import msgspec

from calls.centre import Centre
from sip.message import Message

Address = tuple[str, int]


class Requested(msgspec.Struct, frozen=True, gc=False):
    """A new SIP request, ACK and CANCEL included."""

    message: Message
    source: Address


class TurnedAway(msgspec.Struct, frozen=True, gc=False):
    """A new call that got its 503 without a step: a refusal waits for no commit."""

    number: str
    cause: str
    """overload, draining, no_media or outbox."""


class Responded(msgspec.Struct, frozen=True, gc=False):
    """A SIP response to a request of ours."""

    message: Message
    source: Address


class TimedOut(msgspec.Struct, frozen=True, gc=False):
    """A request of ours had no final answer (timers B and F)."""

    branch: str
    method: str


class MediaApplied(msgspec.Struct, frozen=True, gc=False):
    """The media server's session is as wanted by `counter`."""

    session: str
    counter: int
    sdps: dict[str, str]
    ports: dict[str, int]


class MediaRefused(msgspec.Struct, frozen=True, gc=False):
    """The media server will not do what `counter` wants."""

    session: str
    counter: int
    reason: str


class PlayEnded(msgspec.Struct, frozen=True, gc=False):
    """A prompt was played to its end."""

    session: str
    n: int
    play: int


class Digit(msgspec.Struct, frozen=True, gc=False):
    """Someone pressed a key (RFC 4733)."""

    session: str
    n: int
    leg: str
    digit: str


class MediaSessions(msgspec.Struct, frozen=True, gc=False):
    """The media server is there (again), and these sessions of the shard it has."""

    sessions: list[str]


class Drained(msgspec.Struct, frozen=True, gc=False):
    """The database has these outbox records."""

    keys: list[str]


class Configure(msgspec.Struct, frozen=True, gc=False):
    """The centre as this node knows it: this version of it."""

    centre: Centre
    version: int = 1


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Go on with the agents whom a change of the centre concerns."""


class SetAgent(msgspec.Struct, frozen=True, gc=False):
    """An agent, or a supervisor for him, asks for a state: ready, not_ready or signed_out."""

    agent: str
    state: str
    reason: str


class LostCall(msgspec.Struct, frozen=True, gc=False):
    """A call that was open when every copy of the shard died, as far as the database knows."""

    call: str
    number: str
    caller: str
    received_wall_ms: int
    was_queued: bool
    was_answered: bool


class SipDead(msgspec.Struct, frozen=True, gc=False):
    """The active node's SIP side does not answer although its links live: it hands over."""

    node: str


class Switched(msgspec.Struct, frozen=True, gc=False):
    """This node has taken the shard over, and how that went: see `cluster.switch`."""

    fields: dict[str, str | int | None]


class CloseLost(msgspec.Struct, frozen=True, gc=False):
    """Every copy of the shard died: what the database knows of its open calls and its ledger."""

    epoch: int
    """The first one after the loss."""
    calls: list[LostCall]
    ledger: dict[str, int]
    """Facts by kind; those that name a class of the ledger count."""
