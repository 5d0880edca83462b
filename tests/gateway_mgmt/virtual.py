"""Virtual gateways for tests, on addresses that nobody else uses."""

import os
import socket
from collections.abc import Generator, Sequence
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
