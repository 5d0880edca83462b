"""The process that polls, as a node uses it, and virtual gateways as a person starts them."""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from gateway_mgmt.ds1 import is_known
from gateway_mgmt.io.process import Message, Polling, PollingEnded
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.watch import Report
from gateway_mgmt.wire import Configure, Poll, Started
from node.cli import run
from node.config import load_centre
from tests.gateway_mgmt.virtual import COMMUNITY, SECRETS, fault, free_host, plant, simulated
from tests.gateway_mgmt.watching import V3, device

ROOT = Path(__file__).parents[2]
START_S = 20
IN_USE = os.strerror(errno.EADDRINUSE)


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


async def first(
    messages: AsyncGenerator[Message, None], path: str, condition: str, is_on: bool
) -> Report:
    async with asyncio.timeout(START_S):
        async for message in messages:
            if isinstance(message, Report):
                for one in message.observations:
                    if (one.path, one.condition, one.is_on) == (path, condition, is_on):
                        return message
    raise AssertionError("it ended")


async def started(messages: AsyncGenerator[Message, None]) -> Started:
    async with asyncio.timeout(START_S):
        async for message in messages:
            if isinstance(message, Started):
                return message
    raise AssertionError("it ended")


async def test_a_process_polls_is_told_anew_and_ends_with_its_stdin(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with simulated(2) as gateways:
        devices = {"tg1": device(gateways, 1), "tg2": device(gateways, 2, V3)}
        polling = Polling(poller="gufo")
        await polling.start()
        messages = polling.messages()
        profiles = dict(shipped())
        await polling.ask(Configure({"tg1": devices["tg1"]}, profiles, traps=("127.0.0.1", 0)))
        answer = await started(messages)
        assert (answer.poller, answer.error) == ("gufo", "")
        assert answer.traps is not None
        assert answer.trap_rcvbuf > 0
        fault(gateways, "span 1/1 LOS")
        await first(messages, "tg1/1", "los", True)
        await polling.ask(Configure(devices, profiles, traps=("203.0.113.1", 162)))
        assert "cannot listen at 203.0.113.1:162" in (await started(messages)).error
        fault(gateways, "span 2/2 AIS")
        await first(messages, "tg2/2", "ais", True)
        words = words_of(polling.pid)
        await polling.close()
        with pytest.raises(PollingEnded, match="status 0"):
            async for _ in messages:
                pass
        said = words + "".join(capfd.readouterr())
        assert not [secret for secret in SECRETS if secret in said]


async def test_a_device_is_asked_at_once_when_the_node_wants_it() -> None:
    with simulated(1) as gateways:
        slow = msgspec.structs.replace(device(gateways, 1), poll_ms=3_600_000)
        polling = Polling()
        await polling.start()
        messages = polling.messages()
        await polling.ask(Configure({"tg1": slow}, dict(shipped())))
        await first(messages, "tg1/1", "los", False)
        fault(gateways, "span 1/1 LOS")
        await polling.ask(Poll("tg9"))  # nobody's
        await polling.ask(Poll("tg1"))
        await first(messages, "tg1/1", "los", True)
        await polling.close()


async def test_the_address_of_traps_is_had_when_it_is_let_go() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        address = other.getsockname()
        polling = Polling()
        await polling.start()
        messages = polling.messages()
        await polling.ask(Configure({}, {}, traps=address))
        said = await started(messages)
        assert said.error == f"traps: cannot listen at {address[0]}:{address[1]}: {IN_USE}"
        assert said.traps is None
        other.close()
        said = await started(messages)
        assert (said.error, said.traps) == ("", address)
        await polling.close()


@pytest.mark.parametrize("poller", ["gufo", "pysnmp"])
async def test_a_device_that_moved_is_asked_where_it_is_now(poller: str) -> None:
    with simulated(2) as gateways:
        polling = Polling(poller=poller)
        await polling.start()
        messages = polling.messages()
        for number in (1, 2):
            moved = device(gateways, number, V3)
            await polling.ask(Configure({"tg1": moved}, dict(shipped())))
            await started(messages)
            seen = await first(messages, "tg1/1", "los", False)
            assert seen.reading is not None
            assert seen.reading.name == f"gw{number}"
        await polling.close()


def words_of(pid: int) -> str:
    """What anybody on the machine sees of it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


async def test_intervals_that_are_kept_elsewhere_are_not_read_again() -> None:
    with simulated(1) as gateways:
        polling = Polling(poller="gufo")
        await polling.start()
        messages = polling.messages()
        devices = {"tg1": device(gateways, 1)}
        await polling.ask(Configure(devices, dict(shipped())))
        starts: dict[int, list[int]] = {1: [], 2: []}
        async with asyncio.timeout(40):
            async for message in messages:
                for span, row in message.rows if isinstance(message, Report) else ():
                    starts[span].append(row.start_ms)
                if all(len(found) >= 24 for found in starts.values()):
                    break
        await polling.close()
        assert all(len(set(found)) == len(found) for found in starts.values())

        polling = Polling(poller="gufo")
        await polling.start()
        messages = polling.messages()
        await polling.ask(Configure(devices, dict(shipped()), known_ms={"tg1": starts}))
        async with asyncio.timeout(START_S):
            async for message in messages:
                if isinstance(message, Report) and message.rows:
                    break
        assert isinstance(message, Report)
        assert message.rows
        for span, row in message.rows:
            assert not is_known(starts[span], row.start_ms)
        await polling.close()


CALLS = ("--calls", "5", "--to", "127.0.0.1:5060", "--number", "4001")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--count", "0"], "--count must be from 1 to 5000"),
        (["--address", "10.0.0.1"], "--address: 10.0.0.1 is not of 127.0.0.0/8"),
        (["--auth", "env:T_AUTH"], "--auth and --privacy go together"),
        (["--community", "env:T_NONE"], "env:T_NONE: no such variable, or it is empty"),
        (
            ["--traps", "here"],
            "--traps: 'here' is no address: write HOST:PORT with a literal IP address",
        ),
        (
            ["--informs", "10.0.0.1"],
            "--informs: 10.0.0.1 is not of 127.0.0.0/8, where the gateways are",
        ),
        (["--informs-v3"], "--informs-v3 needs --auth and --privacy"),
        (["--calls", "-1"], "--calls must be from 0 to 1000000"),
        (["--calls", "5"], "--calls needs --to IP:PORT and --number NUMBER"),
        (["--to", "127.0.0.1"], "--to is for calls: give --calls N"),
        ([*CALLS, "--to", "sip.example"], "--to: 'sip.example' is no address: write HOST:PORT"),
        ([*CALLS, "--number", "40 01"], "--number: '40 01' is no number"),
        ([*CALLS, "--hold", "long"], "--hold: 'long' is no time: write 5, 3-8 (seconds)"),
        ([*CALLS, "--calls-per-minute", "0"], "--calls-per-minute must be above 0, and at most"),
        ([*CALLS, "--sip-port", "0"], "--calls needs a --sip-port that is not 0"),
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--script", "/nowhere"], "/nowhere: No such file or directory"),
    ],
)
def test_bad_words_are_told_in_one_line(
    words: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gateway", "simulate", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"keepline gateway simulate: {wrong}")
    assert said.err.count("\n") == 1


def test_a_bad_script_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "faults"
    script.write_text("# LOS for a while\nat 1s span 1/1 LOS\nat 2s span 1/1 LOST\n")
    assert run(["gateway", "simulate", "--script", str(script)]) == 2
    assert f"{script}: line 3: 'lost' is no fault; known: rai, " in capsys.readouterr().err


async def test_the_example_centre_watches_simulated_gateways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/gateways.md says to type, with an address of the test's own."""
    for name, secret in (("AUTH", "tg-auth-secret"), ("PRIVACY", "tg-privacy-secret")):
        monkeypatch.setenv(f"TG_{name}", secret)
    monkeypatch.setenv("TG_COMMUNITY", COMMUNITY)
    host = free_host((1_161, 5_060))
    centre = tmp_path / "centre.yaml"
    text = (ROOT / "examples/gateways.yaml").read_text()
    centre.write_text(text.replace("127.1.0.", host[:-1]))
    script = tmp_path / "faults"
    script.write_text("at 10ms span 1/2 LOS\n")
    simulator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "node", "gateway", "simulate", "--count", "2"),
        *("--address", host, "--script", str(script), "--community", "env:TG_COMMUNITY"),
        *("--auth", "env:TG_AUTH", "--privacy", "env:TG_PRIVACY"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert simulator.stdout is not None
    line = await asyncio.wait_for(simulator.stdout.readline(), START_S)
    assert line == f"2 gateways at {host} to {host[:-1]}2, SNMP port 1161\n".encode()
    said = await asyncio.wait_for(simulator.stdout.readline(), START_S)
    assert said == b"at 10ms span 1/2 LOS\n"
    polling = Polling()
    await polling.start()
    try:
        messages = polling.messages()
        await polling.ask(Configure(load_centre(centre).inventory.devices, dict(shipped())))
        seen = await first(messages, "tg1/2", "los", True)
        assert seen.reading is not None
        assert seen.reading.name == "gw1"
    finally:
        await polling.close()
        simulator.kill()
        await simulator.wait()
