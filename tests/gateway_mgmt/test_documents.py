"""What is shown of a gateway: never more than it told, never a secret."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway_mgmt import oids, slots
from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.documents import document, joined
from gateway_mgmt.alarms.view import alarms
from gateway_mgmt.documents import gateway
from gateway_mgmt.ds1 import INTERVAL_MS, Counters, Row
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.known import Known
from gateway_mgmt.reading import Reading, SpanReading, read, wanted_rows
from tests.gateway_mgmt.virtual import SECRETS, plant
from tests.gateway_mgmt.world import WALL_MS, World

DEVICE = Device(
    site="delhi",
    profile="audiocodes",
    address=("10.0.0.1", 161),
    access=User("noc", "env:T_AUTH", "env:T_PRIVACY"),
    spans={3: Span(3, trunk="carrier-b", slots=(1, 2, 3))},
)
WELL = SpanReading(1, 1, 300, 96, current=Counters(es=4), own={"d_channel": 0, "trunk_alarm": 1})


def known(span: SpanReading = WELL, **more: object) -> Known:
    reading = Reading("tg1", WALL_MS, 6_000, "gw", "1.3.6", spans={3: span}, asked=20, missing=2)
    return Known(**{"at_ms": WALL_MS, "reading": reading} | more)  # type: ignore[arg-type]


def row(found: Known, world: World | None = None, device: Device = DEVICE) -> dict[str, Any]:
    world = world or World()
    shown = alarms(world.records, world.machine.book)
    profile = shipped()[device.profile]
    return gateway("tg1", device, profile, found, shown, shard="gateways@delhi", epoch=7)


def line(found: Known, world: World | None = None) -> dict[str, Any]:
    (span,) = row(found, world)["spans"]
    return dict(span)


def seen(conditions: str, path: str) -> World:
    world = World()
    world.see(conditions, "on", path)
    world.run_until(3_000)
    return world


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (Known(), "not asked yet"),
        (known(), "up"),
        (known(missed=1), "unknown"),
        (known(at_ms=WALL_MS + 60_000, trouble="not known: we were late ourselves"), "unknown"),
        (Known(at_ms=WALL_MS, trouble="snmp.auth: the key is another one there"), "unknown"),
        (known(trouble="profile: it says it is 1.2, which audiocodes is not for"), "partly"),
        (known(SpanReading()), "partly"),
    ],
)
def test_one_word_says_how_it_is(found: Known, word: str) -> None:
    shown = row(found)

    assert (shown["state"], shown["is_current"]) == (word, word in ("up", "partly"))


def test_it_is_down_only_when_the_alarms_say_so() -> None:
    silent = known(missed=9, trouble="no answer to SNMP")

    assert row(silent)["state"] == "unknown"
    assert row(silent, seen("unreachable", "tg1"))["state"] == "down"
    assert row(silent, seen("unreachable", "tg2"))["state"] == "unknown"


def test_a_row_says_what_was_told_and_nothing_else() -> None:
    shown = row(known())

    assert (shown["gateway"], shown["shard"], shown["epoch"]) == ("tg1", "gateways@delhi", 7)
    assert shown["answered_at"] == "2023-11-14T22:13:20.000Z"
    assert (shown["uptime_s"], shown["asked"], shown["missing"]) == (60, 20, 2)
    assert shown["alarms"] == {}
    found = line(known())
    assert found["conditions"] == []
    assert found["current"] == {"elapsed_s": 300, "es": 4, "ses": 0, "sefs": 0, "uas": 0}
    assert (found["last_15_minutes"], found["last_24_hours"], found["availability"]) == (None,) * 3
    assert (found["in_use"], found["of"]) == (None, 3)
    assert json.loads(json.dumps(shown)) == shown


def test_a_days_errors_and_availability_are_of_the_intervals_that_are_known() -> None:
    whole_ms = WALL_MS - 300_000  # the running interval began then
    rows = [Row(whole_ms - n * INTERVAL_MS, Counters(es=n, uas=90), n != 2) for n in (3, 2, 1)]
    found = line(known(rows={3: rows}))

    assert found["last_15_minutes"] == {
        "from_at": "2023-11-14T21:53:20.000Z", "is_valid": True, "es": 1, "ses": 0, "sefs": 0,
        "uas": 90,
    }  # fmt: skip
    assert found["last_24_hours"] == {"intervals": 3, "es": 6, "ses": 0, "sefs": 0, "uas": 270}
    available = found["availability"]
    assert isinstance(available, dict)
    assert (available["percent"], available["left_out"], available["measured_s"]) == (
        90.0,
        1,
        1_800,
    )


def test_what_is_seen_of_a_line_counts_though_it_was_not_polled_since_a_takeover() -> None:
    found = line(Known(), seen("los", "tg1/3"))

    assert found["conditions"] == ["los"]
    assert found["alarms"] == {"critical": 1}
    assert found["slots"][1] == "out_of_service"


def told(found: Known, world: World | None = None) -> str:
    letters = {"frame": "F", "d_channel": "D", "d_channel_down": "!", "not_used": "-"}
    letters |= {"idle": ".", "in_use": "#", "out_of_service": "x", "unknown": "?"}
    words = line(found, world)["slots"]
    assert len(words) == 32
    assert set(words) <= set(slots.STATES)
    return "".join(letters[word] for word in words)


REST = "-" * 12
TAIL = "-" * 15


def own(**values: int) -> SpanReading:
    return SpanReading(1, 1, own={"d_channel": 0} | values)


@pytest.mark.parametrize(
    ("found", "grid"),
    [
        (known(), "F???"),
        (known(own(slots_in_use=0b0100)), "F.#."),
        (known(own(slots_in_use=1 << 31 | 0b1111)), "F###"),
        (known(own(channels_in_use=0)), "F..."),
        (known(own(channels_in_use=2)), "F???"),
        (known(own(channels_in_use=3)), "F###"),
        (known(SpanReading(64, 1, own={"slots_in_use": 2})), "Fxxx"),
        (known(own(slots_in_use=2), missed=3), "F???"),
        (Known(), "F???"),
    ],
)
def test_a_time_slot_is_what_the_device_tells_or_unknown(found: Known, grid: str) -> None:
    assert told(found)[:4] == grid
    assert told(found)[4:16] == REST
    assert told(found)[17:] == TAIL


def test_a_channel_that_is_out_of_service_is_so_alone() -> None:
    assert told(known(own(slots_in_use=0)), seen("out_of_service", "tg1/3/2"))[:4] == "F.x."


@pytest.mark.parametrize(
    ("found", "slot", "word"),
    [
        (known(), "D", "up"),
        (known(SpanReading(1, 1, own={"d_channel": 1})), "!", "down"),
        (known(SpanReading(1, 1)), "D", "unknown"),
        (known(missed=2), "?", "unknown"),
        (known(SpanReading(64, 1)), "!", "unknown"),
    ],
)
def test_the_d_channel_is_up_only_if_the_device_says_so(found: Known, slot: str, word: str) -> None:
    assert told(found)[16] == slot
    assert line(found)["d_channel"] == word


def test_references_are_shown_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for access in (DEVICE.access, Community("env:T_COMMUNITY")):
        device = Device("delhi", "generic", ("10.0.0.1", 161), access)
        written = json.dumps(row(known(), device=device))
        assert "env:T_" in written
        assert not any(secret in written for secret in SECRETS)


def test_the_alarms_of_a_shard_have_its_name_and_epoch_and_several_are_joined() -> None:
    world = seen("los", "tg1/3")
    world.do(["window", "night", "tg2", "until", "60"])
    world.answers = False
    world.see("ais", "on", "tg2/1")
    world.run_until(61_000)
    one = document(
        world.records, world.machine.book, shard="gateways@a", epoch=7, history=2,
        shift_ms=WALL_MS - 5_000,
    )  # fmt: skip
    both = joined([one, one | {"shards": {"gateways@b": 1}}])

    assert both["shards"] == {"gateways@a": 7, "gateways@b": 1}
    assert len(both["alarms"]) == 2 * len(one["alarms"]) == 4
    assert one["alarms"][0]["impact"]["numbers"] == ["4003"]
    assert [entry["what"] for entry in one["history"]] == ["window_over", "told"]
    assert one["receivers"][0]["waiting"] == 1
    assert one["trunks"][1]["why"] == ["los@tg1/3"]
    for name in ("alarms", "history", "trunks", "receivers"):
        assert {(each["shard"], each["epoch"]) for each in one[name]} == {("gateways@a", 7)}
    assert joined([])["alarms"] == []


def test_a_maintenance_says_its_times_as_people_have_them() -> None:
    world = World()
    world.do(["window", "night", "tg2", "until", "60"])
    (window,) = document(
        world.records, world.machine.book, shard="x", epoch=1, history=0, shift_ms=WALL_MS - 5_000
    )["windows"]

    assert (window["from_at"], window["until_at"]) == (
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:14:20.000Z",
    )


def test_every_field_is_in_the_documentation() -> None:
    written = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
    shown = row(known(rows={3: [Row(WALL_MS, Counters())]}))
    fields = {*shown, *line(known())}

    assert [name for name in sorted(fields) if not re.search(rf"`{name}`", written)] == []


def test_the_last_15_minutes_are_not_those_of_long_ago() -> None:
    """After a takeover the oldest intervals may be all that is known yet."""
    rows = [Row(WALL_MS - 300_000 - n * INTERVAL_MS, Counters(es=n)) for n in (96, 95, 3)]

    assert line(known(rows={3: rows}))["last_15_minutes"] is None


def test_a_time_that_no_interval_has_is_no_time() -> None:
    """dsx1TimeElapsed of 64 bits made a date that there is not: nothing of the site was shown."""
    values = {f"{oids.LINE['elapsed_s']}.3": 1 << 62, f"{oids.CURRENT['es']}.3": 4}
    told = read("tg1", DEVICE, shipped()["audiocodes"], values, WALL_MS)

    assert told.spans[3].elapsed_s is None
    assert wanted_rows(DEVICE, shipped()["audiocodes"], told, {}) == []
