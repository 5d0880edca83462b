"""Virtual gateways, watched over real sockets by both pollers."""

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway_mgmt import oids
from gateway_mgmt.access import Community, User
from gateway_mgmt.inventory import Device
from gateway_mgmt.io.credentials import CredentialError, Credentials, read
from gateway_mgmt.io.gufo import GufoPoller
from gateway_mgmt.io.poller import Answer, Answered, Silent, Target
from gateway_mgmt.observation import Observation
from tests.gateway_mgmt.virtual import COMMUNITY, SECRETS, fault, plant, simulated
from tests.gateway_mgmt.watching import V2C, V3, Watched, device, watched

POLLERS = ("gufo", "pysnmp")


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


def shows_no_secret(found: Watched, text: str = "") -> None:
    said = text + repr(found.reports) + repr(found.watcher.counted)
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("poller", POLLERS)
async def test_lines_are_read_and_faults_seen(
    poller: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with simulated(2) as gateways:
        devices = {"v2": device(gateways, 1), "v3": device(gateways, 2, V3)}
        async with watched(devices, poller) as found:
            for name in devices:
                first = await found.of(name, lambda r: r.reading)
                assert first.reading is not None
                assert first.reading.missing == 0
                assert first.reading.name == ("gw1" if name == "v2" else "gw2")
                assert first.reading.spans[1].intervals == 96
                assert first.trouble == ""
            fault(gateways, "span 1/2 LOS")
            fault(gateways, "span 2/1 d_channel down")
            await found.sees("v2/2", "los", True)
            await found.sees("v3/1", "d_channel_down", True)
            rows = await found.of("v3", lambda r: r.rows)
            assert rows.rows[0][1].is_valid
            fault(gateways, "span 1/2 clear")
            await found.sees("v2/2", "los", False, after=len(found.reports))
            assert True not in found.seen("unreachable")
            shows_no_secret(found, "".join(capfd.readouterr()))


@pytest.mark.parametrize("poller", POLLERS)
async def test_wrong_credentials_are_told_by_field_and_show_no_secret(
    poller: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with simulated(5) as gateways:
        devices = {
            "community": device(gateways, 1, Community("env:T_WRONG")),
            "auth": device(gateways, 2, User("noc", "env:T_WRONG", "env:T_PRIVACY")),
            "privacy": device(gateways, 3, User("noc", "env:T_AUTH", "env:T_WRONG")),
            "user": device(gateways, 4, User("nobody", "env:T_AUTH", "env:T_PRIVACY")),
            "missing": device(gateways, 5, Community("env:T_NOT_SET")),
            "right": device(gateways, 5, V3),
        }
        async with watched(devices, poller, timeout_ms=500) as found:
            for name in devices:
                if name == "right":
                    continue
                field = "community" if name == "missing" else name
                told = await found.of(name, lambda r: r.trouble.startswith("snmp."))
                assert told.trouble.startswith(f"snmp.{field}: "), (name, told.trouble)
            assert (await found.of("right", lambda r: r.reading)).trouble == ""
            assert "env:T_NOT_SET" in repr(found.reports)
            assert True not in found.seen("unreachable"), "they answer SIP, or that they will not"
            shows_no_secret(found, "".join(capfd.readouterr()))


@pytest.mark.parametrize("poller", POLLERS)
async def test_a_device_that_reboots_is_read_on_and_its_reboot_told_once(poller: str) -> None:
    with simulated(2) as gateways:
        devices = {"v2": device(gateways, 1), "v3": device(gateways, 2, V3)}
        async with watched(devices, poller) as found:
            for name in devices:
                await found.of(name, lambda r: r.rows)
            fault(gateways, "span 1/1 LOS")
            await found.sees("v2/1", "los", True)
            fault(gateways, "gateway 1 reboot")
            fault(gateways, "gateway 2 reboot")
            for name in devices:
                told = await found.sees(name, "reboot", True)
                await found.sees(name, "reboot", False, after=found.reports.index(told))
            await found.sees("v2/1", "los", False)
            assert found.seen("reboot").count(True) == 2
            assert True not in found.seen("unreachable")


@pytest.mark.parametrize("poller", POLLERS)
async def test_two_devices_of_one_engine_id_are_told_of(poller: str) -> None:
    with simulated(2, same_engine=True) as gateways:
        devices = {"one": device(gateways, 1, V3), "two": device(gateways, 2, V3)}
        async with watched(devices, poller) as found:
            told = await found.until(
                lambda r: "engine id" in r.trouble and r.trouble.startswith("snmp.address: ")
            )
            assert told.device in devices
            assert True not in found.seen("unreachable")


async def test_a_dead_device_is_unreachable_after_three_misses_and_comes_back() -> None:
    with simulated(2) as gateways:
        devices = {"tg1": device(gateways, 1), "tg2": device(gateways, 2)}
        async with watched(devices, timeout_ms=300) as found:
            await found.of("tg1", lambda r: r.reading)
            fault(gateways, "gateway 1 dead")
            down = await found.sees("tg1", "unreachable", True)
            assert down.missed == 3
            await found.sees("tg1", "sip_down", True)
            fault(gateways, "gateway 1 alive")
            await found.sees("tg1", "unreachable", False, after=len(found.reports))
            await found.sees("tg1", "sip_down", False, after=len(found.reports))
            assert found.seen("unreachable").count(True) == 1


class Lossy(GufoPoller):
    """Every request but each fourth is lost."""

    sent = 0

    async def get(
        self, target: Target, oids: Sequence[str], *, timeout_ms: int, retries: int
    ) -> Answer:
        self.sent += 1
        if self.sent % 4 == 2:
            return Silent()
        return await super().get(target, oids, timeout_ms=timeout_ms, retries=retries)


async def test_an_answer_in_part_counts() -> None:
    with simulated(1) as gateways:
        async with watched({"tg1": device(gateways, 1)}, Lossy()) as found:
            part = await found.until(lambda r: r.reading and r.reading.missing)
            assert part.reading is not None
            assert part.reading.uptime_ticks
            assert part.missed == 0


class Blocking(GufoPoller):
    """Its loop is kept busy until every answer is late, as by work of our own."""

    async def get(
        self, target: Target, oids: Sequence[str], *, timeout_ms: int, retries: int
    ) -> Answer:
        asyncio.get_running_loop().call_later(0.05, time.sleep, timeout_ms / 1_000 * 1.2)
        return await super().get(target, oids, timeout_ms=timeout_ms, retries=0)

    def forget(self, target: Target) -> None:
        """Keep the session: what is tested is our own lateness."""


@pytest.mark.parametrize("answers", [True, False])
async def test_while_our_own_loop_is_late_nobody_is_down(answers: bool) -> None:
    with simulated(3) as gateways:
        devices = {f"tg{n}": device(gateways, n, sip=None, spans={}) for n in (1, 2, 3)}
        for n in (1, 2, 3):
            if not answers:
                fault(gateways, f"gateway {n} dead")
        async with watched(devices, Blocking(), timeout_ms=200) as found:
            polls = 0
            while polls < 12:
                await found.until(lambda r: True, after=len(found.reports))
                polls = found.watcher.counted.polls
            assert found.watcher.counted.silent == 0
            assert True not in found.seen("unreachable")
            if not answers:
                assert found.watcher.counted.unknown >= 9
                assert None in found.seen("unreachable")


async def test_a_thousand_values_are_asked_in_requests_that_the_profile_allows() -> None:
    asked: list[int] = []

    class Counting(GufoPoller):
        async def get(
            self, target: Target, oids: Sequence[str], *, timeout_ms: int, retries: int
        ) -> Answer:
            asked.append(len(oids))
            return Answered(dict.fromkeys(oids, 1))

    far = Device(
        site="x",
        profile="patton",
        address=("127.0.0.1", 9),
        access=V2C,
        interfaces=tuple(range(1, 150)),
    )
    async with watched({"far": far}, Counting()) as found:
        await found.until(lambda r: r.reading)
    assert max(asked) == 20
    assert sum(asked) == 3 + 149 * len(oids.INTERFACE) + 3


def test_a_credentials_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "tg1"
    secret.write_text("planted-auth-secret\n")
    for mode, is_open in ((0o600, False), (0o640, False), (0o644, True), (0o602, True)):
        secret.chmod(mode)
        assert stat.S_IMODE(secret.stat().st_mode) == mode
        if is_open:
            with pytest.raises(CredentialError, match=f"file:{secret}: others may read it"):
                read(f"file:{secret}")
        else:
            assert bytes(read(f"file:{secret}")) == b"planted-auth-secret"


async def test_a_credential_that_is_mended_is_used_without_a_word_to_anybody(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "community"
    secret.write_text(COMMUNITY)
    secret.chmod(0o644)
    with simulated(1) as gateways:
        devices = {"tg1": device(gateways, 1, Community(f"file:{secret}"), poll_ms=200)}
        async with watched(devices) as found:
            await found.until(lambda r: "others may read it" in r.trouble)
            secret.chmod(0o600)
            await found.until(lambda r: r.reading and not r.trouble)


@pytest.mark.parametrize(
    ("content", "why"),
    [("", "empty, or"), ("\n", "empty, or"), ("x" * 5_000, "longer than 4096 bytes")],
)
def test_a_credentials_file_without_a_secret_is_told_of(
    tmp_path: Path, content: str, why: str
) -> None:
    secret = tmp_path / "tg1"
    secret.write_text(content)
    secret.chmod(0o600)
    with pytest.raises(CredentialError, match=why):
        read(f"file:{secret}")
    with pytest.raises(CredentialError, match="No such file"):
        read(f"file:{secret}.not")


def test_what_is_wrong_with_a_credential_names_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_SHORT", "short")
    with pytest.raises(CredentialError) as error:
        Credentials().resolve(User("noc", "env:T_AUTH", "env:T_SHORT"))
    assert str(error.value) == "snmp.privacy: env:T_SHORT: is shorter than 8 characters"
    found = read("env:T_AUTH")
    assert str(found) == repr(found) == f"{found}" == "Secret(...)"
    assert os.environ["T_AUTH"].encode() == bytes(found)


async def test_a_trap_is_followed_by_a_poll_at_once() -> None:
    """In the next cycle it would be seen after an hour."""
    with simulated(2) as gateways:
        devices = {
            "v2": device(gateways, 1, poll_ms=3_600_000),
            "v3": device(gateways, 2, V3, poll_ms=1_000),
        }
        async with watched(devices) as found:
            await found.of("v2", lambda r: r.reading)
            gateways.notifier.traps = found.port.address
            fault(gateways, "span 1/2 LOS")
            seen = await found.sees("v2/2", "los", True)
            assert seen.observations == [
                Observation("v2/2", "los", True, seen.observations[0].at_ms)
            ]
            polls = found.watcher.counted.polls
            for _ in range(50):
                fault(gateways, "span 1/2 LOF")
                fault(gateways, "span 1/2 clear LOF")
            await found.until(lambda r: found.desk.counts["taken"] == 102, after=0)
            assert found.watcher.counted.polls <= polls + 4, "a hundred traps are one poll"
