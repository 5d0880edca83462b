"""What a shard replicates of its calls: one record per call, per dialog, per agent.

Everything that is still to be done stands in a field here (`incoming`, `outgoing`, `bye`, `probe`,
`media.counter > confirmed`): a node that takes over reads these fields and goes on. Times are
milliseconds of shard time unless the name says `wall`. Fields are only ever added at the end.
"""

from typing import Any

import msgspec

from calls.centre import Centre, ClosingQueue
from gateway_mgmt.trunks import TrunkState
from media_servers.verbs import Leg as MediaLeg
from media_servers.verbs import Session
from sip.dialog import Dialog, Origin

# A leg's life.
SETUP = 0  # the first INVITE has no final answer
UP = 1
ENDING = 2  # our BYE has no answer
ENDED = 3  # a tombstone, so that what the peer repeats gets its old answer

# A call's life.
RINGING = 0  # not answered to the caller yet
PROMPT = 1
WAITING = 2
OFFERING = 3
TALKING = 4


class Incoming(msgspec.Struct, array_like=True, gc=False):
    """An INVITE of the peer: unanswered, or answered and not acknowledged."""

    origin: Origin
    status: int = 0
    """Our final answer; 0: none yet."""
    body: str = ""
    needs: int = 0
    """The media counter whose result is the answer's SDP; 0: does not wait for media."""
    until_ms: int = 0
    """The ACK to our 200 is due; a refusal is answered again no longer; while it `needs` media, the
    media server is away and has so long to come back."""
    offerless: bool = False
    """The SDP answer comes with the ACK (RFC 3261 §13.2.1)."""
    previous: MediaLeg | None = None
    """His leg of the media session before this re-INVITE, in force again when it is refused."""
    progress: int = 100
    """Our last provisional answer: what a repeat gets."""


class Outgoing(msgspec.Struct, array_like=True, gc=False):
    """A request of ours without a final answer; a repeat uses the same branch and CSeq."""

    method: str
    branch: str
    cseq: int
    body: str = ""
    provisional: bool = False
    cancelled: bool = False
    until_ms: int = 0
    """When a cancelled INVITE is given up (RFC 3261 §9.1: 64*T1)."""


class Leg(msgspec.Struct, array_like=True, gc=False):
    """One SIP dialog, of the caller or of an agent's phone."""

    id: str
    call: str
    name: str
    """Its name in the call's media session."""
    agent: str
    """Whose phone; empty: the caller's."""
    dialog: Dialog
    state: int = SETUP
    incoming: Incoming | None = None
    outgoing: Outgoing | None = None
    bye: Outgoing | None = None
    probe: Outgoing | None = None
    invite_branch: str = ""
    """Branch of the peer's last INVITE: what its repeat and its CANCEL carry."""
    needs: int = 0
    """The media counter whose result is the body of our first INVITE; 0: sent, or not ours."""
    local_sdp: str = ""
    """Ours, as the peer was told last, or will be at `retry_ms`."""
    is_held: bool = False
    """The peer holds us."""
    probe_ms: int = 0
    """When the peer is asked next whether he is still there."""
    retry_ms: int = 0
    """When a re-INVITE goes (again) that could not be sent, or was refused for now; 0: none."""
    forget_ms: int = 0
    """When a tombstone goes."""
    closed: Incoming | None = None
    """His last INVITE that came to nothing: a node that takes over answers it again."""
    retries: int = 0
    """How often in a row our re-INVITE was refused for now."""


class Call(msgspec.Struct, array_like=True, gc=False):
    """A caller, where he is in the centre and what he hears."""

    id: str
    order: int
    """Breaks ties of arrival: grows with every step."""
    number: str
    queue: str
    priority: int
    caller: str
    """Who calls: the user part of the From URI."""
    caller_leg: str
    state: int
    arrived_ms: int
    arrived_wall_ms: int
    media: Session
    confirmed: int = 0
    """The media counter that the media server has confirmed."""
    play: int = 0
    """The running prompt; 0: none."""
    until_ms: int = 0
    """When the ringing, the prompt or the offer is over at the latest; 0: no limit."""
    queued_ms: int = 0
    queued_wall_ms: int = 0
    agent: str = ""
    agent_leg: str = ""
    answered_ms: int = 0
    answered_wall_ms: int = 0
    answered_by: str = ""
    offers: int = 0
    tried: dict[str, int] = {}
    """Agents who did not take this call, and until when it is not offered to them again."""
    digits: str = ""
    tries: int = 0
    """How often in a row the media server refused what was wanted."""


class AgentState(msgspec.Struct, array_like=True, gc=False):
    """An agent's state and why he is in it."""

    id: str
    state: str
    """signed_out, not_ready, ready, offered, talking, wrap_up or paused."""
    reason: str
    since_ms: int
    idle_ms: int
    """Since when he has had no call: what `longest_idle` compares."""
    until_ms: int = 0
    """End of the wrap-up or pause; 0: none."""
    call: str = ""
    leg: str = ""
    """The dialog with his phone. Until it has ended he is offered nothing."""
    wanted: str = ""
    """The state he asked for while on a call."""
    wanted_reason: str = ""


class Ledger(msgspec.Struct, array_like=True, gc=False):
    """Where every call went; each class counted when it happens, none found by subtraction."""

    received: int = 0
    refused: int = 0
    ended_before_queue: int = 0
    queued: int = 0
    answered: int = 0
    abandoned: int = 0
    exited: int = 0
    overflowed: int = 0
    callback: int = 0
    failed: int = 0

    @property
    def left_queue(self) -> int:
        """Calls that were queued and wait no more, whatever became of them since."""
        return (
            self.answered
            + self.abandoned
            + self.exited
            + self.overflowed
            + self.callback
            + self.failed
        )


class Event(msgspec.Struct, array_like=True, gc=False):
    """One fact, for ever. Its id is the same however often it is published."""

    id: str
    wall_ms: int
    kind: str
    call: str
    fields: dict[str, Any]


class Outbox(msgspec.Struct, array_like=True, gc=False):
    """The facts of one step, kept until the database has them."""

    events: list[Event]


class Settings(msgspec.Struct, gc=False):
    """The configuration that this shard decides by."""

    centre: Centre
    """As it is declared."""
    version: int = 1
    closing: dict[str, ClosingQueue] = {}
    """Queues of this shard that are declared no more and still have calls."""


class Lost(msgspec.Struct, array_like=True, gc=False):
    """Every copy of the shard died: the calls that were open then are still to be closed."""

    epoch: int
    """The first one after the loss."""
    partly: bool = False
    """The shard went on with records of a moment before; what came after that is lost."""


Record = Call | Leg | AgentState | Ledger | Outbox | Settings | Lost | TrunkState

TYPES: dict[str, type] = {
    "call": Call,
    "leg": Leg,
    "agent": AgentState,
    "ledger": Ledger,
    "outbox": Outbox,
    "settings": Settings,
    "lost": Lost,
    "trunk": TrunkState,
}
"""A record's type by the first part of its key."""
