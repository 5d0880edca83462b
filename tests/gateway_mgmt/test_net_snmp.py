"""Against net-snmp: its agent asked by our pollers, its commands sent to our socket."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path

import pytest

from gateway_mgmt.access import Community, User
from gateway_mgmt.inventory import Device
from gateway_mgmt.io.poller import make
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.trial import ask
from gateway_mgmt.snmp import usm
from gateway_mgmt.trial import judged
from tests.gateway_mgmt.virtual import AUTH, COMMUNITY, PRIVACY, free_host, plant, simulated
from tests.gateway_mgmt.watching import V2C, V3, Watched, until, watched

pytestmark = pytest.mark.real

SNMPD = shutil.which("snmpd", path="/usr/sbin:/usr/bin:/sbin:/bin")
START_S = 10


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    if SNMPD is None or shutil.which("snmpinform") is None:
        pytest.fail("needs net-snmp: apt-get install snmpd snmp")


@pytest.fixture
def agent(tmp_path: Path) -> Generator[tuple[str, int], None, None]:
    """A real snmpd with a user for v3; where it listens."""
    host = free_host((1_161,))
    port = 1_161
    config = tmp_path / "snmpd.conf"
    config.write_text(
        f"agentaddress udp:{host}:{port}\n"
        f"rocommunity {COMMUNITY}\n"
        f"createUser noc SHA {AUTH} AES {PRIVACY}\n"
        "rouser noc priv\n"
        "sysName real-agent\n"
    )
    config.chmod(0o600)
    log = tmp_path / "snmpd.log"
    env = {"SNMP_PERSISTENT_DIR": str(tmp_path / "state"), "MIBS": "", "PATH": "/usr/bin:/bin"}
    (tmp_path / "state").mkdir()
    assert SNMPD is not None
    process = subprocess.Popen(
        [SNMPD, "-f", "-C", "-c", config, "-Lf", log, "-I", "-smux"], env=env
    )
    try:
        give_up = time.monotonic() + START_S
        while not is_answering(host, port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
        yield host, port
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


def linux(address: tuple[str, int], access: Community | User) -> Device:
    return Device(
        site="test",
        profile="net-snmp",
        address=address,
        access=access,
        interfaces=(1,),
        poll_ms=1_000,
    )


@pytest.mark.parametrize("poller", ["gufo", "pysnmp"])
async def test_a_real_agent_is_read_by_v2c_and_v3(agent: tuple[str, int], poller: str) -> None:
    async with watched({"v2": linux(agent, V2C)}, poller) as found:
        await reads(found, "v2")
    async with watched({"v3": linux(agent, V3)}, poller) as found:
        reading = await reads(found, "v3")
        assert "boots=1" in reading
        assert "unreachable" not in reading


async def reads(found: Watched, name: str) -> str:
    report = await found.of(name, lambda r: r.reading)
    reading = report.reading
    assert reading is not None
    assert reading.name == "real-agent"
    assert reading.object_id.startswith("1.3.6.1.4.1.8072.")
    assert report.trouble == ""
    assert int(reading.scalars["memory_total_kib"]) > 1_000
    assert reading.interfaces[1]["oper"] == 1
    return repr(reading)


@pytest.mark.parametrize("poller", ["gufo", "pysnmp"])
@pytest.mark.parametrize(
    ("access", "field"),
    [
        (User("noc", "env:T_WRONG", "env:T_PRIVACY"), "auth"),
        (User("noc", "env:T_AUTH", "env:T_WRONG"), "privacy"),
        (User("nobody", "env:T_AUTH", "env:T_PRIVACY"), "user"),
    ],
)
async def test_a_real_agent_that_refuses_says_why(
    agent: tuple[str, int], poller: str, access: User, field: str
) -> None:
    async with watched({"tg1": linux(agent, access)}, poller, timeout_ms=500) as found:
        told = await found.of("tg1", lambda r: r.trouble)
        assert told.trouble.startswith(f"snmp.{field}: ")


@pytest.mark.parametrize("poller", ["gufo", "pysnmp"])
async def test_a_real_agent_fits_the_profile_for_it_and_not_another(
    agent: tuple[str, int], poller: str
) -> None:
    found = linux(agent, V3)
    for name, profile in (("net-snmp", shipped()["net-snmp"]), ("patton", shipped()["patton"])):
        made = make(poller)
        answers = await ask(name, found, profile, made, 1_000)
        made.close()
        trial = judged(found, profile, answers.values, most=answers.most)
        told = {one.field: (one.value, one.means) for one in trial.fields}
        assert told["name"] == ("real-agent", "")
        assert told["interfaces.1.oper"] == (1, "up")
        if name == "net-snmp":
            # ssCpuIdle is there when the agent has run for a minute.
            assert [one for one in trial.advice if "cpu_idle_percent" not in one] == []
        else:
            assert told["scalars.serial"] == (None, "no such object")
            assert trial.advice[0].startswith("object_ids: it says it is 1.3.6.1.4.1.8072.")
            assert trial.advice[0].endswith('add "1.3.6.1.4.1.8072"')


def is_more(counts: Mapping[str, int], before: int) -> bool:
    return counts["taken"] > before


async def test_real_traps_and_informs_are_taken_and_informs_answered() -> None:
    with simulated(1) as gateways:
        host = gateways.host(1)
        quiet = {
            "v2": Device(
                site="x",
                profile="generic",
                address=(host, 1_161),
                access=V2C,
                traps_from=("127.0.0.1",),
                poll_ms=3_600_000,
            ),
            "v3": Device("x", "generic", ("127.0.0.1", 1_161), V3, poll_ms=3_600_000),
        }
        async with watched(quiet) as found:
            where = ":".join(map(str, found.port.address))
            v2c = ["-v2c", "-c", COMMUNITY]
            v3 = ["-v3", "-l", "authPriv", "-u", "noc", "-a", "SHA", "-A", AUTH]
            v3 += ["-x", "AES", "-X", PRIVACY]
            for command, words in (
                ("snmptrap", v2c),
                ("snmpinform", v2c),
                ("snmptrap", [*v3, "-e", "0x8000000001020304"]),
                ("snmpinform", v3),
            ):
                before = found.desk.counts["taken"]
                done = await asyncio.create_subprocess_exec(
                    *(command, *words, "-r", "2", "-t", "2", where, "", "1.3.6.1.6.3.1.1.5.3"),
                    env={
                        "MIBS": "",
                        "PATH": "/usr/bin:/bin",
                        "SNMP_PERSISTENT_DIR": "/nonexistent",
                    },
                    stderr=asyncio.subprocess.PIPE,
                )
                _, said = await done.communicate()
                assert done.returncode == 0, (command, words[0], said)
                await until(partial(is_more, found.desk.counts, before))
            assert found.desk.counts["informs"] == 2
            assert found.desk.counts["malformed"] == 0
