"""Transactions over UDP: what is sent again, until when, and what a repeat gets (RFC 3261 §17, §9;
RFC 6026).

Pure: bytes and times come in; bytes go out through `send`, facts through a User. Invariants: what
is sent again is the very bytes that were sent first; every client transaction ends in a final
answer or in `on_timeout`.

A server transaction is found by top Via branch, sent-by and method (§17.2.3), and made by `respond`
where there is none: so a node that has taken over answers with the records alone.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from sip.dialog import Origin, ack_failure, refuse, reply_address, reply_to
from sip.grammar import phrase
from sip.message import BadMessage, Message, check, parse, refusal_headers
from sip.uri import Address
from sip.wheel import Entry, Wheel

T1_MS = 500
"""The round trip assumed; the first interval (RFC 3261 §17.1.1.1)."""
T2_MS = 4_000
"""The longest interval between repeats, but for an INVITE."""
T4_MS = 5_000
"""How long a datagram may live in the network."""
TIMER_B_MS = TIMER_F_MS = TIMER_H_MS = TIMER_J_MS = TIMER_L_MS = TIMER_M_MS = 64 * T1_MS
TIMER_D_MS = 32_000
TIMER_I_MS = TIMER_K_MS = T4_MS
PROCEEDING_MS_MAX = 300_000
"""An INVITE that rings without a further provisional is forgotten after this: a bound on memory,
not on ringing. The user bounds ringing and sends CANCEL; as a server, `respond` makes the
transaction again.
"""
MAX_TRANSACTIONS = 200_000


class User(Protocol):
    """The transaction user: whoever decides what is answered. May call the Layer from inside
    these.
    """

    def on_request(self, msg: Message, source: Address) -> None:
        """A new request; also CANCEL, an ACK to a 2xx, and an ACK that fits no transaction."""

    def on_response(self, msg: Message, source: Address) -> None:
        """A provisional or final response; each repeat of a 2xx to INVITE; a response that fits no
        transaction.
        """

    def on_timeout(self, branch: str, method: str) -> None:
        """No final answer came and none is awaited any more (timer B or F, or 64*T1 after a
        CANCEL).
        """


class State(Enum):
    """A client starts in CALLING, a server in PROCEEDING. CONFIRMED is a server's only."""

    CALLING = auto()
    PROCEEDING = auto()
    ACCEPTED = auto()
    COMPLETED = auto()
    CONFIRMED = auto()


_CALLING, _PROCEEDING, _ACCEPTED, _COMPLETED, _CONFIRMED = State
_COUNTERS = (
    "received", "sent", "retransmitted", "repeated", "malformed", "refused", "dropped",
    "keepalives", "strays", "overloaded", "timeouts", "broken", "aside",
)  # fmt: skip


class _Client:
    __slots__ = (
        "ack", "branch", "cancelled", "datagram", "dst", "ends", "interval_ms", "is_invite",
        "method", "repeats", "state",
    )  # fmt: skip

    def __init__(self, method: str, branch: str, datagram: bytes, dst: Address) -> None:
        self.method = method
        self.branch = branch
        self.datagram = datagram
        self.dst = dst
        self.is_invite = method == "INVITE"
        self.state = _CALLING
        self.interval_ms = T1_MS
        self.ack = b""
        self.cancelled = False
        self.repeats: _Timer | None = None
        self.ends: _Timer | None = None


class _Server:
    __slots__ = ("dst", "ends", "interval_ms", "is_invite", "key", "last", "repeats", "state")

    def __init__(self, key: tuple[str, str, str], dst: Address) -> None:
        self.key = key
        self.dst = dst
        self.is_invite = key[2] == "INVITE"
        self.state = _PROCEEDING
        self.last = b""
        self.interval_ms = T1_MS
        self.repeats: _Timer | None = None
        self.ends: _Timer | None = None


_Transaction = _Client | _Server
_Timer = Entry[_Transaction]


class Layer:
    """All transactions of one SIP address.

    `send` must not raise. `sent_by`: when given, responses whose top Via names another are dropped
    (§18.1.2). `check` looks at each new request; what it refuses is answered here, statelessly, and
    the user never sees it; None leaves that to the user. `acks_refusals`: the ACK to a 300 to 699
    answer leaves here at once; False leaves it to the user, who gets each repeat until he has sent
    it: what must be stored before the sender may stop repeating can be stored first. `aside` is
    shown each message that fits no transaction, with its bytes, before one is made of it; what it
    is true of it has dealt with. `on_fault` hears of an exception that `receive` or `tick`
    contained.
    """

    def __init__(
        self,
        send: Callable[[bytes, Address], None],
        user: User,
        now_ms: int,
        *,
        max_transactions: int = MAX_TRANSACTIONS,
        sent_by: str | None = None,
        check: Callable[[Message], tuple[int, str] | None] | None = check,
        acks_refusals: bool = True,
        aside: Callable[[Message, bytes, Address], bool] = lambda msg, datagram, source: False,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        self._send = send
        self._user = user
        self._wheel: Wheel[_Transaction] = Wheel(now_ms)
        self._max = max_transactions
        self._sent_by = sent_by
        self._check = check
        self._acks_refusals = acks_refusals
        self._aside = aside
        self._on_fault = on_fault
        self._servers: dict[tuple[str, str, str], _Server] = {}
        self._clients: dict[tuple[str, str], _Client] = {}
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)

    def __len__(self) -> int:
        """Transactions that are kept now."""
        return len(self._servers) + len(self._clients)

    # -- what comes in ----------------------------------------------------------------------------

    def receive(self, datagram: bytes, source: Address, now_ms: int) -> None:
        """Handle one datagram. Never raises: the boundary to whatever the network may send.

        An exception below, be it ours or the user's, costs this datagram only; it is counted as
        "broken" and told to `on_fault`. The sender's repeat is a second chance.
        """
        self.counters["received"] += 1
        try:
            self._wheel.set_now(now_ms)
            if len(datagram) < 16 and not datagram.strip(b"\r\n\0 \t"):
                self.counters["keepalives"] += 1
                return
            try:
                msg = parse(datagram)
            except BadMessage as bad:
                self._refuse_malformed(bad, source)
                return
            if msg.method:
                self._request(msg, datagram, source)
            else:
                self._response(msg, datagram, source)
        except Exception as fault:  # noqa: BLE001  # the documented boundary
            self._contain(fault)

    def tick(self, now_ms: int) -> None:
        """Fire due timers. Call it at `next_ms`; later costs accuracy, sooner nothing.

        Never raises: what the user's `on_timeout` raises is contained as in `receive`.
        """
        self._wheel.advance(now_ms)

    @property
    def next_ms(self) -> int | None:
        """When to call `tick` next; None while no timer stands."""
        return self._wheel.next_ms

    def _contain(self, fault: Exception) -> None:
        self.counters["broken"] += 1
        if self._on_fault is not None:
            self._on_fault(fault)

    def _refuse_malformed(self, bad: BadMessage, source: Address) -> None:
        self.counters["malformed"] += 1
        if bad.message is None:
            self.counters["dropped"] += 1
        else:
            self._refuse(bad.message, source, bad.status, bad.reason)

    def _refuse(self, msg: Message, source: Address, status: int, reason: str) -> None:
        self.counters["refused"] += 1
        answer = refuse(msg, source, status, reason, headers=refusal_headers(msg, status))
        self.send(answer, reply_to(msg.get("via"), msg.sent_by, source))

    def _request(self, msg: Message, datagram: bytes, source: Address) -> None:
        if msg.method == "ACK":
            self._ack(msg, datagram, source)
            return
        key = (msg.branch, msg.sent_by, msg.method)
        server = self._servers.get(key)
        if server is not None:
            # Accepted absorbs: the 2xx goes again by its own timer (RFC 6026 §7.1). So does one not
            # answered yet.
            self.counters["repeated"] += 1
            if server.last and server.state in (_PROCEEDING, _COMPLETED):
                self._repeat(server.last, server.dst)
            return
        refusal = self._check(msg) if self._check is not None else None
        if refusal is not None:
            self._refuse(msg, source, *refusal)
            return
        if self._aside(msg, datagram, source):
            self.counters["aside"] += 1
            return
        if len(self) >= self._max:
            self.counters["overloaded"] += 1
            self._refuse(msg, source, 503, phrase(503))
            return
        server = _Server(key, reply_to(msg.get("via"), msg.sent_by, source))
        self._open(server)
        self._user.on_request(msg, source)

    def _ack(self, msg: Message, datagram: bytes, source: Address) -> None:
        server = self._servers.get((msg.branch, msg.sent_by, "INVITE"))
        if server is None or server.state is _ACCEPTED:
            if self._check is not None and self._check(msg) is not None:
                self.counters["dropped"] += 1  # an ACK is never answered (RFC 3261 §17.2.1)
            elif server is None and self._aside(msg, datagram, source):
                self.counters["aside"] += 1
            else:
                self._user.on_request(msg, source)
        elif server.state is _COMPLETED:
            server.state = _CONFIRMED
            _cancel(server.repeats)
            self._end_in(server, TIMER_I_MS, self._forget)
        else:
            self.counters["dropped"] += 1

    def _response(self, msg: Message, datagram: bytes, source: Address) -> None:
        if self._sent_by is not None and msg.sent_by != self._sent_by:
            self.counters["dropped"] += 1
            return
        client = self._clients.get((msg.branch, msg.cseq_method))
        if client is None and self._aside(msg, datagram, source):
            self.counters["aside"] += 1
        elif client is None:
            self.counters["strays"] += 1
            self._answered_before_asked(msg, source)
            self._user.on_response(msg, source)
        elif msg.status < 200:
            self._provisional(client, msg, source)
        elif client.state in (_CALLING, _PROCEEDING):
            self._final(client, msg, source)
        elif client.is_invite and (msg.status < 300 or not self._acks_refusals):
            # Repeated, from another branch of a fork, or behind a refusal: each 2xx needs its ACK
            # from the user.
            self._user.on_response(msg, source)
        elif client.ack:
            self._repeat(client.ack, client.dst)
        else:
            self.counters["dropped"] += 1

    def _provisional(self, client: _Client, msg: Message, source: Address) -> None:
        if client.state is _CALLING:
            client.state = _PROCEEDING
            if client.is_invite:
                _cancel(client.repeats)
            else:
                client.interval_ms = T2_MS  # from its next repeat on (RFC 3261 §17.1.2.2)
        elif client.state is not _PROCEEDING:
            self.counters["dropped"] += 1
            return
        if client.is_invite and not client.cancelled:
            self._end_in(client, PROCEEDING_MS_MAX, self._give_up)
        self._user.on_response(msg, source)

    def _answered_before_asked(self, msg: Message, source: Address) -> None:
        """A final answer to a request that another node sent, and that this one may be about to
        send again: then there is no need to. To ask on would ring a phone that has declined.
        """
        if msg.status < 200 or not msg.branch or len(self) >= self._max:
            return
        client = _Client(msg.cseq_method, msg.branch, b"", source)
        client.state = _ACCEPTED if client.is_invite and msg.status < 300 else _COMPLETED
        self._clients[msg.branch, msg.cseq_method] = client
        self._end_in(client, TIMER_D_MS if client.is_invite else TIMER_K_MS, self._forget)

    def _final(self, client: _Client, msg: Message, source: Address) -> None:
        _cancel(client.repeats)
        if not client.is_invite:
            client.state = _COMPLETED
            self._end_in(client, TIMER_K_MS, self._forget)
        elif msg.status < 300:
            client.state = _ACCEPTED
            self._end_in(client, TIMER_M_MS, self._forget)
        else:
            client.state = _COMPLETED
            if self._acks_refusals:
                client.ack = ack_failure(client.datagram, msg)
                self.send(client.ack, client.dst)
            self._end_in(client, TIMER_D_MS, self._forget)
        client.datagram = b""
        self._user.on_response(msg, source)

    # -- what goes out ----------------------------------------------------------------------------

    def request(self, method: str, branch: str, datagram: bytes, dst: Address, now_ms: int) -> None:
        """Send a request and keep sending it (timers A, E) until it is answered or given up (B, F).

        Asked again while that runs, it sends the stored bytes once more; after the final answer it
        does nothing. A CANCEL also bounds the wait for the INVITE of the same branch (RFC 3261
        §9.1). An ACK goes by `send`.
        """
        assert method != "ACK"
        self._wheel.set_now(now_ms)
        client = self._clients.get((branch, method))
        if client is not None:
            if client.state in (_CALLING, _PROCEEDING):
                self._repeat(client.datagram, client.dst)
            return
        client = _Client(method, branch, datagram, dst)
        if len(self) >= self._max:
            self.counters["overloaded"] += 1
            self._wheel.add(0, self._tell, client)
            return
        self._clients[branch, method] = client
        client.repeats = self._wheel.add(T1_MS, self._resend, client)
        self._end_in(client, TIMER_B_MS, self._give_up)
        if method == "CANCEL":
            invite = self._clients.get((branch, "INVITE"))
            if invite is not None and invite.state in (_CALLING, _PROCEEDING):
                invite.cancelled = True
                self._end_in(invite, TIMER_B_MS, self._give_up)
        self.send(datagram, dst)

    def respond(self, origin: Origin, status: int, datagram: bytes, now_ms: int) -> None:
        """Answer a request. A final answer is repeated as its method asks: a 2xx to INVITE until
        `acked` or 64*T1, another final to INVITE until its ACK, all else when the request comes
        again.

        A transaction that is not there is made. After a final answer a further call only sends the
        first one again.
        """
        self._wheel.set_now(now_ms)
        key = (origin.branch, origin.sent_by, origin.method)
        server = self._servers.get(key)
        if server is None:
            server = _Server(key, reply_address(origin))
            self._open(server)
        if server.state is not _PROCEEDING:
            if server.last and server.state is not _CONFIRMED:
                self._repeat(server.last, server.dst)
            return
        server.last = datagram
        if status < 200:
            if server.is_invite:
                self._end_in(server, PROCEEDING_MS_MAX, self._forget)
        elif not server.is_invite:
            server.state = _COMPLETED
            self._end_in(server, TIMER_J_MS, self._forget)
        else:
            server.state = _ACCEPTED if status < 300 else _COMPLETED
            server.repeats = self._wheel.add(T1_MS, self._resend, server)
            self._end_in(server, TIMER_H_MS, self._forget)
        self.send(datagram, server.dst)

    def acked(self, origin: Origin) -> None:
        """The ACK to our 2xx came: stop sending it. May be called again, and when nothing is known
        of it.
        """
        server = self._servers.get((origin.branch, origin.sent_by, origin.method))
        if server is not None and server.state is _ACCEPTED:
            _cancel(server.repeats)
            server.last = b""

    def send(self, datagram: bytes, dst: Address) -> None:
        """Send once, outside any transaction: an ACK to a 2xx, a stateless answer."""
        self.counters["sent"] += 1
        self._send(datagram, dst)

    # -- timers -----------------------------------------------------------------------------------

    def _open(self, server: _Server) -> None:
        self._servers[server.key] = server
        self._end_in(server, PROCEEDING_MS_MAX if server.is_invite else TIMER_J_MS, self._forget)

    def _end_in(
        self, transaction: _Transaction, delay_ms: int, how: Callable[[_Transaction], None]
    ) -> None:
        _cancel(transaction.ends)
        transaction.ends = self._wheel.add(delay_ms, how, transaction)

    def _repeat(self, datagram: bytes, dst: Address) -> None:
        self.counters["retransmitted"] += 1
        self.send(datagram, dst)

    def _resend(self, transaction: _Transaction) -> None:
        """Timers A, E, G, and the repeats of a 2xx. All double; all but A stop growing at T2."""
        interval_ms = transaction.interval_ms * 2
        if isinstance(transaction, _Client):
            datagram = transaction.datagram
            if not transaction.is_invite:
                interval_ms = min(interval_ms, T2_MS)
        else:
            datagram = transaction.last
            interval_ms = min(interval_ms, T2_MS)
        transaction.interval_ms = interval_ms
        transaction.repeats = self._wheel.add(interval_ms, self._resend, transaction)
        self._repeat(datagram, transaction.dst)

    def _give_up(self, transaction: _Transaction) -> None:
        self._forget(transaction)
        self._tell(transaction)

    def _tell(self, transaction: _Transaction) -> None:
        assert isinstance(transaction, _Client)
        self.counters["timeouts"] += 1
        try:
            self._user.on_timeout(transaction.branch, transaction.method)
        except Exception as fault:  # noqa: BLE001  # as in `receive`; other timers are due with this
            self._contain(fault)

    def _forget(self, transaction: _Transaction) -> None:
        _cancel(transaction.repeats)
        _cancel(transaction.ends)
        if isinstance(transaction, _Client):
            del self._clients[transaction.branch, transaction.method]
        else:
            del self._servers[transaction.key]


def _cancel(timer: _Timer | None) -> None:
    if timer is not None:
        timer.cancel()
