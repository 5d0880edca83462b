"""Informs reach net-snmp's `snmptrapd`, and whoever runs it is told what is wrong when not."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.inform import TEXT_BYTES_MAX, inform
from gateway_mgmt.alarms.inputs import Sent
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.courier import Courier, Refused, Unsent
from gateway_mgmt.io.inform import Inform
from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.engine import Engine
from gateway_mgmt.trunks import Impact
from tests.gateway_mgmt.virtual import AUTH, COMMUNITY, PRIVACY, SECRETS, free_host, plant
from tests.gateway_mgmt.watching import V2C, V3, until

pytestmark = pytest.mark.real

SNMPTRAPD = shutil.which("snmptrapd", path="/usr/sbin:/usr/bin:/sbin:/bin")
PORT = 1_162
START_S = 10
V3_SHA256 = User("noc256", "env:T_AUTH", "env:T_PRIVACY", auth_protocol="sha256")
ARC = ".1.3.6.1.4.1.32473.1"


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    if SNMPTRAPD is None:
        pytest.fail("needs net-snmp: apt-get install snmptrapd")


def message(what: str = "raised", callers: int | None = 12) -> Message:
    hit = Impact(("carrier-b",), ("4003", "4004"), ("sales",))
    numbered = {"raised": 1, "flapping": 2, "cleared": 3}[what]
    notice = Notice(
        f"alarms-3-812-1:{numbered}", "alarms-3-812-1", numbered, what, "tg1/3", "los",
        "critical", 1_700_000_000_000, 1_700_000_002_500, hit, ["noc"],
    )  # fmt: skip
    return Message(notice, callers)


class Manager(NamedTuple):
    address: tuple[str, int]
    out: Path

    @property
    def got(self) -> list[dict[str, str]]:
        """What stands in each inform, by OID."""
        told = re.findall(r"<<\n(.*?)\n>>", self.out.read_text(), re.DOTALL)
        return [dict(line.split(" = ", 1) for line in one.split("\n")) for one in told]


@contextmanager
def trapd(tmp_path: Path, address: tuple[str, int] | None = None) -> Generator[Manager, None, None]:
    """A real snmptrapd that answers."""
    host, port = address or (free_host((PORT,)), PORT)
    config = tmp_path / "snmptrapd.conf"
    config.write_text(
        f"authCommunity log {COMMUNITY}\n"
        f"createUser noc SHA {AUTH} AES {PRIVACY}\n"
        f"createUser noc256 SHA-256 {AUTH} AES {PRIVACY}\n"
        "authUser log noc priv\n"
        "authUser log noc256 priv\n"
    )
    config.chmod(0o600)
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    out = tmp_path / "out"
    env = {"SNMP_PERSISTENT_DIR": str(state), "MIBS": "", "PATH": "/usr/bin:/bin"}
    assert SNMPTRAPD is not None
    command = [SNMPTRAPD, "-f", "-Lo", "-On", "-C", "-c", str(config), "-F", "<<\n%V\n%v\n>>\n"]
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"udp:{host}:{port}"], env=env, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        give_up = time.monotonic() + START_S
        while not is_answering(host, port):
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < give_up, out.read_text()
        yield Manager((host, port), out)
    finally:
        process.kill()
        process.wait()


def is_answering(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect((host, port))
        try:
            sock.send(usm.discovery(1))
            return bool(sock.recv(4_096))
        except ConnectionRefusedError:
            time.sleep(0.05)
        except OSError:
            pass
    return False


@pytest.mark.parametrize("access", [V2C, V3, V3_SHA256], ids=["v2c", "v3", "v3-sha256"])
async def test_a_manager_has_all_that_is_told_of_an_alarm(
    access: Community | User, tmp_path: Path
) -> None:
    with trapd(tmp_path) as manager:
        sender = Inform(manager.address, access)
        for told in message("raised"), message("flapping"), message("cleared", None):
            await sender.send([told])
        await until(lambda: len(manager.got) == 3)
        raised, flapping, cleared = manager.got
    assert re.match(r"Timeticks: \([1-9]", raised[".1.3.6.1.2.1.1.3.0"])
    assert raised[".1.3.6.1.6.3.1.1.4.1.0"] == f"OID: {ARC}.0.1"
    assert flapping[".1.3.6.1.6.3.1.1.4.1.0"] == f"OID: {ARC}.0.3"
    assert cleared[".1.3.6.1.6.3.1.1.4.1.0"] == f"OID: {ARC}.0.2"
    assert list(raised)[2:] == [f"{ARC}.1.{n}.0" for n in range(1, 13)]
    assert list(raised.values())[2:] == [
        'STRING: "alarms-3-812-1:1"',
        'STRING: "alarms-3-812-1"',
        'STRING: "tg1/3"',
        'STRING: "los"',
        'STRING: "critical"',
        'STRING: "2023-11-14T22:13:20.000Z"',
        'STRING: "tg1/3: receives no signal"',
        'STRING: "check cable and far end"',
        'STRING: "carrier-b"',
        'STRING: "4003,4004"',
        'STRING: "sales"',
        "INTEGER: 12",
    ]
    assert cleared[f"{ARC}.1.5.0"] == 'STRING: "cleared"'
    assert cleared[f"{ARC}.1.8.0"] == '""'
    assert cleared[f"{ARC}.1.12.0"] == "INTEGER: -1"


async def test_a_repeat_has_the_same_id_and_a_site_its_own_arc(tmp_path: Path) -> None:
    with trapd(tmp_path) as manager:
        for _ in range(2):
            await Inform(manager.address, V3, enterprise="1.3.6.1.4.1.99999.7").send([message()])
        await until(lambda: len(manager.got) == 2)
        ids = [one[".1.3.6.1.4.1.99999.7.1.1.0"] for one in manager.got]
    assert ids == ['STRING: "alarms-3-812-1:1"'] * 2


@pytest.mark.parametrize(
    ("access", "wrong"),
    [
        (Community("env:T_WRONG"), "no answer to SNMP; are address and community right"),
        (User("nobody", "env:T_AUTH", "env:T_PRIVACY"), "snmp.user: it knows no such user"),
        (User("noc", "env:T_WRONG", "env:T_PRIVACY"), "snmp.auth: the key is another one there"),
        (User("noc", "env:T_AUTH", "env:T_PRIVACY", "sha256"), "snmp.auth"),
        (User("noc", "env:T_AUTH", "env:T_WRONG"), "snmp.privacy: "),
        (Community("env:T_MISSING"), "snmp.community: env:T_MISSING: no such variable"),
    ],
    ids=["community", "user", "auth", "protocol", "privacy", "missing"],
)
async def test_what_is_wrong_is_named_and_no_secret_is(
    access: Community | User, wrong: str, tmp_path: Path
) -> None:
    with trapd(tmp_path) as manager:
        with pytest.raises(Unsent) as caught:
            await Inform(manager.address, access, timeout_s=1).send([message()])
        assert manager.got == []
    host, port = manager.address
    assert str(caught.value).startswith(f"snmp {host}:{port}: {wrong}")
    assert not any(secret in repr(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("access", [V2C, V3], ids=["v2c", "v3"])
async def test_a_manager_that_starts_later_has_all_in_order(
    access: Community | User, tmp_path: Path
) -> None:
    address = (free_host((PORT,)), PORT)
    sent: list[Sent] = []
    sender = Inform(address, access, timeout_s=1)
    courier = Courier("noc", sender, sent.append, retry_ms=(50,))
    for key, told in ("a", message("raised")), ("b", message("cleared")):
        courier.put(key, told.notice)
    try:
        await until(lambda: bool(courier.trouble))
        assert (courier.waiting, sent) == (2, [])
        with trapd(tmp_path, address) as manager:
            await until(lambda: len(sent) == 2)
            await until(lambda: len(manager.got) >= 2)
            ids = [one[f"{ARC}.1.1.0"] for one in manager.got]
    finally:
        await courier.stop()
    assert [one.refused for one in sent] == ["", ""]
    assert list(dict.fromkeys(ids)) == [f'STRING: "alarms-3-812-1:{n}"' for n in (1, 3)]


class Scripted(asyncio.DatagramProtocol):
    """A manager that does what net-snmp's never does."""

    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self._answer = answer
        self.transport: asyncio.DatagramTransport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for datagram in self._answer(data):
            self.transport.sendto(datagram, addr)


@asynccontextmanager
async def scripted(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[tuple[str, int]]:
    address = (free_host((PORT,)), PORT)
    transport, manager = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Scripted(answer), local_addr=address
    )
    manager.transport = transport
    try:
        yield address
    finally:
        transport.close()


async def test_an_error_status_is_a_refusal_and_another_s_answer_none() -> None:
    def answer(datagram: bytes) -> list[bytes]:
        community, asked = pdu.decode_v2c(datagram)
        refused = asked._replace(kind=pdu.RESPONSE, error=16)
        other = refused._replace(error=0, request_id=asked.request_id ^ 1)
        back = asked._replace(kind=pdu.GET)
        said = (pdu.encode_v2c(community, one) for one in (other, back, refused))
        return [b"\x30junk", *said]

    async with scripted(answer) as address:
        with pytest.raises(Refused, match="answers error-status 16"):
            await Inform(address, V2C).send([message()])


class Moved:
    """A manager's engine whose clock is set anew between its first word and the inform."""

    def __init__(self, restarts: int) -> None:
        self.restarts = restarts
        self.asked: list[pdu.Pdu] = []
        keys = usm.master("sha", AUTH.encode(), PRIVACY.encode())
        salt = int.from_bytes(os.urandom(8), "big")
        self.engine = Engine(b"\x80\x00\x1f\x88\x04manager", 1, 0, {b"noc": keys}, salt=salt)
        self.is_honest = True
        self.forged: list[pdu.Pdu | None] = []
        """Sent before its answer, in clear; None: a response."""

    def answer(self, datagram: bytes) -> list[bytes]:
        if usm.read_head(datagram).engine_id and self.restarts:
            self.restarts -= 1
            self.engine.restart(0)
        found = self.engine.open(datagram, 1_000.0)
        if isinstance(found, bytes):
            return [found]
        self.asked.append(found.scoped.pdu)
        response = found.scoped.pdu._replace(kind=pdu.RESPONSE)
        true = self.engine.answer(found, pdu.encode(response), 1_000.0)
        forged = [in_clear(found.head, one or response) for one in self.forged]
        return [*forged, true] if self.is_honest else forged


def in_clear(head: usm.Head, said: pdu.Pdu) -> bytes:
    """What anybody can send who sees the inform go by."""
    return usm.seal(
        message_id=head.message_id,
        flags=0,
        engine_id=head.engine_id,
        boots=head.boots + 1,
        time_s=head.time_s,
        user=head.user,
        scoped=usm.scoped_pdu(head.engine_id, said),
    )


async def test_a_manager_that_was_just_restarted_is_told_by_its_new_clock() -> None:
    manager = Moved(restarts=1)
    async with scripted(manager.answer) as address:
        await Inform(address, V3).send([message()])
    assert [one.kind for one in manager.asked] == [pdu.INFORM]
    assert manager.engine.refused[usm.NOT_IN_WINDOW] == 1


async def test_a_manager_whose_clock_never_fits_is_told_of_later() -> None:
    manager = Moved(restarts=9)
    async with scripted(manager.answer) as address:
        with pytest.raises(Unsent, match="clock"):
            await Inform(address, V3).send([message()])
    assert manager.asked == []


async def test_an_answer_in_clear_confirms_nothing_of_v3() -> None:
    manager = Moved(restarts=0)
    manager.is_honest = False
    manager.forged = [None]
    async with scripted(manager.answer) as address:
        with pytest.raises(Unsent):
            await Inform(address, V3, timeout_s=0.5).send([message()])
    assert [one.kind for one in manager.asked] == [pdu.INFORM]


async def test_no_clock_is_set_by_a_report_in_clear() -> None:
    manager = Moved(restarts=0)
    late = pdu.number(usm.NOT_IN_WINDOW, 1, ber.COUNTER32)
    manager.forged = [pdu.Pdu(pdu.REPORT, 0, varbinds=[late])]
    async with scripted(manager.answer) as address:
        await Inform(address, V3).send([message()])
        await asyncio.sleep(0.2)  # whoever believes it sends once more
    assert [one.kind for one in manager.asked] == [pdu.INFORM]
    assert manager.engine.refused[usm.NOT_IN_WINDOW] == 1  # the one by which its clock is learnt


def test_a_list_that_is_too_long_says_how_many_it_leaves_out() -> None:
    told = message()
    told.notice.impact = Impact((), tuple(str(n) for n in range(4_000, 5_000)), ())
    told.notice.path = "é" * 200
    texts = [one.content for one in inform(told, request_id=1, ticks=1 << 33).varbinds]
    *numbers, more = texts[11].decode().split(",")
    assert numbers == [str(n) for n in range(4_000, 4_000 + len(numbers))]
    assert len(numbers) > 40
    assert more == f"and {1_000 - len(numbers)} more"
    assert max(map(len, texts)) <= TEXT_BYTES_MAX
    assert texts[4].decode() == "é" * 127


@pytest.mark.parametrize("arc", ["", "32473", "1.3.6.1", "1.3.6.1.4.1.x", "1.3.6.1.4.1.1."])
def test_an_arc_that_is_none_is_named(arc: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(arc))):
        Inform(("127.0.0.1", PORT), V2C, enterprise=arc)
