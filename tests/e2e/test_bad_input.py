"""What people, phones and strangers do wrong: it is answered, and costs nobody a call."""

import os
import random
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from node.directory import Directory
from node.up import MEDIA_PORTS
from sip.sdp import offer
from tests.e2e.cluster import KEEPLINE, Cluster, own_address, running, until
from tests.e2e.faults import Scene, playing
from tests.e2e.people import SIP_PORT, People
from tests.e2e.raw_phone import RawPhone
from tests.e2e.seen import nothing_lost

pytestmark = pytest.mark.real

COUPLE = People(waiting=2, talking=4, ringing=0)
FUZZ = 2_000
LONGEST = 65_507
"""Bytes that fit into one UDP datagram over IPv4."""


def pids(scene: Scene) -> dict[str, int]:
    return {node["name"]: node["pid"] for node in Directory(scene.cluster.data).known_nodes()}


def malformed(phone: RawPhone) -> list[tuple[str, bytes, int]]:
    """What is wrong with it, the request, and the answer it must get."""
    vias = ", ".join(f"SIP/2.0/UDP 192.0.2.{n};branch=z9hG4bKx{n}" for n in range(1, 101))
    own = f"SIP/2.0/UDP {phone.address[0]}:{phone.address[1]};rport;branch=z9hG4bKvia100"
    whole = phone.request("OPTIONS", "4001")
    padding = "x" * (LONGEST - len(whole) - len("Content-Type: text/plain\r\n") - 10)
    bare = phone.request("INVITE", "9999", body="v=0\r\n" + "a" * 60_000)
    return [
        (
            "a level of Via too many",
            phone.request("OPTIONS", "4001", ("Via", f"{own}, {vias}")),
            483,
        ),
        (
            "a CSeq of as many digits as fit",
            phone.request("OPTIONS", "4001", ("CSeq", "9" * 64_000 + " OPTIONS")),
            400,
        ),
        ("64 kB that are well made", phone.request("OPTIONS", "4001", ("X-Long", padding)), 200),
        ("64 kB of a body that is no SDP", bare, 404),
        ("a NUL in a header field", phone.request("OPTIONS", "4001", ("Subject", "a\0b")), 0),
        ("NULs alone", b"\0" * 5_000, 0),
        ("NULs after the message", whole + b"\0" * 100, 200),
        ("nothing", b"", 0),
        ("an unknown method", phone.request("DANCE", "4001"), 501),
        ("an unknown number", phone.request("INVITE", "9999", body=sdp_of(phone)), 404),
        ("a BYE of nobody's call", phone.request("BYE", "4001", ("To", "<sip:x@y>;tag=z")), 481),
    ]


def sdp_of(phone: RawPhone) -> str:
    return offer(address=phone.address[0], port=9, session_id=1, version=1)


def mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A message with some bytes, lines or halves wrong."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(data) or 1)
        match draw.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 5:
                del data[place : place + draw.randint(1, 40)]
            case 6:
                data[place:place] = draw.randbytes(draw.randint(1, 40))
            case 7:
                data[place:place] = data[: draw.randint(1, 200)]
            case 8:
                del data[place:]
            case _:
                lines = bytes(data).split(b"\r\n")
                draw.shuffle(lines)
                data = bytearray(b"\r\n".join(lines))
    return bytes(data[:LONGEST])


async def test_garbage_at_the_sip_port_costs_no_call_and_no_node(tmp_path: Path) -> None:
    async with playing(tmp_path, COUPLE) as scene:
        await scene.come()
        before, nodes = await scene.status(), pids(scene)
        part = scene.parts[0]
        with RawPhone(part.phones, (part.sip, SIP_PORT)) as phone:
            for what, datagram, status in malformed(phone):
                if status:
                    assert phone.status_of(datagram) == status, what
                else:
                    phone.send(datagram)
            draw = random.Random(4475)
            seeds = [
                phone.request("INVITE", "9999", body=sdp_of(phone)),
                phone.request("OPTIONS", "9999"),
                phone.request("INFO", "9999", ("To", "<sip:4001@x>;tag=1"), body="Signal=5"),
                phone.request("CANCEL", "9999"),
                phone.request("BYE", "9999", ("To", "<sip:4001@x>;tag=1")),
                b"SIP/2.0 200 OK\r\n" + phone.request("ACK", "9999").partition(b"\r\n")[2],
            ]
            answers = []
            for n in range(FUZZ):
                phone.send(mutated(draw, seeds))
                if n % 100 == 99:
                    answers += phone.drain(0.05)
            assert phone.answer_to(phone.request("OPTIONS", "4001")).status == 200
        assert len(answers) > FUZZ // 4
        assert [one for one in answers if not re.match(rb"SIP/2\.0 [2345]\d\d ", one)] == []

        await scene.mark("fault")
        await scene.rest(2.0)
        await scene.finish()
        after = await scene.status()
        found = await scene.judged()

    assert pids(scene) == nodes
    assert [shard["epoch"] for shard in after["shards"]] == [
        shard["epoch"] for shard in before["shards"]
    ]
    assert after["ledger"]["unaccounted"] == 0
    nothing_lost(found)


def media_ports(address: str) -> list[int]:
    """The UDP ports in use at this address that are a media server's."""
    host = socket.inet_aton(address)[::-1].hex().upper()
    found = []
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        where, _, port = line.split()[1].partition(":")
        if where == host and MEDIA_PORTS[0] <= int(port, 16) <= MEDIA_PORTS[1]:
            found.append(int(port, 16))
    return found


async def test_garbage_at_the_link_and_rtp_ports_costs_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path, COUPLE) as scene:
        await scene.come()
        before, nodes = await scene.status(), pids(scene)
        draw = random.Random(3550)
        http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for node in Directory(scene.cluster.data).known_nodes():
            for address in (node["link"], node["metrics"]):
                host, _, port = address.rpartition(":")
                for junk in (
                    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(500),
                    http2 + draw.randbytes(4_000),
                    draw.randbytes(20_000),
                ):
                    with socket.create_connection((host, int(port)), timeout=5) as line:
                        line.sendall(junk)
        ports = media_ports(scene.parts[0].sip)
        assert len(ports) >= COUPLE.calls
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((scene.parts[0].phones, 0))
            for port in ports:
                for n in range(20):
                    rtp = b"\x80\x00" + n.to_bytes(2, "big") + draw.randbytes(8 + 160)
                    for junk in (rtp, draw.randbytes(draw.randint(0, 1_400)), b"\x80\x65\0\0"):
                        stranger.sendto(junk, (scene.parts[0].sip, port))
        await scene.mark("fault")
        await scene.rest(2.0)
        after = await scene.status()
        await scene.finish()
        found = await scene.judged()

    assert pids(scene) == nodes
    for key in ("epoch", "active", "in_sync"):
        assert [shard[key] for shard in after["shards"]] == [
            shard[key] for shard in before["shards"]
        ]
    nothing_lost(found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("numbers: {4001: {queue: nowhere}}", r":1: numbers\.4001\.queue: "),
        ("numbers: [4001]", r":1: numbers: "),
        ("queues:\n  support: {strategy: random}", r":2: queues\.support\.strategy: "),
        ("queues:\n  support:\n    offer_timeout: soon", r":3: queues\.support\.offer_timeout: "),
        ("queues: {a: {}}\nqueue: {b: {}}", r":2: queue: "),
        ("queues: {a: {}}\nqueues: {b: {}}", r":2: queues"),
        (
            'queues: {a: {}}\nagents:\n  "1": {phone: "tel:1", queues: [a]}',
            r":3: agents\.1\.phone: ",
        ),
        ('queues: {a: {}}\nagents:\n  "1": {queues: [a]}', r":3: agents\.1\.phone: "),
        ('shards: {main: {sip: "localhost:5060"}}', r":1: shards\.main\.sip: "),
        ("max_calls: many", r":1: max_calls: "),
        ("queues: {a: [", r":2: not YAML: "),
        ("numbers:\n\t4001: x", r":2: not YAML: "),
    ],
)
def test_a_wrong_centre_is_one_line_that_says_where(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "centre.yaml"
    file.write_text(text + "\n")
    done = subprocess.run(
        [*KEEPLINE, "up", "-c", str(file), "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(rf"keepline: {re.escape(str(file))}{line}.+\n", done.stderr), done.stderr
    assert not (tmp_path / "data").exists()


def one_shard(host: str) -> str:
    return f'''
numbers: {{"4001": {{queue: support}}}}
queues: {{support: {{}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
'''


def refusal(*words: str, user: bool = False) -> str:
    """The one line of a command that is refused as wrongly asked; `user`: asked by nobody."""
    command = [*KEEPLINE, *words]
    if user and os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        assert setpriv, "setpriv is missing: apt-get install util-linux"
        command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_data_directory_that_its_user_may_not_write_is_one_line() -> None:
    hello = Path(__file__).parents[2] / "examples" / "hello.yaml"
    line = refusal("up", "-c", str(hello), "--data", "/keepline-of-nobody", user=True)

    assert line == "keepline: /keepline-of-nobody: cannot be written: Permission denied"


def test_a_second_cluster_takes_nothing_from_the_first(tmp_path: Path) -> None:
    """Neither its directory nor its address; and a number without agents keeps callers waiting."""
    host = own_address()
    with running(tmp_path, one_shard(host)) as first, RawPhone(host, (host, 5060)) as phone:
        assert phone.call("4001").status == 200
        until("he waits", lambda: first.shard()["waiting"] == 1)

        same = refusal("up", "-c", str(first.centre), "--data", str(first.data))
        assert same.startswith(f"keepline: {first.data}: in use by keepline up (pid ")
        other = refusal("up", "-c", str(first.centre), "--data", str(tmp_path / "other"))
        assert other == (
            f"keepline: udp {host}:5060 (SIP of shard main) is in use by another process"
        )

        assert first.shard()["waiting"] == 1
        assert first.ask("agents") == []
        (queue,) = first.ask("queues")
        assert (queue["waiting"], queue["agents"]) == (1, 0)
        assert phone.answer_to(phone.request("BYE", "4001")).status == 200
        (record,) = until("his record", lambda: first.ask("cdr"))
        assert record["outcome"] == "abandoned"


def test_what_is_started_is_ended_by_one_signal(tmp_path: Path) -> None:
    """SIGTERM while it starts leaves no process and no traceback."""
    cluster = Cluster(tmp_path, one_shard(own_address()))
    try:
        cluster.start(wait=False)
        until("it starts", lambda: len(cluster.processes()) >= 3)
        assert cluster.stop() == 0
        assert cluster.processes() == []
        assert "Traceback" not in cluster.log.read_text()
    finally:
        cluster.destroy()
