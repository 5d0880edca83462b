"""Callers and agents' phones for the benchmarks: two UDP sockets, one thread, no audio.

Each call's description is `inactive`, so that no media server has to send anything; the callers
answer what is asked of them, also after a takeover, and hold no state but their dialogs.
"""

import contextlib
import heapq
import itertools
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.wire import Received, Request, respond

Address = tuple[str, int]

REPEAT_S = 1.0
REDIAL_S = 2.0
TRIES = 8
"""An INVITE or BYE without a final answer is sent so often."""
RCVBUF = 8 << 20


def description(host: str, port: int, direction: str) -> str:
    """A phone's SDP: G.711 at this port."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
    )


@dataclass(slots=True)
class Call:
    """A dialog that one of our callers began."""

    id: bytes
    request: Request
    cseq: int = 1
    answer: Received | None = None
    asked_at: float = 0.0
    is_over: bool = False


@dataclass(slots=True)
class Desk:
    """A dialog of an agent's phone."""

    id: bytes
    invite: Received
    answered_at: float = 0.0
    is_up: bool = False
    cseq: int = 0


@dataclass(slots=True)
class Pending:
    """A request of ours that has had no final answer."""

    sock: socket.socket
    datagram: bytes
    left: int = field(default=TRIES)


class Phones:
    """All phones of one benchmark. Hooks are called in the phones' thread."""

    def __init__(self, host: str, *, sdp: str = "", agents_port: int = 7001) -> None:
        self.host = host
        self.shard: Address = (host, 5060)
        self.callers_at: Address = (host, 7100)
        self.agents_at: Address = (host, agents_port)
        self.sdp = sdp or description(host, 40_000, "inactive")
        self.calls: dict[bytes, Call] = {}
        self.desks: dict[bytes, Desk] = {}
        self.up = 0
        """Callers who were answered and have not hung up."""
        self.talking = 0
        self.refused = 0
        """Calls that had to be tried again."""
        self.lost: list[bytes] = []
        """Dialogs in which a request of ours had no answer at all."""
        self.on_desk: Callable[[Desk, float], None] = lambda desk, now: self.answer(desk)
        """An INVITE came to an agent's phone."""
        self.on_probe: Callable[[bytes, int, float], None] = lambda id, status, now: None
        """An answer to an OPTIONS: its branch, status, time."""
        self.on_trying: Callable[[bytes, float], None] = lambda id, now: None
        """An answer to an INVITE, the first one or a later one."""
        self._sockets = [_bound(self.callers_at), _bound(self.agents_at)]
        self._epoll = select.epoll()
        for sock in self._sockets:
            self._epoll.register(sock, select.EPOLLIN)
        self._by_fd = {sock.fileno(): sock for sock in self._sockets}
        self._pending: dict[tuple[bytes, bytes], Pending] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._n = itertools.count(1)
        self._running = True
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="phones", daemon=True)

    def __enter__(self) -> "Phones":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def check(self) -> None:
        """Raises what ended the phones' thread, if anything did."""
        if self._failure is not None:
            raise AssertionError("the phones' thread ended") from self._failure

    # -- from any thread ---------------------------------------------------------------------------

    def do(self, work: Callable[[], None]) -> None:
        """Run in the phones' thread, soon."""
        self._work.append(work)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """In the phones' thread only: run after so long."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._n), work))

    def ring(self, count: int, rate: float) -> None:
        """So many more callers call, at this rate."""
        every = 1 / rate

        def one(left: int, due: float) -> None:
            self.invite()
            if left > 1:
                self.later(
                    max(0.0, due + every - time.monotonic()), lambda: one(left - 1, due + every)
                )

        self.do(lambda: one(count, time.monotonic()))

    # -- in the phones' thread ---------------------------------------------------------------------

    def _dial(self) -> None:
        self.invite()

    def invite(self) -> bytes:
        """One more caller calls: his Call-ID."""
        n = next(self._n)
        host, port = self.callers_at
        lines = (
            f"INVITE sip:4001@{self.host}:5060 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKb{n}\r\n"
            f"Max-Forwards: 70\r\n"
            f"From: <sip:caller{n}@{host}:{port}>;tag=c{n}\r\n"
            f"To: <sip:4001@{self.host}:5060>\r\n"
            f"Call-ID: {n}@{host}\r\n"
            f"CSeq: 1 INVITE\r\n"
            f"Contact: <sip:caller{n}@{host}:{port}>\r\n"
            f"Content-Type: application/sdp\r\n"
            f"Content-Length: {len(self.sdp)}\r\n\r\n{self.sdp}"
        )
        request = Request(lines.encode())
        call = Call(f"{n}@{host}".encode(), request, asked_at=time.monotonic())
        self.calls[call.id] = call
        self._ask(self._sockets[0], call.id, b"INVITE", request.datagram)
        return call.id

    def answer(self, desk: Desk) -> None:
        """The agent takes the call."""
        user = desk.invite.to.partition(b":")[2].partition(b"@")[0].decode()
        datagram = respond(desk.invite, 200, tag=f"d{user}", contact=self.agents_at, body=self.sdp)
        desk.answered_at = time.monotonic()
        self._sockets[1].sendto(datagram, self.shard)

    def hang_up(self, desk: Desk) -> None:
        """The agent ends the call."""
        desk.cseq += 1
        host, port = self.agents_at
        invite = desk.invite
        user = invite.to.partition(b":")[2].partition(b"@")[0].decode()
        datagram = (
            f"BYE sip:{self.host}:5060 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKd{next(self._n)}\r\n"
            f"Max-Forwards: 70\r\n"
            f"From: {invite.to.decode()};tag=d{user}\r\n"
            f"To: {invite.from_.decode()}\r\n"
            f"Call-ID: {desk.id.decode()}\r\n"
            f"CSeq: {desk.cseq} BYE\r\n"
            f"Content-Length: 0\r\n\r\n"
        ).encode()
        self._ask(self._sockets[1], desk.id, b"BYE", datagram)

    def probe(self, call: Call) -> None:
        """An OPTIONS inside the caller's dialog, sent once."""
        assert call.answer is not None
        call.cseq += 1
        datagram = call.request.follow("OPTIONS", call.cseq, call.answer)
        self._sockets[0].sendto(datagram, self.shard)

    def _ask(self, sock: socket.socket, id: bytes, method: bytes, datagram: bytes) -> None:
        pending = self._pending[id, method] = Pending(sock, datagram)
        sock.sendto(datagram, self.shard)
        self.later(REPEAT_S, lambda: self._again(id, method, pending))

    def _again(self, id: bytes, method: bytes, pending: Pending) -> None:
        if self._pending.get((id, method)) is not pending:
            return
        pending.left -= 1
        if pending.left == 0:
            del self._pending[id, method]
            self.lost.append(id)
            return
        pending.sock.sendto(pending.datagram, self.shard)
        self.later(REPEAT_S, lambda: self._again(id, method, pending))

    def _run(self) -> None:
        try:
            while self._running:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary; `check` raises it
            self._failure = error

    def _turn(self) -> None:
        wait = 0.002
        if self._timers:
            wait = min(wait, max(0.0, self._timers[0][0] - time.monotonic()))
        for fd, _ in self._epoll.poll(wait):
            sock = self._by_fd[fd]
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    datagram = sock.recv(65_535)
                    self._receive(sock, datagram, time.monotonic())
        while self._work:
            self._work.popleft()()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _receive(self, sock: socket.socket, datagram: bytes, now: float) -> None:
        received = Received(datagram)
        if received.status:
            self._answered(received, now)
        elif sock is self._sockets[0]:
            self._asked_caller(received)
        else:
            self._asked_desk(received, now)

    def _answered(self, received: Received, now: float) -> None:
        if received.method == b"INVITE":
            self.on_trying(received.id, now)
        if received.status < 200:
            return
        if received.method == b"OPTIONS":
            self.on_probe(received.id, received.status, now)
            return
        self._pending.pop((received.id, received.method), None)
        call = self.calls.get(received.id)
        if received.method != b"INVITE" or call is None:
            return
        if received.status != 200:
            self._refused(call, received)
            return
        if call.answer is None:
            call.answer = received
            self.up += 1
        self._sockets[0].sendto(call.request.ack(received), self.shard)

    def _refused(self, call: Call, answer: Received) -> None:
        """A busy machine: the caller tries again, as the answer asks him to."""
        self._sockets[0].sendto(call.request.ack_failure(answer), self.shard)
        if self.calls.pop(call.id, None) is not None:
            self.refused += 1
            self.later(REDIAL_S, self._dial)

    def _asked_caller(self, received: Received) -> None:
        call = self.calls.get(received.id)
        if received.method == b"BYE" and call is not None and not call.is_over:
            call.is_over = True
            self.up -= 1
            del self.calls[received.id]
        self._sockets[0].sendto(respond(received, 200), self.shard)

    def _asked_desk(self, received: Received, now: float) -> None:
        desk = self.desks.get(received.id)
        match received.method:
            case b"INVITE":
                if desk is None:
                    desk = self.desks[received.id] = Desk(received.id, received)
                    self.on_desk(desk, now)
                elif desk.answered_at:
                    self.answer(desk)
            case b"ACK":
                if desk is not None and not desk.is_up:
                    desk.is_up = True
                    self.talking += 1
            case b"CANCEL":
                self._sockets[1].sendto(respond(received, 200), self.shard)
            case b"BYE":
                self._sockets[1].sendto(respond(received, 200), self.shard)
                self._forget(received.id)
            case _:
                self._sockets[1].sendto(respond(received, 200), self.shard)

    def _forget(self, id: bytes) -> None:
        desk = self.desks.pop(id, None)
        if desk is not None and desk.is_up:
            self.talking -= 1

    def over(self, desk: Desk) -> None:
        """The agent's own BYE ended it."""
        self._forget(desk.id)


def _bound(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF)
    sock.bind(address)
    sock.setblocking(False)
    return sock
