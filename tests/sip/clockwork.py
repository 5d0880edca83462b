"""Layers on virtual time: a wire that writes down when what was sent, and messages to put on it."""

from sip.dialog import Dialog, Origin, origin, outgoing, request
from sip.message import Message, parse
from sip.transaction import Layer
from sip.uri import Address

HERE: Address = ("127.0.0.2", 5060)
THERE: Address = ("127.0.0.3", 5060)
BRANCH = "z9hG4bKtest1"
BASE_MS = 1_000_000
"""When virtual time starts. Times in tests are counted from here."""


class Clockwork:
    """One Layer, its user, and its wire. `sent` holds (ms, datagram) of what left, in order."""

    def __init__(
        self,
        *,
        sent_by: str | None = None,
        max_transactions: int = 1_000,
        acks_refusals: bool = True,
    ) -> None:
        self.now_ms = BASE_MS
        self.sent: list[tuple[int, bytes]] = []
        self.destinations: list[Address] = []
        self.requests: list[Message] = []
        self.responses: list[Message] = []
        self.timeouts: list[tuple[int, str, str]] = []
        self.faults: list[Exception] = []
        self.layer = Layer(
            self._send,
            self,
            self.now_ms,
            max_transactions=max_transactions,
            sent_by=sent_by,
            acks_refusals=acks_refusals,
            on_fault=self.faults.append,
        )

    def _send(self, datagram: bytes, dst: Address) -> None:
        self.sent.append((self.now_ms - BASE_MS, datagram))
        self.destinations.append(dst)

    def on_request(self, msg: Message, source: Address) -> None:
        self.requests.append(msg)

    def on_response(self, msg: Message, source: Address) -> None:
        self.responses.append(msg)

    def on_timeout(self, branch: str, method: str) -> None:
        self.timeouts.append((self.now_ms - BASE_MS, branch, method))

    def until(self, ms: int) -> None:
        """Let time pass up to `ms`, firing timers when they are due."""
        while True:
            due = self.layer.next_ms
            if due is None or due > BASE_MS + ms:
                break
            self.now_ms = max(self.now_ms, due)
            self.layer.tick(self.now_ms)
        self.now_ms = BASE_MS + ms
        self.layer.tick(self.now_ms)

    def receive(self, datagram: bytes, source: Address = THERE) -> None:
        self.layer.receive(datagram, source, self.now_ms)

    def ask(self, datagram: bytes, dst: Address = THERE) -> None:
        msg = parse(datagram)
        self.layer.request(msg.method, msg.branch, datagram, dst, self.now_ms)

    def answer(self, asked: Origin, status: int, datagram: bytes) -> None:
        self.layer.respond(asked, status, datagram, self.now_ms)

    def times(self, datagram: bytes) -> list[int]:
        """When these very bytes were sent."""
        return [ms for ms, sent in self.sent if sent == datagram]


def dialog() -> Dialog:
    return outgoing("call1", "ours", "sip:a@127.0.0.2", "sip:b@127.0.0.3", "sip:b@127.0.0.3")


def ask(method: str, *, branch: str = BRANCH, cseq: int = 1, body: str = "") -> bytes:
    """A request from HERE to THERE."""
    return request(
        dialog(),
        method,
        cseq=cseq,
        branch=branch,
        sent_by="127.0.0.2:5060",
        contact="sip:a@127.0.0.2",
        body=body,
    )


def asked(datagram: bytes, source: Address = HERE) -> Origin:
    """The origin of a request as THERE keeps it."""
    return origin(parse(datagram), source)


def ack_for(invite: bytes, *, branch: str = BRANCH) -> bytes:
    """An ACK to the answer to `invite`; with another branch it is one to a 2xx."""
    return (
        invite.replace(b"INVITE ", b"ACK ", 1)
        .replace(b" INVITE\r\n", b" ACK\r\n", 1)
        .replace(BRANCH.encode(), branch.encode(), 1)
    )
