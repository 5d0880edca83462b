"""People against people and against SIPp: real SIP and RTP on loopback."""

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from loadtest import facts, options
from loadtest.facts import Audio
from loadtest.io.crowd import Crowd
from loadtest.io.people import simulate
from loadtest.options import AgentAddress, Options, Span
from loadtest.probes import asked
from loadtest.report import Report
from loadtest.verdict import judge

SIPP = shutil.which("sipp")
needs_sipp = pytest.mark.skipif(SIPP is None, reason="needs SIPp: apt-get install sip-tester")
pytestmark = pytest.mark.real
SECONDS_MAX = 20


def free_ports(count: int) -> list[int]:
    """UDP ports that were free a moment ago."""
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def pairs(count: int, **more: object) -> Options:
    """As many callers as agents; each caller dials an agent of his own."""
    ports = free_ports(count)
    given = Options(
        agents=tuple(
            AgentAddress(str(1_001 + n), ("127.0.0.1", port)) for n, port in enumerate(ports)
        ),
        numbers=tuple(f"{1_001 + n}@127.0.0.1:{port}" for n, port in enumerate(ports)),
        calls=count,
        rate=50,
        talk=Span(1_200, 1_500),
        ring=Span(50, 150),
    )
    return msgspec.structs.replace(given, **more)


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a fact; the test's own deadline bounds it."""
    async with asyncio.timeout(SECONDS_MAX):
        for _ in range(SECONDS_MAX * 50):
            if await is_true():
                return
            await asyncio.sleep(0.02)
    raise TimeoutError


async def simulated(given: Options) -> tuple[Report, list[facts.AnyFact]]:
    """The report and the facts of a run."""
    crowds: list[Crowd] = []
    async with asyncio.timeout(SECONDS_MAX):
        report = await simulate(given, started=crowds.append)
    return report, crowds[0].log


async def test_callers_and_agents_talk_and_hear_each_other(tmp_path: Path) -> None:
    given = pairs(6, log=str(tmp_path / "facts.jsonl"), offerless_rate=0.3, digits="12")
    report, log = await simulated(given)

    verdict = report.verdict
    assert (verdict.lost, verdict.doubled, verdict.overtaken) == ([], [], [])
    assert (verdict.offered, verdict.answered, verdict.ok) == (6, 6, True)
    assert (verdict.missing, verdict.duplicates) == (0, 0)
    heard = {f.who: [s.what for s in f.heard] for f in log if isinstance(f, Audio)}
    assert heard == {
        **{f"c{n}": [f"a{n}"] for n in range(6)},
        **{str(1_001 + n): [f"c{n}"] for n in range(6)},
    }
    written = facts.read((tmp_path / "facts.jsonl").read_bytes())
    assert judge(written).answered == 6


async def test_a_held_call_is_silent_for_who_holds_and_nothing_is_lost() -> None:
    report, log = await simulated(pairs(4, hold_rate=1.0, talk=Span(1_800, 2_000)))
    held = [f for f in log if isinstance(f, facts.Held)]
    assert held
    assert {fact.status for fact in held} <= {200, 491}
    assert report.verdict.lost == []
    assert any(f.held_ms > 300 for f in log if isinstance(f, Audio))


async def test_people_ask_in_their_calls_and_some_hang_up_when_told(tmp_path: Path) -> None:
    control, log = tmp_path / "control", tmp_path / "facts"
    given = pairs(
        3,
        control=str(control),
        log=str(log),
        scenario="talking=2,held=1",
        calls=0,
        talk=Span(300, 400),
    )
    run = asyncio.create_task(simulate(given))

    async def listens() -> bool:
        return control.exists()

    await until(listens)
    incoming, outgoing = await asyncio.open_unix_connection(control)

    async def told(line: str) -> dict[str, object]:
        outgoing.write(line.encode() + b"\n")
        answer: dict[str, object] = msgspec.json.decode(await incoming.readline())
        return answer

    async def talk(count: int) -> None:
        async def do() -> bool:
            state = msgspec.convert((await told('{"state": true}'))["state"], dict[str, int])
            return state["agents_talking"] == count

        await until(do)

    async def has_asked() -> bool:
        written = log.read_bytes()
        return len(asked(facts.read(written[: written.rfind(b"\n") + 1]))) > 10

    await talk(3)
    assert (await told('{"probe": true}'))["ok"] is True
    await until(has_asked)
    assert await told('{"hang_up": 3}') == {"ok": True, "left": 2}  # not who holds his caller
    await talk(1)
    assert (await told('{"probe": false}'))["ok"] is True
    assert (await told('{"stop": true}'))["ok"] is True
    async with asyncio.timeout(SECONDS_MAX):
        report = await run
    outgoing.close()
    assert report.verdict.lost == []
    seen = asked(facts.read(log.read_bytes()))
    assert len({one.call for one in seen}) == 3
    assert {one.status for one in seen} <= {200, 0, 481}  # 0, 481: the call ended meanwhile
    assert sum(one.status == 200 for one in seen) > len(seen) / 2


async def test_a_run_is_commanded_over_its_socket(tmp_path: Path) -> None:
    control = tmp_path / "control"
    given = pairs(
        3,
        control=str(control),
        scenario="talking=2,ringing=1",
        calls=0,
        talk=Span(300, 400),
    )
    run = asyncio.create_task(simulate(given))

    async def listens() -> bool:
        return control.exists()

    await until(listens)
    incoming, outgoing = await asyncio.open_unix_connection(control)

    async def told(line: str) -> dict[str, object]:
        outgoing.write(line.encode() + b"\n")
        answer: dict[str, object] = msgspec.json.decode(await incoming.readline())
        return answer

    def are(talking: int, ringing: int) -> Callable[[], Awaitable[bool]]:
        async def asked() -> bool:
            counts = msgspec.convert((await told('{"state": true}'))["state"], dict[str, int])
            return (counts["agents_talking"], counts["agents_ringing"]) == (talking, ringing)

        return asked

    await until(are(talking=2, ringing=1))
    assert (await told('{"mark": "fault"}'))["ok"] is True
    answer = await told('{"report": true}')
    assert msgspec.convert(answer["report"], Report).verdict.open == 3
    assert (await told('{"mark": 1}'))["ok"] is False
    assert (await told("{"))["ok"] is False
    assert (await told('{"release": true}'))["ok"] is True
    await until(are(talking=0, ringing=1))
    assert (await told('{"calls": 1, "rate": 100}'))["ok"] is True
    await until(are(talking=1, ringing=1))
    assert (await told('{"stop": true}'))["ok"] is True
    async with asyncio.timeout(SECONDS_MAX):
        report = await run
    outgoing.close()
    assert not control.exists()
    assert report.verdict.lost == []
    assert (report.verdict.offered, report.verdict.ok) == (4, True)
    assert [gap.mark for gap in report.verdict.gaps] == ["fault"]
    assert [phone.state for phone in report.verdict.phones] == ["idle"] * 3


async def test_a_caller_to_nobody_gives_up_and_is_lost() -> None:
    (port,) = free_ports(1)
    given = Options(
        target=("127.0.0.1", port), numbers=("4001",), calls=1, duration_s=0.2, rtp=False
    )
    crowds: list[Crowd] = []
    run = asyncio.create_task(simulate(given, started=crowds.append))

    async def dialled() -> bool:
        return bool(crowds and crowds[0].log)

    await until(dialled)
    crowds[0].done.set()  # the 32 s of timer B are for the virtual clock
    report = await run
    assert [loss.reason for loss in report.verdict.lost] == ["unfinished"]


@contextmanager
def sipp(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running SIPp; ended here if it has not ended itself."""
    assert SIPP is not None
    command = [SIPP, *arguments, "-i", "127.0.0.1", "-nostdin"]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def bound(port: int) -> bool:
    """Does somebody listen on this UDP port?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


@needs_sipp
async def test_callers_call_sipps_built_in_agent(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    given = Options(
        target=("127.0.0.1", port),
        numbers=("4001",),
        calls=3,
        talk=Span(200, 400),
        hangup="caller",
        rtp=False,
    )

    async def listens() -> bool:
        return bound(port)

    with sipp("-sn", "uas", "-p", str(port), cwd=tmp_path):
        await until(listens)
        report, log = await simulated(given)
    assert (report.verdict.ok, report.verdict.answered) == (True, 3)
    assert len([f for f in log if isinstance(f, facts.ByeAnswered) and f.status == 200]) == 3


@needs_sipp
async def test_sipps_built_in_caller_calls_an_agent(tmp_path: Path) -> None:
    port, own = free_ports(2)
    given = Options(
        agents=options.agents(f"1001@127.0.0.1:{port}"),
        ring=Span(50, 50),
        hangup="caller",
        rtp=False,
    )
    crowds: list[Crowd] = []
    run = asyncio.create_task(simulate(given, started=crowds.append))
    await asyncio.sleep(0)
    once = ("-s", "1001", "-m", "2", "-l", "1", "-r", "10", "-d", "100")
    with sipp("-sn", "uac", *once, "-p", str(own), f"127.0.0.1:{port}", cwd=tmp_path) as process:
        assert await asyncio.to_thread(process.wait, SECONDS_MAX) == 0
    crowds[0].stop()
    async with asyncio.timeout(SECONDS_MAX):
        report = await run
    assert report.verdict.lost == []
    assert (report.verdict.offers, report.verdict.offers_failed) == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--calls", "1"], "no number to dial"),
        (["--agents", "x"], "no agent"),
        (["--talk", "long"], "no time"),
        (["--target", "example"], "no address"),
    ],
)
def test_a_command_that_makes_no_sense_says_so_in_one_line(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.io", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_address_in_use_is_told_in_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        agent = f"1001@127.0.0.1:{sock.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "loadtest.io", "--agents", agent],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "in use" in done.stderr


def test_the_command_prints_one_json_document_and_answers_by_its_status() -> None:
    (port,) = free_ports(1)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.io", "--json", "--stdin", "--calls", "1"),
            *("--agents", f"1001@127.0.0.1:{port}", "--number", "1001"),
            *("--target", f"127.0.0.1:{port}", "--ring", "50ms", "--talk", "60"),
        ],
        input=b'{"state": true}\n',
        capture_output=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    state, report = done.stdout.splitlines()
    assert msgspec.json.decode(state)["ok"] is True
    assert msgspec.json.decode(report, type=Report).verdict.offered <= 1
    assert done.returncode in (0, 1)


def test_a_simulation_that_is_told_to_end_hangs_up_and_leaves_a_whole_log(tmp_path: Path) -> None:
    log = tmp_path / "facts.jsonl"
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "loadtest.io", "--log", str(log), "--number", "1001"),
        *("--agents", f"1001@127.0.0.1:{port}", "--target", f"127.0.0.1:{port}"),
        *("--calls", "1", "--ring", "20ms", "--talk", "60"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + SECONDS_MAX
            while not (log.exists() and b'"what":"a0"' in log.read_bytes()):  # written each second
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            assert process.wait(SECONDS_MAX) == 0
        finally:
            process.kill()
    verdict = judge(facts.read(log.read_bytes()))
    assert (verdict.ok, verdict.answered, verdict.open) == (True, 1, 0)
