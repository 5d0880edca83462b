"""Traps over real sockets: bursts, strangers, and a gateway's way from fault to report."""

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from gateway_mgmt.inventory import Device
from gateway_mgmt.io.traps import RCVBUF_BYTES, TrapPort
from gateway_mgmt.snmp import pdu, usm
from gateway_mgmt.snmp.engine import Engine
from gateway_mgmt.traps import Desk, Hint, Sender
from tests.gateway_mgmt.test_snmp import TRAP
from tests.gateway_mgmt.virtual import AUTH, PRIVACY, plant, simulated
from tests.gateway_mgmt.watching import OURS, V2C, until, watched

BURST = 2_000
KEYS = usm.master("sha", AUTH.encode(), PRIVACY.encode())


def listening(port: TrapPort, hint: Callable[[Hint], None]) -> Desk:
    senders = {"127.0.0.1": [Sender("tg1", b"public", b"noc", KEYS)]}
    desk = Desk(senders, engine_id=OURS, boots=1, started_s=0, salt=0)
    port.start(desk, hint)
    return desk


def send(messages: list[bytes], port: TrapPort, host: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        for message in messages:
            sock.sendto(message, port.address)


@pytest.mark.parametrize("version", ["v2c", "v3"])
async def test_a_burst_of_traps_is_taken_whole(version: str) -> None:
    """All are sent before one is read: as if the loop had been busy just then."""
    engine = Engine(b"\x80\x00\x00\x00\x05gw", 1, 0.0, {b"noc": KEYS}, salt=0)
    messages = [
        pdu.encode_v2c(b"public", TRAP._replace(request_id=n))
        if version == "v2c"
        else engine.notify(n, b"noc", TRAP, 1.0)
        for n in range(BURST)
    ]
    port = TrapPort(("127.0.0.1", 0))
    if port.rcvbuf < RCVBUF_BYTES:
        port.close()
        pytest.skip(f"the kernel gives a buffer of {port.rcvbuf} bytes; be root for more")
    hints: list[Hint] = []
    desk = listening(port, hints.append)
    send(messages, port)
    await until(lambda: desk.counts["taken"] >= BURST)
    assert len(hints) == BURST
    assert port.dropped == 0
    port.close()


async def test_what_the_kernel_drops_is_counted() -> None:
    port = TrapPort(("127.0.0.1", 0))
    port._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    send([pdu.encode_v2c(b"public", TRAP)] * 100, port)
    dropped = port.dropped
    assert dropped > 50
    desk = listening(port, lambda hint: None)
    await until(lambda: desk.counts["taken"] >= 100 - dropped)
    port.close()


async def test_a_flood_from_a_stranger_holds_up_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with simulated(1) as gateways:
        device = Device("x", "generic", (gateways.host(1), 1_161), V2C, poll_ms=1_000)
        async with watched({"tg1": device}) as found:
            await found.of("tg1", lambda r: r.reading)
            stop = asyncio.Event()

            def flood() -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.9", 0))
                    junk = pdu.encode_v2c(b"public", TRAP)
                    while not stop.is_set():
                        for _ in range(100):
                            sock.sendto(junk, found.port.address)
                        time.sleep(0.005)

            flooding = asyncio.get_running_loop().run_in_executor(None, flood)
            try:
                polls = found.watcher.counted.answered
                await until(lambda: found.watcher.counted.answered >= polls + 3)
            finally:
                stop.set()
                await flooding
            assert found.desk.counts["strangers"] > 1_000
            assert found.desk.counts["taken"] == 0
            assert True not in found.seen("unreachable")
            assert found.watcher.counted.silent == 0
