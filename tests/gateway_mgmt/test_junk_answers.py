"""Devices whose answers are junk: no poll of another device feels them."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway_mgmt import oids
from gateway_mgmt.access import Community
from gateway_mgmt.inventory import Address, Device, Span
from gateway_mgmt.io.credentials import Credentials
from gateway_mgmt.io.diagnose import diagnose
from gateway_mgmt.io.poller import Answered, Refused, Silent, Target, make
from gateway_mgmt.io.watch import Watcher
from gateway_mgmt.snmp import pdu, usm
from gateway_mgmt.snmp.ber import Malformed, octets_at
from gateway_mgmt.snmp.engine import Engine, Opened
from loadtest.gateway import Gateway, Template
from tests.gateway_mgmt.virtual import AUTH, PRIVACY, plant, simulated
from tests.gateway_mgmt.watching import V2C, V3, device, watched

POLLERS = ("gufo", "pysnmp")
ENGINE_ID = b"\x80\x00\x1f\x88\x04junk"
KEYS = usm.master("sha", AUTH.encode(), PRIVACY.encode())
ANSWERS = 150


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncGenerator[Address, None]:
    """A device that answers each datagram so; nothing if it is empty."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("127.0.0.1", 0))

        def read() -> None:
            datagram, source = sock.recvfrom(65_535)
            if said := answer(datagram):
                sock.sendto(said, source)

        loop.add_reader(sock, read)
        try:
            yield sock.getsockname()
        finally:
            loop.remove_reader(sock)


class Garbled:
    """A virtual gateway; of its answers four in five are changed on the way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._gateway = Gateway(1, Template(2), ENGINE_ID, time.time())
        self._engine = Engine(ENGINE_ID, 1, time.time() - 60, {b"noc": KEYS}, salt=1)

    def answer(self, datagram: bytes) -> bytes:
        try:
            said = self._right(datagram)
        except Malformed:
            return b""
        return self._garble(said) if self._random.random() < 0.8 else said

    def _right(self, datagram: bytes) -> bytes:
        now_s = time.time()
        version, at, end = pdu.version_of(datagram)
        if version == pdu.V3:
            opened = self._engine.open(datagram, now_s)
            if not isinstance(opened, Opened):
                return opened
            answer = self._gateway.answer(opened.scoped.pdu, now_s)
            return self._engine.answer(opened, answer, now_s)
        community, at = octets_at(datagram, at, end)
        answer = self._gateway.answer(pdu.decode(datagram, at, end), now_s)
        return pdu.community_message(community, answer)

    def _garble(self, said: bytes) -> bytes:
        draw = self._random
        if not said:
            return said
        how = draw.random()
        if how < 0.1:
            return draw.randbytes(draw.randrange(1, 200))
        if how < 0.3:
            return said[: draw.randrange(1, len(said))]
        changed = bytearray(said)
        for _ in range(draw.choice([1, 1, 2, 5, 20])):
            at = draw.randrange(len(changed))
            changed[at] = draw.choice([0, 1, 0x7F, 0x80, 0x84, 0xFF, draw.randrange(256)])
        return bytes(changed) + draw.randbytes(draw.choice([0, 0, 30]))


@pytest.mark.parametrize("access", [V2C, V3], ids=["v2c", "v3"])
@pytest.mark.parametrize("name", POLLERS)
async def test_whatever_comes_is_an_answer_of_some_kind(name: str, access: Community) -> None:
    poller = make(name)
    asked = [*oids.SYSTEM, *(f"{oid}.1" for oid in oids.LINE.values())]
    kinds: set[type] = set()
    async with answering(Garbled(7).answer) as address:
        target = Target("junk", address, Credentials().resolve(access))
        for _ in range(ANSWERS):
            answer = await poller.get(target, asked, timeout_ms=30, retries=0)
            kinds.add(type(answer))
            if not isinstance(answer, Answered):
                poller.forget(target)
    poller.close()
    assert kinds <= {Answered, Refused, Silent}
    assert len(kinds) > 1


@pytest.mark.parametrize("name", POLLERS)
@pytest.mark.parametrize("junk", [b"\x30\x81", b"\x30", b"\x00" * 40, b"x"])
async def test_a_device_that_answers_junk_ends_no_poll_of_another(name: str, junk: bytes) -> None:
    with simulated(1) as gateways:
        async with answering(lambda datagram: junk) as address:
            bad = Device("test", "generic", address, V2C, poll_ms=200, spans={1: Span(1)})
            devices = {"bad": bad, "good": device(gateways, 1, poll_ms=200)}
            async with watched(devices, name, timeout_ms=100) as found:
                await found.of("bad", lambda report: report.trouble)
                for _ in range(3):
                    await found.of("good", lambda report: report.reading, after=len(found.reports))
                assert not found.watcher.failed.done()


async def test_a_fault_of_ours_in_one_poll_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Watcher._get

    async def get(self: Watcher, sight: object, *args: object, **more: object) -> object:
        if getattr(sight, "name", "") == "bad":
            raise OverflowError
        return await right(self, sight, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Watcher, "_get", get)
    with simulated(2) as gateways:
        devices = {name: device(gateways, n, poll_ms=200) for n, name in ((1, "bad"), (2, "good"))}
        async with watched(devices) as found:
            told = await found.of("bad", lambda report: report.trouble)
            await found.of("bad", lambda report: report.trouble, after=len(found.reports))
            await found.of("good", lambda report: report.reading, after=len(found.reports))
            assert told.trouble == "SNMP: its answer cannot be read (OverflowError)"


async def test_an_engine_whose_clock_is_none_is_silent() -> None:
    """Boots beyond what RFC 3414 allows."""
    engine = Engine(ENGINE_ID, (1 << 32) + 5, time.time(), {}, salt=1)

    def answer(datagram: bytes) -> bytes:
        opened = engine.open(datagram, time.time())
        return opened if isinstance(opened, bytes) else b""

    async with answering(answer) as address:
        target = Target("odd", address, Credentials().resolve(V3))
        assert await diagnose(target, 300) == ""
