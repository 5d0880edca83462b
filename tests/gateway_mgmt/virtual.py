"""Virtual gateways for tests, on addresses that nobody else uses."""

import asyncio
import os
import socket
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest

from gateway_mgmt.snmp import usm
from loadtest.fault_script import read_line
from loadtest.io.gateways import Gateways, Plan

COMMUNITY, AUTH, PRIVACY = "planted-community", "planted-auth-secret", "planted-privacy-secret"
SECRETS = (COMMUNITY, AUTH, PRIVACY, "planted-wrong-secret")

_hosts = count(os.getpid())


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that devices are declared with."""
    monkeypatch.setenv("T_COMMUNITY", COMMUNITY)
    monkeypatch.setenv("T_AUTH", AUTH)
    monkeypatch.setenv("T_PRIVACY", PRIVACY)
    monkeypatch.setenv("T_WRONG", "planted-wrong-secret")


def free_host(ports: Sequence[int]) -> str:
    """An address with several after it, none of which anybody uses."""
    while True:
        n = next(_hosts)
        host = f"127.{200 + n // 250 % 50}.{n % 250}.1"
        try:
            for port in ports:
                for last in range(1, 7):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                        probe.bind((host[:-1] + str(last), port))
        except OSError:
            continue
        return host


@contextmanager
def simulated(number: int, **plan: object) -> Generator[Gateways, None, None]:
    """So many of them."""
    host = free_host((1_161, 5_060))
    keys = usm.master("sha", AUTH.encode(), PRIVACY.encode())
    given: dict[str, object] = {"first": host, "sip_port": 5_060, "keys": keys}
    gateways = Gateways(
        Plan(count=number, community=COMMUNITY.encode(), **given | plan)  # type: ignore[arg-type]
    )
    gateways.start()
    try:
        yield gateways
    finally:
        gateways.close()


def fault(gateways: Gateways, written: str) -> None:
    """It happens now."""
    gateways.apply(read_line(written, gateways=gateways.plan.count, spans=gateways.plan.spans))


class Beside:
    """Virtual gateways on a loop and thread of their own, for a test that has none."""

    def __init__(self, gateways: Gateways, loop: asyncio.AbstractEventLoop) -> None:
        self._gateways = gateways
        self._loop = loop

    def address(self, number: int) -> str:
        """Where this one's SNMP is."""
        return f"{self._gateways.host(number)}:{self._gateways.plan.port}"

    def fault(self, written: str) -> None:
        """It happens now."""
        self._loop.call_soon_threadsafe(fault, self._gateways, written)


@contextmanager
def beside(number: int, **plan: object) -> Generator[Beside, None, None]:
    """So many of them, in a thread."""
    found: Future[Beside] = Future()
    over = asyncio.Event()

    async def play() -> None:
        with simulated(number, **plan) as gateways:
            found.set_result(Beside(gateways, asyncio.get_running_loop()))
            await over.wait()

    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(asyncio.run, play())
        try:
            gateways = found.result(10)
            yield gateways
        finally:
            if found.done():
                found.result()._loop.call_soon_threadsafe(over.set)
            played.result(10)
