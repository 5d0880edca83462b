"""What the machine of alarms does with bugs, bounds, changes of the plan and what people ask."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster.machine import ClusterLost, Promoted, Redrive, Timer, UnknownRecord
from gateway_mgmt.alarms import effects, inputs, turn, windows
from gateway_mgmt.alarms.kinds import CAUSES, DEFAULTS, MINOR, Kind
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.alarms.records import Plan
from gateway_mgmt.alarms.view import alarms, history, routes, waiting
from gateway_mgmt.alarms.view import windows as windows_of
from gateway_mgmt.observation import Observation
from gateway_mgmt.trunks import Trunk, TrunkState, is_news
from tests.gateway_mgmt.world import PLAN, WALL_MS, World


def with_plan(world: World, **changed: Any) -> None:
    """The next version of the plan."""
    world.plan = msgspec.structs.replace(world.plan, **changed)
    settings = world.records["settings"]
    world.post(inputs.Configure(world.plan, settings.version + 1))


def standing(*conditions: str, path: str = "tg1/3") -> World:
    """A world in which these alarms have been raised."""
    world = World()
    world.see(",".join(conditions), "on", path)
    world.run_until(10_000)
    return world


def what(world: World) -> list[str]:
    return [entry.what for entry in history(world.records)]


# The plan.


def test_a_gateway_that_is_watched_no_more_leaves_nothing_behind() -> None:
    world = standing("los", "lof")
    with_plan(world, gateways={"tg2": {}}, trunks={})
    world.run_until(3_600_000)

    assert [text for _, text in world.messages] == ["raised los tg1/3", "cleared los tg1/3"]
    left = {key.partition("/")[0] for key in world.records}
    assert left == {"settings", "journal", "history"}


LINES = ("los", "lof", "d_channel_down", "errored_seconds")
SEEN = {"tg1": 0, "tg1/1": 1, "tg1/2": 1, "tg1/3": 1, "tg2": 0}


@pytest.mark.parametrize(
    ("path", "condition", "seen", "conditions"),
    [
        ("tg1/3", "d_channel_down", SEEN, (("sip_down",), ("los",))),
        ("tg1/3", "errored_seconds", SEEN, (("sip_down",), ("los",))),
        ("tg1/3", "los", {"tg1": 0, "tg2": 0}, (("sip_down",), LINES)),
        ("tg1/3/7", "out_of_service", {"tg1": 0, "tg2": 0}, (("sip_down",), LINES)),
        ("tg1", "sip_down", SEEN, (("unreachable",), LINES)),
    ],
)
def test_what_is_looked_for_no_more_is_cleared_and_keeps_nothing_out(
    path: str, condition: str, seen: dict[str, int], conditions: tuple[tuple[str, ...], ...]
) -> None:
    world = World()
    with_plan(world, looked_for=SEEN, conditions=(("sip_down",), LINES))
    world.see(condition, "on", path)
    world.run_until(10_000)
    assert world.messages[0][1] == f"raised {condition} {path}"
    assert world.trunks["carrier-b"].state != "in"

    with_plan(world, looked_for=seen, conditions=conditions)
    world.run_until(20_000)

    assert world.messages[-1][1] == f"cleared {condition} {path}"
    assert world.trunks["carrier-b"].state == "in"
    assert {key for key in world.records if key.startswith(("alarm/", "line/"))} == set()


def test_what_is_looked_for_still_stays_when_the_plan_changes() -> None:
    world = World()
    with_plan(world, looked_for=SEEN, conditions=(("sip_down",), LINES))
    world.see("los,d_channel_down", "on", "tg1/3")
    world.run_until(10_000)
    with_plan(world, looked_for=SEEN, conditions=(("sip_down",), ("los",)))
    world.run_until(20_000)

    assert [text for _, text in world.messages] == ["raised los tg1/3"]
    assert world.trunks["carrier-b"].state == "out"
    world.see("los", "off", "tg1/3")
    world.run_until(60_000)
    assert world.trunks["carrier-b"].state == "in"


def test_an_older_plan_changes_nothing() -> None:
    world = standing("los")
    before = dict(world.committed)
    world.post(inputs.Configure(Plan(), 1))
    assert world.committed == before


def test_a_new_shard_of_calls_is_told_of_every_trunk() -> None:
    world = standing("los")
    heard: list[effects.Tell] = []
    world.trunks.clear()
    tx = world.step_now()
    world.machine.step(
        tx, inputs.Configure(msgspec.structs.replace(PLAN, shards=("main", "east")), 2)
    )
    heard += [effect for effect in tx.effects if isinstance(effect, effects.Tell)]
    assert {(tell.shard, tell.event.trunk, tell.event.state) for tell in heard} == {
        ("east", "carrier-a", "in"),
        ("east", "carrier-b", "out"),
    }


def test_a_receiver_that_is_gone_is_waited_for_no_more() -> None:
    world = World()
    world.answers = False
    with_plan(world, receivers=("noc", "mail"))
    world.see("los", "on", "tg1/3")
    world.run_until(10_000)
    with_plan(world, receivers=("mail",))
    (notice,) = waiting(world.records, world.machine.book)
    assert notice.waiting == ["mail"]
    with_plan(world, receivers=())
    assert waiting(world.records, world.machine.book) == []


def test_kinds_are_set_anew_for_a_site_and_for_a_gateway() -> None:
    world = World()
    fast = Kind(MINOR, soak_ms=0, hold_ms=1_000)
    with_plan(world, kinds={"rai": Kind(MINOR, soak_ms=500)}, gateways={"tg1": {"los": fast},
                                                                         "tg2": {}})  # fmt: skip
    world.see("los", "on", "tg1/1")
    world.see("los,rai", "on", "tg2/1")
    world.see("rai", "on", "tg1/2")
    world.run_until(5_000)
    assert world.messages == [
        (0, "raised los tg1/1"),
        (500, "raised rai tg1/2"),
        (2_500, "raised los tg2/1"),
    ]
    assert {notice.severity for _, notice in world.received.values()} == {"minor", "critical"}
    world.see("los", "off", "tg1/1")
    world.run_until(6_000)
    assert world.messages[-1] == (6_000, "cleared los tg1/1")


# Bugs.


def broken(world: World, event: Any, error: Exception) -> list[Any]:
    tx = world.step_now()
    world.machine.poisoned(tx, event, error)
    world.commit(tx)
    for effect in tx.effects:
        world.perform(effect)
    return tx.effects


def test_a_bug_in_one_observation_costs_no_other() -> None:
    world = World()
    seen = tuple(Observation("tg1/3", name, True, 0) for name in ("los", "rai"))
    assert broken(world, inputs.Observed(seen), ValueError()) == [effects.Again(seen)]
    world.run_until(5_000)
    assert [text for _, text in world.messages] == ["raised los tg1/3"]
    assert broken(world, inputs.Observed(seen[:1]), ValueError()) == []
    assert (history(world.records)[-1].what, history(world.records)[-1].note) == (
        "bug",
        "ValueError",
    )


def test_an_alarm_whose_step_raises_is_over_and_what_waited_for_it_is_told() -> None:
    world = standing("los", "lof")
    broken(world, Timer("alarm/los/tg1/3", 5), ValueError())
    assert [text for _, text in world.messages] == [
        "raised los tg1/3",
        "cleared los tg1/3",
        "raised lof tg1/3",
    ]
    broken(world, Redrive("line/tg1/3"), ValueError())
    assert routes(world.records)[1].state == "in"
    broken(world, Redrive("alarm/rai/tg1/3"), ValueError())
    assert what(world)[-1] == "bug"


def test_a_window_whose_step_raises_is_over() -> None:
    world = World()
    world.do(["window", "night", "tg1", "until", "100"])
    broken(world, Timer("window/night", 5), ValueError())
    assert windows_of(world.machine.book) == []


def test_a_record_of_a_newer_version_is_left_alone() -> None:
    with pytest.raises(UnknownRecord):
        Alarms(PLAN).decode("fan/tg1", b"")


def test_an_event_that_nobody_knows_is_a_bug() -> None:
    world = World()
    with pytest.raises(TypeError, match="no step for str"):
        world.post("what?")


def test_the_history_says_when_all_was_lost() -> None:
    world = World()
    world.post(ClusterLost("alarms", 7))
    assert history(world.records)[-1].note == "epoch 7"
    world.post(Promoted("alarms", 8, records_wall_ms=0))
    assert (history(world.records)[-1].what, history(world.records)[-1].note) == (
        "promoted",
        "epoch 8",
    )


# Bounds.


def test_the_history_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "HISTORY_MAX", 10)
    world = standing("los")
    for number in range(25):
        world.do(["ack", "los", "tg1/3", "by", f"p{number}"])
    kept = history(world.records)
    assert [entry.by for entry in kept] == [f"p{number}" for number in range(15, 25)]
    assert sum(key.startswith("history/") for key in world.records) == 10


def test_the_oldest_message_goes_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "NOTICES_MAX", 3)
    world = World()
    world.answers = False
    for span in range(5):
        world.see("los", "on", f"tg2/{span}")
        world.run_until(world.now_ms + 5_000)
    assert [notice.path for notice in waiting(world.records, world.machine.book)] == [
        "tg2/2",
        "tg2/3",
        "tg2/4",
    ]
    dropped = [entry for entry in history(world.records) if entry.what == "dropped"]
    assert [(entry.path, entry.by) for entry in dropped] == [("tg2/0", "noc"), ("tg2/1", "noc")]


def test_no_more_windows_than_are_bearable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOWS_MAX", 1)
    world = World()
    world.do(["window", "a", "tg1", "until", "100"])
    world.do(["window", "b", "tg1", "until", "100"])
    world.do(["window", "a", "tg2", "until", "100"])
    assert [window.prefix for window in windows_of(world.machine.book)] == ["tg2"]
    assert what(world) == ["window", "refused", "window"]


# What people see, and what they said.


def test_an_acknowledgement_stands_until_the_alarm_is_over() -> None:
    world = standing("los")
    world.do(["ack", "los", "tg1/3", "by", "anna"])
    (shown,) = alarms(world.records, world.machine.book)
    assert (shown.acked_by, shown.acked_wall_ms) == ("anna", WALL_MS + 10_000)
    world.see("los", "off", "tg1/3")
    world.run_until(25_000)
    world.see("los", "on", "tg1/3")
    world.run_until(30_000)
    (shown,) = alarms(world.records, world.machine.book)
    assert (shown.acked_by, shown.state) == ("", "raised")
    world.post(inputs.Acknowledge("no-such-alarm", "anna"))
    assert what(world).count("acknowledged") == 1


def test_the_worst_alarm_is_shown_first_and_what_waits_says_for_what() -> None:
    world = World()
    world.see("rai", "on", "tg1/1")
    world.see("lof,los", "on", "tg1/3")
    world.run_until(5_000)
    world.see("los", "unknown", "tg1/3")
    shown = alarms(world.records, world.machine.book)
    assert [(one.severity, one.condition, one.told, one.by) for one in shown] == [
        ("critical", "los", True, ""),
        ("major", "lof", False, "los@tg1/3"),
        ("minor", "rai", True, ""),
    ]
    assert [one.is_known for one in shown] == [False, True, True]


def test_what_waits_says_for_the_cause_of_all_causes() -> None:
    world = World()
    world.see("unreachable", "on", "tg1")
    world.see("lof,los", "on", "tg1/3")
    world.run_until(5_000)
    shown = {one.condition: one.by for one in alarms(world.records, world.machine.book)}
    assert shown == {"unreachable": "", "los": "unreachable@tg1", "lof": "unreachable@tg1"}


def test_an_alarm_that_flaps_is_since_it_came_first() -> None:
    world = World()
    for number in range(12):
        world.run_until(number * 500)
        world.see("ais", "off" if number % 2 else "on", "tg1/3")
    world.run_until(60_000)  # idle, and on again: the same occurrence
    world.see("ais", "on", "tg1/3")
    world.run_until(3_600_000)
    assert [text.partition(" ")[0] for _, text in world.messages] == ["flapping", "raised"]
    assert {notice.since_wall_ms for _, notice in world.received.values()} == {WALL_MS + 5_000}


def test_a_gateway_is_looked_at_when_an_alarm_soaks_and_again_after_a_takeover() -> None:
    world = World()
    world.see("lof", "on", "tg1/3")
    assert world.looks == ["tg1"]
    world.takeover()
    assert world.looks == ["tg1", "tg1"]


def test_a_refusal_is_in_the_history_and_is_not_repeated() -> None:
    world = World()
    world.answers = False
    world.see("los", "on", "tg1/3")
    world.run_until(5_000)
    (key,) = world.machine.book.notices
    world.post(inputs.Sent("noc", (key,), "answers 400"))
    assert waiting(world.records, world.machine.book) == []
    assert history(world.records)[-1].note == "answers 400"
    world.post(inputs.Sent("noc", (key,), "answers 400"))
    assert what(world).count("refused") == 1


# Trunks.


def test_a_shard_of_calls_takes_no_older_state_and_no_repeat() -> None:
    older, newer = (TrunkState("t", state, 0, 30, (), order) for state, order in
                    (("out", 1), ("in", 2)))  # fmt: skip
    assert is_news(None, newer)
    assert not is_news(newer, newer)
    assert not is_news(newer, older)


def test_each_start_of_the_poller_is_one_more_boot_of_its_engine_on_every_node() -> None:
    world = World(PLAN)
    for _ in range(2):
        world.post(inputs.PollerStarts())
    world.takeover()
    world.post(inputs.PollerStarts())
    assert world.boots == [1, 2, 3]


def test_a_shard_that_confirmed_is_not_told_again_after_a_takeover() -> None:
    world = standing("los")
    told: list[Any] = []
    for key in list(world.records):
        tx = world.step_now()
        world.machine.redrive(tx, key)
        told += tx.effects
    assert told == []
    world.post(inputs.Told("main", "carrier-b", 1))  # an old one, late
    assert world.records["route/carrier-b"].confirmed["main"] > 1


def test_a_dead_sip_side_takes_all_spans_of_its_gateway_out() -> None:
    world = standing("sip_down", path="tg1")
    assert {state.state for state in routes(world.records)} == {"out"}
    assert routes(world.records)[0].why == ("sip_down@tg1",)


def test_an_undeclared_trunk_is_no_path() -> None:
    world = World()
    with_plan(world, trunks={"carrier-z": Trunk({"tg2/1": 30})})
    world.see("trunk_busy", "on", "trunk:carrier-a")
    assert world.machine.book.alarms == {}


# The page that people read.

ROOT = Path(__file__).resolve().parents[2]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table of docs/alarms.md whose first column is `heading`."""
    lines = (ROOT / "docs/alarms.md").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines[begin + 2 :])
    ]


def test_the_page_has_the_causes_as_they_are() -> None:
    told: dict[str, frozenset[str] | None] = {}
    for causes, explained in rows("cause"):
        names = frozenset(re.findall(r"[a-z_0-9]+", re.sub(r"\(.*?\)", "", explained)))
        for cause in causes.split(", "):
            told[cause] = None if explained.startswith("everything") else names
    assert told == CAUSES
    assert list(told) == list(CAUSES)


def test_the_page_has_the_kinds_as_they_are() -> None:
    told = {
        condition: (severity, times, out.startswith(("yes", "all")))
        for conditions, severity, times, out in rows("condition")
        for condition in re.findall(r"[a-z_0-9]+", conditions.partition(", and what")[0])
    }
    assert told == {
        condition: (
            kind.severity,
            "0, 0" if not kind.soak_ms else f"{kind.soak_ms / 1000} s, {kind.hold_ms // 1000} s",
            kind.takes_out,
        )
        for condition, kind in DEFAULTS.items()
    }


# Determinism.

DIGEST = """
import hashlib
from tests.gateway_mgmt.stories import STORIES
from tests.gateway_mgmt.world import play
print(hashlib.sha256(repr([play(s).committed for s in STORIES.values()]).encode()).hexdigest())
"""


def test_every_node_gets_the_same_bytes_whatever_its_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1
