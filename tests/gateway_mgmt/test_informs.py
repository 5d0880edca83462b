"""Informs of virtual gateways: acknowledged by us and by net-snmp, repeated where nobody does."""

import shutil
import socket
import subprocess
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from gateway_mgmt import oids
from gateway_mgmt.access import Community, User
from gateway_mgmt.io.process import Polling
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.watch import Counted
from gateway_mgmt.snmp import inform, pdu, usm
from gateway_mgmt.snmp.engine import Engine, Opened
from gateway_mgmt.snmp.inform import Outcome
from gateway_mgmt.snmp.pdu import Pdu
from gateway_mgmt.wire import Configure, Started
from loadtest.io import notifier
from loadtest.io.gateways import Gateways
from tests.gateway_mgmt.virtual import AUTH, COMMUNITY, PRIVACY, fault, free_host, plant, simulated
from tests.gateway_mgmt.watching import V2C, V3, device, until, watched

SNMPTRAPD = shutil.which("snmptrapd", path="/usr/sbin:/usr/bin:/sbin:/bin")
KEYS = usm.master("sha", AUTH.encode(), PRIVACY.encode())
OTHER_KEYS = usm.master("sha", b"another-auth-key", b"another-privacy-key")
THEIRS = b"\x80\x00\x1f\x88\x04receiver"
TOLD = Pdu(pdu.INFORM, 77, varbinds=[pdu.name(oids.TRAP_OID, oids.COLD_START)])


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


# -- what goes out, and what an answer means -------------------------------------------------------


def user(keys: usm.Master = KEYS) -> inform.User:
    return inform.User(b"noc", keys, context=b"\x80\x00\x00\x00\x05gw", salt=3)


def engine(boots: int = 4, engine_id: bytes = THEIRS) -> Engine:
    return Engine(engine_id, boots, 100.0, {b"noc": KEYS}, salt=9)


def told(speaker: inform.User, receiver: Engine, now_s: float) -> list[Outcome]:
    """What each message of one inform comes to, until one is acknowledged or helps no more."""
    outcomes: list[Outcome] = []
    while not outcomes or (outcomes[-1] is Outcome.AGAIN and len(outcomes) < 9):
        opened = receiver.open(speaker.message(TOLD, now_s), now_s)
        if isinstance(opened, Opened):
            response = opened.scoped.pdu._replace(kind=pdu.RESPONSE)
            opened = receiver.answer(opened, pdu.encode(response), now_s)
        outcomes.append(speaker.receive(opened, TOLD, now_s))
    return outcomes


def test_a_receiver_is_discovered_once_and_again_when_it_is_another_one() -> None:
    speaker = user()
    again, done = Outcome.AGAIN, Outcome.ACKNOWLEDGED
    assert told(speaker, engine(), 500.0) == [again, again, done], "who it is, then its time"
    assert told(speaker, engine(), 560.0) == [done]
    assert told(speaker, engine(boots=5), 600.0) == [again, done], "it was started anew"
    replaced = engine(engine_id=THEIRS + b"2")
    assert told(speaker, replaced, 700.0) == [again, again, done]


def test_a_receiver_with_other_keys_says_so_and_is_not_believed() -> None:
    speaker = user(OTHER_KEYS)
    assert told(speaker, engine(), 500.0) == [Outcome.AGAIN, Outcome.NOTHING]
    assert inform.REFUSALS[speaker.refused_by] == "wrong key"


def test_what_is_not_authentic_acknowledges_nothing_and_sets_no_clock() -> None:
    speaker = user()
    told(speaker, engine(), 500.0)
    answer = TOLD._replace(kind=pdu.RESPONSE)
    late = Pdu(pdu.REPORT, 0, varbinds=[pdu.number(usm.NOT_IN_WINDOW, 1)])
    for said in (answer, late):
        forged = usm.seal(
            message_id=TOLD.request_id,
            flags=0,
            engine_id=THEIRS,
            boots=9,
            time_s=9,
            user=b"",
            scoped=usm.scoped_pdu(THEIRS, said),
        )
        assert speaker.receive(forged, TOLD, 500.0) is Outcome.NOTHING
    for junk in (b"", b"junk", bytes(60), speaker.message(TOLD, 500.0)[:-3]):
        assert speaker.receive(junk, TOLD, 500.0) is Outcome.NOTHING
    assert told(speaker, engine(), 501.0) == [Outcome.ACKNOWLEDGED]


def test_an_answer_to_something_else_acknowledges_nothing() -> None:
    speaker = inform.Community(b"public")
    answer = TOLD._replace(kind=pdu.RESPONSE)
    for wrong in (
        pdu.encode_v2c(b"other", answer),
        pdu.encode_v2c(b"public", answer._replace(request_id=78)),
        pdu.encode_v2c(b"public", TOLD),
        b"junk",
    ):
        assert speaker.receive(wrong, TOLD, 0.0) is Outcome.NOTHING
    right = pdu.encode_v2c(b"public", answer)
    assert speaker.declined == 0
    declined = pdu.encode_v2c(b"public", answer._replace(error=5))
    assert speaker.receive(declined, TOLD, 0.0) is Outcome.DECLINED
    assert speaker.declined == 5
    assert speaker.receive(right, TOLD, 0.0) is Outcome.ACKNOWLEDGED


# -- on the wire -----------------------------------------------------------------------------------

VERSIONS = pytest.mark.parametrize("version", ["v2c", "v3"])


EVERYTHING = (("span 1/1 LOS", 2), ("span 1/1 clear", 4), ("gateway 1 reboot", 5))
"""linkDown, linkUp, dsx1LineStatusChange twice, coldStart: what happens, and how many are told."""


def is_acknowledged(gateways: Gateways, count: int) -> bool:
    return gateways.notifier.counted.acknowledged >= count


@VERSIONS
async def test_the_polling_process_acknowledges_informs(version: str) -> None:
    access: Community | User = V3 if version == "v3" else V2C
    polling = Polling(poller="gufo")
    await polling.start()
    messages = polling.messages()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()
    with simulated(1, informs=port, informs_v3=version == "v3") as gateways:
        wanted = Configure({"tg1": device(gateways, 1, access)}, dict(shipped()), traps=port)
        await polling.ask(wanted)
        async for message in messages:
            if isinstance(message, Started):
                assert message.error == ""
                break
        fault(gateways, "span 1/1 LOS")
        await until(partial(is_acknowledged, gateways, 2))
        async for message in messages:
            if isinstance(message, Counted) and message.traps.get("informs", 0) >= 2:
                break
        told = gateways.notifier.counted
        assert (told.informs, told.given_up, told.refused) == (2, 0, "")
    await polling.close()


@pytest.fixture
def trapd(tmp_path: Path) -> Generator[tuple[tuple[str, int], Path], None, None]:
    """A real snmptrapd: where it listens, and its log."""
    if SNMPTRAPD is None:
        pytest.fail("needs net-snmp: apt-get install snmptrapd")
    host = free_host((1_162,))
    config, log = tmp_path / "snmptrapd.conf", tmp_path / "snmptrapd.log"
    config.write_text(
        f"createUser noc SHA {AUTH} AES {PRIVACY}\n"
        "authUser log noc priv\n"
        f"authCommunity log {COMMUNITY}\n"
    )
    config.chmod(0o600)
    (tmp_path / "state").mkdir()
    env = {"SNMP_PERSISTENT_DIR": str(tmp_path / "state"), "MIBS": "", "PATH": "/usr/bin:/bin"}
    words = ["-f", "-C", "-c", str(config), "-On", "-Lf", str(log), f"udp:{host}:1162"]
    process = subprocess.Popen([SNMPTRAPD, *words], env=env)
    try:
        yield (host, 1_162), log
    finally:
        process.kill()
        process.wait()


@VERSIONS
async def test_a_real_snmptrapd_acknowledges_informs_and_reads_them(
    trapd: tuple[tuple[str, int], Path], version: str
) -> None:
    where, log = trapd
    with simulated(1, informs=where, informs_v3=version == "v3") as gateways:
        await until(log.exists)
        for written, count in (*EVERYTHING, ("span 1/2 AIS", 7)):
            fault(gateways, written)
            await until(partial(is_acknowledged, gateways, count))
        assert gateways.notifier.counted.given_up == 0
    said = log.read_text()
    for kind, times in (
        (oids.LINK_DOWN, 2),
        (oids.LINK_UP, 1),
        (oids.LINE_STATUS_CHANGE, 3),
        (oids.COLD_START, 1),
    ):
        assert f"{said}\n".count(f"{oids.TRAP_OID} = OID: .{kind}") == times, kind
    assert f".{oids.LINE['status']}.1 = INTEGER: 64" in said
    assert f".{oids.INTERFACE['oper']}.1 = INTEGER: 2" in said


@VERSIONS
async def test_an_inform_that_nobody_acknowledges_is_sent_five_times(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "TRY_S", 0.02)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.setblocking(False)
        where = deaf.getsockname()
        with simulated(1, informs=where, informs_v3=version == "v3") as gateways:
            told = gateways.notifier.counted
            fault(gateways, "gateway 1 reboot")
            await until(lambda: told.given_up == 1)
        assert (told.informs, told.acknowledged, told.repeats) == (1, 0, notifier.TRIES_MAX - 1)
        for _ in range(notifier.TRIES_MAX):
            assert deaf.recv(4_096)
        with pytest.raises(BlockingIOError):
            deaf.recv(4_096)


async def test_a_gateway_that_dies_repeats_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with simulated(1, informs=deaf.getsockname()) as gateways:
            fault(gateways, "span 1/1 LOS")
            fault(gateways, "gateway 1 dead")
            fault(gateways, "span 1/1 clear")
            told = gateways.notifier.counted
            assert (told.informs, told.lost, told.repeats) == (2, 2, 0)


async def test_traps_tell_the_same_as_informs() -> None:
    with simulated(1) as quiet:
        async with watched({"tg1": device(quiet, 1, poll_ms=3_600_000)}) as found:
            where = found.port.address
            quiet.notifier.traps = where
            for written, _ in EVERYTHING:
                fault(quiet, written)
            await until(lambda: found.desk.counts["taken"] == 5)
            assert found.desk.counts["malformed"] == 0
