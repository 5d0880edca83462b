"""The stack against SIPp, an implementation that is not ours, on real sockets and with losses."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sip.dialog import Dialog, answered, incoming, origin, outgoing, request, respond
from sip.io.udp import Port
from sip.message import Message
from sip.sdp import answer, offer
from sip.transaction import Layer
from sip.uri import Address

SIPP = shutil.which("sipp")
CALLS = 30
CALLS_ENDED_MIN = 24
"""Of CALLS, where datagrams are lost: SIPp then stumbles over a call now and then. It takes a 200
to INVITE that comes again for the answer to its BYE, and the repeat of an INVITE that it has "lost"
for nothing new.
"""
DEADLINE_S = 90
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        SIPP is None and not os.environ.get("CI"),
        reason="SIPp is not here: apt-get install sip-tester",
    ),
]


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Phone:
    """A socket, a Layer on it, and its timers."""

    def __init__(self) -> None:
        self.port = Port.bind(("127.0.0.1", 0))
        self.sent_by = f"127.0.0.1:{self.port.address[1]}"
        self.faults: list[Exception] = []
        self.layer = Layer(
            self.port.send, self, now_ms(), sent_by=self.sent_by, on_fault=self.faults.append
        )
        self.changed = asyncio.Event()
        self.port.start(asyncio.get_running_loop(), self.receive)
        self.ticks = asyncio.create_task(self.tick())

    def receive(self, datagram: bytes, source: Address) -> None:
        self.layer.receive(datagram, source, now_ms())
        self.changed.set()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait until a fact that a datagram brings about, with a deadline."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_true():
                self.changed.clear()
                await self.changed.wait()

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.layer.tick(now_ms())

    def on_request(self, msg: Message, source: Address) -> None: ...

    def on_response(self, msg: Message, source: Address) -> None: ...

    def on_timeout(self, branch: str, method: str) -> None: ...

    async def close(self) -> None:
        self.ticks.cancel()
        await asyncio.gather(self.ticks, return_exceptions=True)
        self.port.close()
        assert self.faults == []


class Called(Phone):
    """Rings, answers, and waits for BYE."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: set[str] = set()
        self.acked: set[str] = set()
        self.calls: dict[str, tuple[Dialog, Message, Address]] = {}

    def on_request(self, msg: Message, source: Address) -> None:
        if msg.method == "ACK":
            known = self.calls[msg.call_id]
            self.layer.acked(origin(known[1], known[2]))
            self.acked.add(msg.call_id)
            return
        asked = origin(msg, source)
        to_tag, contact, body = "", "", ""
        if msg.method == "INVITE":
            to_tag, contact = "t" + msg.call_id.partition("@")[0], f"sip:k@{self.sent_by}"
            self.calls[msg.call_id] = (incoming(msg, source, to_tag), msg, source)
            ringing = respond(asked, 180, to_tag=to_tag, contact=contact)
            self.layer.respond(asked, 180, ringing, now_ms())
            body = answer(msg.body, address="127.0.0.1", port=4000, session_id=1, version=1)
        elif msg.method == "BYE":
            self.ended.add(msg.call_id)
        ok = respond(asked, 200, to_tag=to_tag, contact=contact, body=body)
        self.layer.respond(asked, 200, ok, now_ms())


class Calling(Phone):
    """Calls, acknowledges and hangs up."""

    def __init__(self, there: Address) -> None:
        super().__init__()
        self.there = there
        self.ended: set[str] = set()
        self.failed: list[str] = []
        self.dialogs: dict[str, Dialog] = {}

    def call(self, n: int) -> None:
        host = f"{self.there[0]}:{self.there[1]}"
        made = outgoing(f"c{n}", f"t{n}", f"sip:k@{self.sent_by}", f"sip:s@{host}", f"sip:s@{host}")
        self.dialogs[made.call_id] = made
        body = offer(address="127.0.0.1", port=4000, session_id=1, version=1)
        self.ask(made, "INVITE", cseq=1, body=body)

    def ask(self, made: Dialog, method: str, *, cseq: int, body: str = "") -> None:
        branch = f"z9hG4bK{made.call_id}x{cseq}"
        datagram = request(
            made,
            method,
            cseq=cseq,
            branch=branch,
            sent_by=self.sent_by,
            contact=f"sip:k@{self.sent_by}",
            body=body,
        )
        self.layer.request(method, branch, datagram, made.next_hop, now_ms())

    def on_response(self, msg: Message, source: Address) -> None:
        made = self.dialogs[msg.call_id]
        if msg.cseq_method == "BYE":
            self.ended.add(msg.call_id)
        elif msg.status >= 300:
            self.failed.append(msg.call_id)
        elif msg.status >= 200:
            first = not made.remote_tag
            answered(made, msg)
            branch = f"z9hG4bK{made.call_id}ack"
            ack = request(made, "ACK", cseq=1, branch=branch, sent_by=self.sent_by)
            self.layer.send(ack, made.next_hop)
            if first:
                self.ask(made, "BYE", cseq=2)

    def on_timeout(self, branch: str, method: str) -> None:
        self.failed.append(branch)


async def sipp(*arguments: str, cwd: Path) -> asyncio.subprocess.Process:
    assert SIPP is not None, "SIPp is not here: apt-get install sip-tester"
    return await asyncio.create_subprocess_exec(
        SIPP,
        *(
            "-i",
            "127.0.0.1",
            "-nostdin",
            "-m",
            str(CALLS),
            "-timeout",
            f"{DEADLINE_S}s",
            *arguments,
        ),
        cwd=cwd,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("lost_percent", [0, 10])
async def test_sipp_calls_us(tmp_path: Path, lost_percent: int) -> None:
    phone = Called()
    options = ["-sn", "uac", "-r", "30", "-m", str(CALLS), "-p", str(free_port()), phone.sent_by]
    process = await sipp(*options, "-lost", str(lost_percent), cwd=tmp_path)
    try:
        async with asyncio.timeout(DEADLINE_S):
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await phone.close()

    assert len(phone.calls) == CALLS
    assert phone.layer.counters["malformed"] == phone.layer.counters["refused"] == 0
    if not lost_percent:
        assert status == 0
        assert len(phone.acked) == len(phone.ended) == CALLS
    else:
        assert phone.layer.counters["repeated"] + phone.layer.counters["retransmitted"] > 0
        assert len(phone.ended) >= CALLS_ENDED_MIN


@pytest.mark.parametrize("lost_percent", [0, 10])
async def test_we_call_sipp(tmp_path: Path, lost_percent: int) -> None:
    there = ("127.0.0.1", free_port())
    process = await sipp(
        "-sn", "uas", "-p", str(there[1]), "-lost", str(lost_percent), cwd=tmp_path
    )
    phone = Calling(there)
    try:
        for n in range(CALLS):  # before SIPp listens the first datagrams are lost, and go again
            phone.call(n)
        enough = CALLS_ENDED_MIN if lost_percent else CALLS
        await phone.until(lambda: len(phone.ended) >= enough)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await phone.close()

    assert phone.failed == []
    assert phone.layer.counters["malformed"] == 0
