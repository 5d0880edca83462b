"""One call on one phone, from its first INVITE to its end: what callers and agents have in common.

Holds the dialog, the offer/answer state and the requests of our own that are under way; answers
whatever may come inside a dialog. Who hangs up when, and why, is the caller's or agent's business.
"""

from dataclasses import dataclass
from enum import Enum

from loadtest import facts
from loadtest.effects import Acked, Ask, Direct, Effect, Hush, Note, Reply, Speak
from rtp import g711
from sip import dialog as dialogs
from sip import sdp
from sip.dialog import Dialog, Origin
from sip.message import Message
from sip.uri import Address, SipError

LAW = {"PCMU": g711.PCMU, "PCMA": g711.PCMA}
ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE")
ACK_MS_MAX = 32_000
"""A 2xx that nobody acknowledges for so long ends the call (64*T1, RFC 3261 §13.3.1.4)."""
GLARE_MS = 2_500
"""After 491 the re-INVITE goes again so much later, if we made the Call-ID (RFC 3261 §14.1)..."""
GLARE_OTHER_MS = 1_000
"""...and so much later if we did not."""
GLARES_MAX = 5
ACKS_MAX = 8
"""ACKs to 2xx kept, to be sent again when the 2xx is repeated."""


@dataclass(frozen=True)
class Phone:
    """Where a phone is: its SIP and RTP addresses. `rtp` is where it says it can be reached even if
    it neither sends nor hears (`has_audio` False).
    """

    sip: Address
    rtp: Address
    has_audio: bool = True

    @property
    def sent_by(self) -> str:
        return f"{self.sip[0]}:{self.sip[1]}"


class End(Enum):
    """How far the end of a call has come."""

    UP = "up"
    BYE_SENT = "bye_sent"
    OVER = "over"


@dataclass
class Reinvite:
    """A re-INVITE of our own: to hold, or to take back."""

    branch: str
    cseq: int
    hold: bool


class Leg:
    """The call. Methods append what shall be done to `out`; times are monotonic ms."""

    def __init__(
        self, who: str, call: str, token: str, phone: Phone, dialog: Dialog, *, made: bool
    ) -> None:
        self.who = who
        self.call = call
        self.token = token
        self.phone = phone
        self.dialog = dialog
        self.made = made
        """We made the call, and its Call-ID."""
        self.end = End.UP
        self.ours = ""
        self.theirs = ""
        self.version = 0
        self.held = False
        """We hold the call."""
        self.reinvite: Reinvite | None = None
        self.retry_ms: int | None = None
        """When to try the re-INVITE again that got 491."""
        self.retry_hold = False
        self.glares = 0
        self.unacked: Origin | None = None
        """The INVITE to which our 2xx went, until its ACK comes."""
        self.ack_ends_ms: int | None = None
        self.awaits_answer = False
        """Our offer went in that 2xx; the ACK brings the answer."""
        self.hangs_up_when_acked = False
        self._branches = 0
        self._acks: dict[str, Direct] = {}

    def branch(self) -> str:
        """A new branch; its token names the call (see `token_of`)."""
        self._branches += 1
        return f"z9hG4bK{self.token}.{self._branches}"

    @property
    def contact(self) -> str:
        return f"sip:{self.who}@{self.phone.sent_by}"

    @property
    def deadline_ms(self) -> int | None:
        """When `tick` has something to do."""
        return min((t for t in (self.retry_ms, self.ack_ends_ms) if t is not None), default=None)

    # -- offer and answer --------------------------------------------------------------------------

    def offer(self, *, hold: bool = False) -> str:
        """Our SDP as an offer; sendonly to hold."""
        self.version += 1
        self.ours = sdp.offer(
            address=self.phone.rtp[0],
            port=self.phone.rtp[1],
            session_id=self._session_id,
            version=self.version,
            codecs=tuple(LAW),
            direction="sendonly" if hold else "sendrecv",
        )
        return self.ours

    def answer(self, offer: str) -> str:
        """Our SDP as the answer to theirs. Raises SipError (488, 400) when there can be none."""
        self.version += 1
        ours = sdp.answer(
            offer,
            address=self.phone.rtp[0],
            port=self.phone.rtp[1],
            session_id=self._session_id,
            version=self.version,
            codecs=tuple(LAW),
        )
        if self.held:
            ours = ours.replace("a=sendrecv", "a=sendonly")
        self.ours, self.theirs = ours, offer
        return ours

    @property
    def _session_id(self) -> int:
        return int(self.token[-8:], 16)

    def speak(self, now_ms: int, out: list[Effect]) -> None:
        """Send and hear as was agreed; nothing while their SDP is not known."""
        if not self.theirs or not self.phone.has_audio or self.end is not End.UP:
            return
        try:
            agreed = sdp.negotiated(self.ours, self.theirs)
        except SipError as refused:
            self.odd(f"SDP: {refused}", now_ms, out)
            return
        out.append(
            Speak(
                call=self.call,
                remote=agreed.remote,
                law=LAW[agreed.codec],
                keys=agreed.send_event,
                sends=agreed.send and not self.held,
                listens=agreed.receive and not self.held,
            )
        )

    # -- what comes in the dialog ------------------------------------------------------------------

    def request(self, msg: Message, source: Address, now_ms: int, out: list[Effect]) -> None:
        """A request with this call's Call-ID and a To tag."""
        if msg.method == "ACK":
            self._acked(msg, now_ms, out)
            return
        origin = dialogs.origin(msg, source)
        if self.end is End.OVER or msg.to_tag != self.dialog.local_tag:
            self.reply(origin, 481, out)
            return
        if msg.cseq <= self.dialog.remote_cseq:
            self.odd(f"{msg.method} out of order", now_ms, out)
            self.reply(origin, 500, out)
            return
        self.dialog.remote_cseq = msg.cseq
        match msg.method:
            case "BYE":
                self.reply(origin, 200, out)
                if self.end is End.UP and self.phone.has_audio:
                    out.append(Hush(self.call))
                out.append(Note(facts.ByeReceived(ms=now_ms, who=self.who, call=self.call)))
                if self.end is End.UP:  # else our own BYE, which crossed it, will have its answer
                    self.over(now_ms, out)
            case "INVITE" | "UPDATE" if self.end is End.UP:
                self._offered(msg, origin, now_ms, out)
            case "INVITE" | "UPDATE":
                self.reply(origin, 481, out)
            case "OPTIONS" | "INFO":
                self.reply(origin, 200, out, headers=(ALLOW,))
            case "CANCEL":  # of a re-INVITE, which had its answer at once
                self.reply(origin, 200, out)
            case _:
                self.odd(msg.method, now_ms, out)
                self.reply(origin, 501, out, headers=(ALLOW,))

    def _offered(self, msg: Message, origin: Origin, now_ms: int, out: list[Effect]) -> None:
        """A re-INVITE or UPDATE (RFC 3261 §14.2, RFC 3311)."""
        if self.reinvite is not None:
            self.reply(origin, 491, out)
            return
        if self.unacked is not None and msg.method == "INVITE":
            self.reply(origin, 500, out, headers=(("Retry-After", "1"),))
            return
        dialogs.refresh(self.dialog, msg)
        body = ""
        try:
            if msg.body:
                body = self.answer(msg.body)
            elif msg.method == "INVITE":
                body = self.offer(hold=self.held)
        except SipError as refused:
            self.reply(origin, refused.status, out)
            return
        if msg.method == "INVITE":
            self.await_ack(origin, now_ms, awaits_answer=not msg.body)
        self.reply(origin, 200, out, body=body)
        if msg.body:
            self.speak(now_ms, out)

    def await_ack(self, origin: Origin, now_ms: int, *, awaits_answer: bool) -> None:
        """Our 2xx to an INVITE goes out; its ACK shall come."""
        self.unacked = origin
        self.ack_ends_ms = now_ms + ACK_MS_MAX
        self.awaits_answer = awaits_answer

    def _acked(self, msg: Message, now_ms: int, out: list[Effect]) -> None:
        origin = self.unacked
        if origin is None or msg.cseq != origin.cseq:
            return
        out.append(Acked(origin))
        self.unacked = self.ack_ends_ms = None
        if self.awaits_answer:
            self.awaits_answer = False
            if msg.body:
                self.theirs = msg.body
                self.speak(now_ms, out)
            else:
                self.odd("ACK without the answer to our offer", now_ms, out)
        if self.hangs_up_when_acked:
            self.hangs_up_when_acked = False
            self.hang_up(now_ms, out)

    def response(self, msg: Message, now_ms: int, out: list[Effect]) -> None:
        """A response to a re-INVITE or BYE of ours, or a 2xx to an INVITE once more."""
        ack = self._acks.get(msg.branch)
        if msg.status < 200:
            return
        if msg.cseq_method == "INVITE" and ack is not None and msg.status < 300:
            out.append(ack)
        elif msg.cseq_method == "OPTIONS":
            answer = facts.ProbeAnswered(
                ms=now_ms, who=self.who, call=self.call, n=msg.cseq, status=msg.status
            )
            out.append(Note(answer))
        elif msg.cseq_method == "BYE" and self.end is End.BYE_SENT:
            fact = facts.ByeAnswered(ms=now_ms, who=self.who, call=self.call, status=msg.status)
            out.append(Note(fact))
            self.over(now_ms, out)
        elif self.reinvite is not None and msg.branch == self.reinvite.branch:
            self._reinvite_answered(self.reinvite, msg, now_ms, out)

    def _reinvite_answered(
        self, mine: Reinvite, msg: Message, now_ms: int, out: list[Effect]
    ) -> None:
        self.reinvite = None
        if msg.status < 300:
            dialogs.refresh(self.dialog, msg)
            self.ack(mine.branch, mine.cseq, out)
            self.theirs = msg.body or self.theirs
            self.held = mine.hold
            self.speak(now_ms, out)
        elif msg.status == 491 and self.glares < GLARES_MAX:
            self.glares += 1
            self.retry_ms = now_ms + (GLARE_MS if self.made else GLARE_OTHER_MS)
            self.retry_hold = mine.hold
            return
        out.append(
            Note(
                facts.Held(
                    ms=now_ms, who=self.who, call=self.call, hold=mine.hold, status=msg.status
                )
            )
        )
        if msg.status in (408, 481):  # RFC 3261 §12.2.1.2
            self.hang_up(now_ms, out)

    def expired(self, branch: str, method: str, now_ms: int, out: list[Effect]) -> None:
        """No final answer came to a request of ours in the dialog."""
        if method == "BYE" and self.end is End.BYE_SENT:
            out.append(Note(facts.ByeAnswered(ms=now_ms, who=self.who, call=self.call, status=408)))
            self.over(now_ms, out)
        elif self.reinvite is not None and branch == self.reinvite.branch:
            hold, self.reinvite = self.reinvite.hold, None
            out.append(
                Note(facts.Held(ms=now_ms, who=self.who, call=self.call, hold=hold, status=408))
            )
            self.hang_up(now_ms, out)

    def tick(self, now_ms: int, out: list[Effect]) -> None:
        """Do what is due."""
        if self.retry_ms is not None and now_ms >= self.retry_ms:
            self.retry_ms = None
            self.hold(now_ms, out, hold=self.retry_hold)
        if self.ack_ends_ms is not None and now_ms >= self.ack_ends_ms:
            self.unacked = self.ack_ends_ms = None
            self.odd("no ACK", now_ms, out)
            self.hang_up(now_ms, out)

    # -- what this phone does ----------------------------------------------------------------------

    def ack(self, branch: str, cseq: int, out: list[Effect], body: str = "") -> None:
        """Acknowledge the 2xx to the INVITE sent with `branch`; its repeats get the same ACK."""
        datagram = dialogs.request(
            self.dialog,
            "ACK",
            cseq=cseq,
            branch=self.branch(),
            sent_by=self.phone.sent_by,
            body=body,
        )
        while len(self._acks) >= ACKS_MAX:
            del self._acks[next(iter(self._acks))]
        self._acks[branch] = Direct(datagram, self.dialog.next_hop)
        out.append(self._acks[branch])

    def hold(self, now_ms: int, out: list[Effect], *, hold: bool) -> None:
        """Hold by re-INVITE (sendonly), or take back. Nothing if the call is not simply up."""
        if self.end is not End.UP or self.reinvite is not None or self.unacked is not None:
            return
        self.dialog.local_cseq += 1
        self.reinvite = Reinvite(self.branch(), self.dialog.local_cseq, hold)
        datagram = dialogs.request(
            self.dialog,
            "INVITE",
            cseq=self.reinvite.cseq,
            branch=self.reinvite.branch,
            sent_by=self.phone.sent_by,
            contact=self.contact,
            body=self.offer(hold=hold),
        )
        out.append(Ask("INVITE", self.reinvite.branch, datagram, self.dialog.next_hop))

    def probe(self, now_ms: int, out: list[Effect]) -> None:
        """Send an OPTIONS, once: what of it gets an answer, and when, is the finding.

        None while an INVITE is under way: its repeats would come out of order then.
        """
        if self.end is not End.UP or self.reinvite is not None or self.unacked is not None:
            return
        self.dialog.local_cseq += 1
        n = self.dialog.local_cseq
        datagram = dialogs.request(
            self.dialog, "OPTIONS", cseq=n, branch=self.branch(), sent_by=self.phone.sent_by
        )
        out.append(Note(facts.Probed(ms=now_ms, who=self.who, call=self.call, n=n)))
        out.append(Direct(datagram, self.dialog.next_hop))

    def hang_up(self, now_ms: int, out: list[Effect]) -> None:
        """Send BYE; the callee first awaits the ACK (RFC 3261 §15). May be called again."""
        if self.end is not End.UP:
            return
        if self.unacked is not None and not self.made:
            self.hangs_up_when_acked = True
            return
        self.end = End.BYE_SENT
        self.retry_ms = self.ack_ends_ms = None
        self.dialog.local_cseq += 1
        branch = self.branch()
        datagram = dialogs.request(
            self.dialog,
            "BYE",
            cseq=self.dialog.local_cseq,
            branch=branch,
            sent_by=self.phone.sent_by,
        )
        if self.phone.has_audio:
            out.append(Hush(self.call))
        out.append(Note(facts.ByeSent(ms=now_ms, who=self.who, call=self.call)))
        out.append(Ask("BYE", branch, datagram, self.dialog.next_hop))

    def over(self, now_ms: int, out: list[Effect]) -> None:
        """Nothing more happens in this call."""
        self.end = End.OVER
        self.retry_ms = self.ack_ends_ms = None
        out.append(Note(facts.Over(ms=now_ms, who=self.who, call=self.call)))

    def reply(
        self,
        origin: Origin,
        status: int,
        out: list[Effect],
        *,
        headers: dialogs.Headers = (),
        body: str = "",
    ) -> None:
        """Answer a request."""
        tag = self.dialog.local_tag if status > 100 else ""
        contact = self.contact if origin.method in ("INVITE", "UPDATE") and status < 300 else ""
        datagram = dialogs.respond(
            origin, status, to_tag=tag, contact=contact, headers=headers, body=body
        )
        out.append(Reply(origin, status, datagram))

    def odd(self, what: str, now_ms: int, out: list[Effect]) -> None:
        """Log a message that was not expected."""
        out.append(Note(facts.Odd(ms=now_ms, who=self.who, call=self.call, what=what)))


def token_of(branch: str) -> str:
    """The token of the call whose request has this branch."""
    return branch.removeprefix("z9hG4bK").partition(".")[0]
