"""A profile tried on a device: what is told of each field, and what the profile should change."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from gateway_mgmt import oids
from gateway_mgmt.access import Community, User
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.poller import Answer, Poller, Silent, Target, make
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.io.trial import NotAsked, ask
from gateway_mgmt.profile import Column, Profile
from gateway_mgmt.trial import Trial, judged
from loadtest.io.gateways import Gateways
from tests.gateway_mgmt.virtual import fault, plant, simulated
from tests.gateway_mgmt.watching import V2C, V3

pytestmark = pytest.mark.real

D_CHANNEL = "1.3.6.1.4.1.5003.9.10.9.2.1.1.1.6"


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


@pytest.fixture
async def gateways() -> AsyncGenerator[Gateways, None]:
    with simulated(1) as found:
        yield found


def device(gateways: Gateways, access: Community | User = V2C, *spans: int) -> Device:
    lines = {number: Span(number) for number in spans or (1,)}
    return Device("", "x", (gateways.host(1), 1_161), access, spans=lines)


async def tried(
    device: Device, profile: Profile, poller: str | Poller = "gufo", ms: int = 1_000
) -> Trial:
    made = make(poller) if isinstance(poller, str) else poller
    try:
        answers = await ask("x", device, profile, made, ms)
    finally:
        made.close()
    return judged(device, profile, answers.values, most=answers.most)


def told(trial: Trial, field: str) -> tuple[Any, str]:
    (found,) = [one for one in trial.fields if one.field == field]
    return found.value, found.means


@pytest.mark.parametrize("poller", ["gufo", "pysnmp"])
@pytest.mark.parametrize("access", [V2C, V3])
async def test_a_profile_that_fits_is_told_to_and_values_are_decoded(
    gateways: Gateways, poller: str, access: Community | User
) -> None:
    fault(gateways, "span 1/1 LOS")
    fault(gateways, "span 1/2 d_channel down")
    trial = await tried(device(gateways, access, 1, 2), shipped()["audiocodes"], poller)

    assert trial.advice == []
    assert told(trial, "spans.1.status") == (64, "los")
    assert told(trial, "spans.2.status") == (1, "nothing is wrong")
    assert told(trial, "spans.1.d_channel") == (0, "nothing is wrong")
    assert told(trial, "spans.2.d_channel") == (1, "d_channel_down")
    assert told(trial, "spans.1.trunk_alarm") == (2, "los")
    assert told(trial, "interfaces.1.oper") == (2, "down")
    assert told(trial, "spans.1.last_interval.is_valid") == (1, "yes")
    assert told(trial, "spans.1.intervals") == (96, "96 of 96 are kept")


Change = Callable[[Profile], Profile]


def but(**fields: Any) -> Change:
    return lambda profile: msgspec.structs.replace(profile, **fields)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (
            but(object_ids=("1.3.6.1.4.1.9",)),
            "object_ids: it says it is 1.3.6.1.4.1.5003.8.1.1.99, which is not of these; add "
            '"1.3.6.1.4.1.5003"',
        ),
        (
            but(spans={"own": Column("1.3.6.1.4.1.5003.9.9")}),
            "spans.own: no span has it; is 1.3.6.1.4.1.5003.9.9 right?",
        ),
        (
            but(spans={"own": Column(D_CHANNEL)}),
            "spans.own: not there for span 4; is `first` right?",
        ),
        (
            but(spans={"own": Column("1.3.6.1.2.1.2.2.1.2")}),
            "spans.own: its value is no number, and only numbers are read",
        ),
        (
            but(scalars={"cpu": "1.3.6.1.4.1.9.1.0"}),
            "scalars.cpu: there is no such object; is 1.3.6.1.4.1.9.1.0 right?",
        ),
        (but(ds1=False), "ds1: say true: it has DS1-MIB"),
        (but(intervals=0), "intervals: say 96: it keeps them"),
        (but(interfaces=False), "interfaces: say true: it has the interface tables"),
    ],
)
async def test_what_does_not_fit_is_told_with_its_field(
    gateways: Gateways, change: Change, advice: str
) -> None:
    profile = change(shipped()["generic"])
    trial = await tried(device(gateways, V2C, 1, 2, 3, 4), profile)

    assert trial.advice == [advice]


async def test_a_line_that_is_not_there_is_told(gateways: Gateways) -> None:
    trial = await tried(device(gateways, V2C, 1, 9), shipped()["generic"])

    assert trial.advice == ["span 9: nothing is told of line 9; is it there?"]
    assert told(trial, "spans.9.status") == (None, "no such object")


async def test_a_device_without_a_table_of_intervals_is_told(gateways: Gateways) -> None:
    """It answers for all but them; its own count says that it keeps 96."""
    found = device(gateways)
    poller = make("gufo")
    profile = shipped()["generic"]
    values = (await ask("x", found, profile, poller, 1_000)).values
    without = {oid: one for oid, one in values.items() if not oid.startswith(oids.DS1_INTERVAL)}
    advice = "intervals: there is no table of intervals; say 0"
    assert judged(found, profile, without, most=31).advice == [advice]
    bare = {oid: one for oid, one in values.items() if not oid.startswith(oids.DS1)}
    advice = "ds1: it tells no line's status: has it no DS1-MIB, say false"
    assert judged(found, profile, bare, most=31).advice == [advice]
    fresh = without | {f"{oids.LINE['intervals']}.1": 0}
    advice = "intervals: it has kept none yet; ask again when 15 minutes are over"
    assert judged(found, profile, fresh, most=31).advice == [advice]


class Small:
    """A way to a device that answers nothing to large requests, as some do."""

    name = "small"
    places = 1

    def __init__(self, inner: Poller) -> None:
        self.inner = inner

    async def get(self, target: Target, oids: Any, *, timeout_ms: int, retries: int) -> Answer:
        if len(oids) > 12:
            return Silent()
        return await self.inner.get(target, oids, timeout_ms=timeout_ms, retries=retries)

    def forget(self, target: Target) -> None:
        self.inner.forget(target)

    def close(self) -> None:
        self.inner.close()


async def test_a_device_that_answers_only_small_requests_is_told_of(gateways: Gateways) -> None:
    trial = await tried(device(gateways), shipped()["generic"], Small(make("gufo")))

    assert trial.advice == ["max_varbinds: it answers nothing to a larger request than 10; say 10"]
    assert told(trial, "name") == ("gw1", "")


@pytest.mark.parametrize(
    ("access", "why"),
    [
        (Community("env:T_WRONG"), "no answer to SNMP; are address and community right"),
        (User("noc", "env:T_WRONG", "env:T_PRIVACY"), "snmp.auth: the key is another one there"),
        (User("eve", "env:T_AUTH", "env:T_PRIVACY"), "snmp.user: it knows no such user"),
    ],
)
async def test_a_device_that_does_not_answer_says_why_if_it_does(
    gateways: Gateways, access: Community | User, why: str
) -> None:
    with pytest.raises(NotAsked) as error:
        await tried(device(gateways, access), shipped()["generic"], ms=300)

    assert str(error.value).startswith(f"{gateways.host(1)}:1161: {why}")
    assert "planted" not in str(error.value)
