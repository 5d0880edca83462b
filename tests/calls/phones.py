"""Scripted phones on a `World`: they answer at once what a phone would answer."""

from calls import inputs
from sip.message import Message, parse
from tests.calls.world import CALLER, SDP, World


def header(msg: Message, name: str) -> str:
    return msg.get(name)


class Caller:
    """One caller with one call."""

    def __init__(
        self, world: World, name: str = "c1", number: str = "4001", body: str = SDP
    ) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.body = body
        self.cseq = 1
        self.to = f"<sip:{number}@127.0.0.1>"
        self.target = f"sip:{number}@127.0.0.1"

    def _send(
        self, method: str, *, cseq: int, branch: str, body: str = "", extra: str = ""
    ) -> None:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.world.request_from(
            f"{method} {self.target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.9:5070;rport;branch={branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{self.name}@127.0.0.9>;tag=f{self.name}\r\n"
            f"To: {self.to}\r\nCall-ID: {self.name}@caller\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:{self.name}@127.0.0.9:5070>\r\n{extra}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            source=CALLER,
        )

    def invite(self) -> None:
        self._send("INVITE", cseq=1, branch=f"z9hG4bK{self.name}1", body=self.body)

    def final(self) -> Message | None:
        for msg, _ in reversed(self.world.sent):
            if msg.call_id == f"{self.name}@caller" and msg.status >= 200 and msg.cseq == self.cseq:
                return msg
        return None

    def ack(self, body: str = "") -> None:
        final = self.final()
        assert final is not None
        self.to = final.get("to")
        self._send("ACK", cseq=self.cseq, branch=f"z9hG4bK{self.name}a{self.cseq}", body=body)

    def call(self) -> None:
        """Until he hears the prompt."""
        self.invite()
        self.world.run(10)
        final = self.final()
        assert final is not None
        assert final.status == 200, final
        self.ack()

    def cancel(self) -> None:
        self._send("CANCEL", cseq=1, branch=f"z9hG4bK{self.name}1")

    def request(self, method: str, body: str = "", extra: str = "") -> None:
        self.cseq += 1
        self._send(
            method,
            cseq=self.cseq,
            branch=f"z9hG4bK{self.name}{method}{self.cseq}",
            body=body,
            extra=extra,
        )

    def bye(self) -> None:
        self.request("BYE")


class Phone:
    """An agent's phone: rings, and does what `answer` says."""

    def __init__(self, world: World, agent: str = "1001", port: int = 7001) -> None:
        self.world = world
        self.address = ("127.0.0.2", port)
        self.agent = agent
        self.invites: list[Message] = []
        self.cancelled: list[str] = []
        self.byes: list[str] = []
        self.in_call: set[str] = set()
        self.acks: list[Message] = []
        self.status = 200
        """How an INVITE is answered; 180: it rings until `pick_up`."""
        self.refuses: list[int] = []
        """How his next re-INVITEs are answered; then 200."""
        self.dead = False
        self.sdp = SDP
        self.cseq = 0

    def hear(self, msg: Message, address: tuple[str, int]) -> None:
        if address != self.address or self.dead or not msg.method:
            return
        match msg.method:
            case "INVITE":
                fresh = all(other.branch != msg.branch for other in self.invites)
                if fresh:
                    self.invites.append(msg)
                if msg.to_tag and self.refuses:
                    self.reply(msg, self.refuses.pop(0))
                elif msg.call_id in self.in_call or self.status == 200:
                    self.in_call.add(msg.call_id)
                    self.reply(msg, 200, self.sdp)
                else:
                    self.reply(msg, self.status)
            case "CANCEL":
                self.reply(msg, 200)
                if msg.call_id not in self.in_call:
                    self.cancelled.append(msg.call_id)
                    self.reply(self.invites[-1], 487)
            case "BYE":
                known = msg.call_id in self.in_call
                self.in_call.discard(msg.call_id)
                self.byes.append(msg.call_id)
                self.reply(msg, 200 if known else 481)
            case "ACK":
                self.acks.append(msg)
            case _:
                self.reply(msg, 200 if msg.call_id in self.in_call else 481)

    def reply(self, msg: Message, status: int, body: str = "") -> None:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        to = msg.get("to") if msg.to_tag else f"{msg.get('to')};tag=p{self.agent}"
        text = (
            f"SIP/2.0 {status} X\r\nVia: {msg.get('via')}\r\n"
            f"From: {msg.get('from')}\r\nTo: {to}\r\n"
            f"Call-ID: {msg.call_id}\r\nCSeq: {msg.cseq} {msg.method}\r\n"
            f"Contact: <sip:{self.agent}@{self.address[0]}:{self.address[1]}>\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.world.later(1, inputs.Responded(parse(text.encode()), self.address))

    def pick_up(self) -> None:
        self.in_call.add(self.invites[-1].call_id)
        self.reply(self.invites[-1], 200, self.sdp)

    def request(self, method: str, body: str = "") -> None:
        """A request in the dialog of the last call."""
        invite = self.invites[-1]
        self.cseq += method != "ACK"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} {invite.get('contact').strip('<>')} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.2:{self.address[1]}"
            f";branch=z9hG4bKp{self.cseq}{invite.branch[-6:]}\r\n"
            f"Max-Forwards: 70\r\nFrom: {invite.get('to')};tag=p{self.agent}\r\n"
            f"To: {invite.get('from')}\r\nCall-ID: {invite.call_id}\r\n"
            f"CSeq: {self.cseq} {method}\r\n"
            f"Contact: <sip:{self.agent}@{self.address[0]}:{self.address[1]}>\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.world.request_from(text, source=self.address)

    def bye(self) -> None:
        self.in_call.discard(self.invites[-1].call_id)
        self.request("BYE")
