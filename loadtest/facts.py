"""What phones saw: the facts they log, one JSON object a line.

A fact says who saw it, in which call (the Call-ID on that phone's own leg) and when (monotonic
milliseconds of this machine). Verdicts are computed from these lines alone. A caller is named by
the number of his call in the run ("c17"), never by a telephone number; an agent by his name.
"""

import re

import msgspec


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="fact", tag=_snake):
    """Something `who` saw at `ms`, in `call` where it belongs to one."""

    ms: int
    who: str
    call: str = ""


class Joined(Fact, frozen=True, kw_only=True):
    """An agent takes part. `identity` is what his phone's audio says. Without a phone at his
    address (`absent`) nothing else will be known of him.
    """

    identity: str
    has_audio: bool = True
    absent: bool = False


class Invited(Fact, frozen=True, kw_only=True):
    """The caller sent his INVITE to `number`. `identity` is what his audio says."""

    number: str
    identity: str
    priority: int = 0
    has_audio: bool = True


class Offered(Fact, frozen=True, kw_only=True):
    """An INVITE reached an agent's free phone.

    `shown` is the caller's name where the phone's display (From) shows one of ours ("c17"), else
    "". It is what the system under test says, so it may accuse but never excuse.
    """

    shown: str = ""


class DoubleOffer(Fact, frozen=True, kw_only=True):
    """An INVITE reached an agent's phone while its one line was ringing or talking: 486.

    `busy` is the Call-ID the line was busy with.
    """

    busy: str
    state: str


class Ringing(Fact, frozen=True, kw_only=True):
    """The caller's phone got a provisional answer, or the agent's began to ring (180)."""

    status: int


class Answered(Fact, frozen=True, kw_only=True):
    """The caller got the 200 to his INVITE, or the agent picked up and sent it."""


class Confirmed(Fact, frozen=True, kw_only=True):
    """The ACK to the agent's 200 came."""


class Declined(Fact, frozen=True, kw_only=True):
    """The agent refused the offer with `status`."""

    status: int


class Refused(Fact, frozen=True, kw_only=True):
    """The caller's INVITE got a final answer that is no success; 408 means: none came."""

    status: int


class GaveUp(Fact, frozen=True, kw_only=True):
    """The caller's patience ended before he heard an agent; a CANCEL or BYE follows."""


class Cancelled(Fact, frozen=True, kw_only=True):
    """A CANCEL was sent by the caller, or reached the agent's ringing phone."""


class Heard(Fact, frozen=True, kw_only=True):
    """From now on this phone hears `what`: "c17", "a1001", "prompt", "music", "unknown"."""

    what: str


class Pressed(Fact, frozen=True, kw_only=True):
    """The caller pressed these keys."""

    digits: str


class Held(Fact, frozen=True, kw_only=True):
    """This phone's re-INVITE to hold (or to take back) was answered; `status` 200 is success."""

    hold: bool
    status: int


class Probed(Fact, frozen=True, kw_only=True):
    """A fresh OPTIONS left in this call, once and never again; `n` is its CSeq."""

    n: int


class ProbeAnswered(Fact, frozen=True, kw_only=True):
    """The final answer to the OPTIONS `n` of this call."""

    n: int
    status: int


class ByeSent(Fact, frozen=True, kw_only=True):
    """This phone hung up."""


class ByeAnswered(Fact, frozen=True, kw_only=True):
    """The final answer to this phone's BYE; 408 means: none came."""

    status: int


class ByeReceived(Fact, frozen=True, kw_only=True):
    """The other side's BYE came, and got 200."""


class Over(Fact, frozen=True, kw_only=True):
    """Nothing more will happen in this call."""


class Odd(Fact, frozen=True, kw_only=True):
    """A message this phone did not expect; `what` says which, without its content."""

    what: str


class Sound(msgspec.Struct, frozen=True):
    """A stretch of one sound: from the first to the last packet of it."""

    what: str
    first_ms: int
    last_ms: int
    packets: int


class Window(msgspec.Struct, frozen=True):
    """The largest gaps around a marked moment, in ms; 0 where nothing was heard."""

    mark: str
    at_ms: int
    before_ms: int
    """In the 10 s before."""
    after_ms: int
    """In the 5 s after; a gap counts where it ends."""
    own_late_ms: int
    """How late this process itself was with sending, at most, in the 5 s after."""


class Audio(Fact, frozen=True, kw_only=True):
    """What one phone heard in one call, all in all."""

    heard: list[Sound]
    packets: int
    missing: int
    duplicates: int
    ssrcs: int
    gap_ms: int
    """Largest time between two packets while this phone listened."""
    gap_at_ms: int
    silent_ms: int
    """Time from the last packet to the end of listening."""
    windows: list[Window]
    late: list[tuple[int, int]]
    """(when it ended, its length) of each gap longer than hearing.LATE_MS, the first LATE_MAX."""
    sent: int
    held_ms: int = 0
    """Time this phone held the call and did not listen."""


class Mark(Fact, frozen=True, kw_only=True):
    """A moment the verdict asks about, e.g. "fault"."""

    name: str


class Late(Fact, frozen=True, kw_only=True):
    """The simulation's own clock was late by `late_ms` at most, in the whole run."""

    late_ms: int


AnyFact = (
    Joined
    | Invited
    | Offered
    | DoubleOffer
    | Ringing
    | Answered
    | Confirmed
    | Declined
    | Refused
    | GaveUp
    | Cancelled
    | Heard
    | Pressed
    | Held
    | Probed
    | ProbeAnswered
    | ByeSent
    | ByeAnswered
    | ByeReceived
    | Over
    | Odd
    | Audio
    | Mark
    | Late
)

_DECODER = msgspec.json.Decoder(AnyFact)
_ENCODER = msgspec.json.Encoder()


def line(fact: AnyFact) -> bytes:
    """The fact as one line of JSON, newline included."""
    return _ENCODER.encode(fact) + b"\n"


def read(lines: bytes) -> list[AnyFact]:
    """The facts of a log. Raises msgspec.DecodeError where a line is none."""
    return [_DECODER.decode(text) for text in lines.splitlines() if text]
