"""Whatever is seen in whatever order: what must hold at every step, and in the end."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_mgmt.alarms.kinds import CAUSES, DEFAULTS, SEVERITIES, explains
from gateway_mgmt.alarms.records import IDLE, RAISED, Alarm, Entry
from gateway_mgmt.observation import CONDITIONS, line_of
from gateway_mgmt.trunks import trunk_state
from tests.gateway_mgmt.world import PLAN, WALL_MS, Death, World

PATHS = ("tg1", "tg1/1", "tg1/2", "tg1/1/17", "trunk:carrier-a")
SEEN = ("unreachable", "los", "lof", "rai", "d_channel_down", "out_of_service", "trunk_busy")
Act = tuple[int, str, str, str]
"""Milliseconds after the one before, what, and of what."""

act = st.one_of(
    st.tuples(
        st.integers(0, 15_000),
        st.sampled_from(("on", "on", "off", "unknown")),
        st.sampled_from(SEEN),
        st.sampled_from(PATHS),
    ),
    st.tuples(
        st.integers(0, 15_000),
        st.sampled_from(("window", "end")),
        st.sampled_from(("night", "day")),
        st.sampled_from(PATHS),
    ),
)
trace = st.lists(act, max_size=40)


def run(acts: Sequence[Act], death: Death | None = None) -> World:
    world = World(death=death)
    for wait_ms, what, name, path in acts:
        world.run_until(world.now_ms + wait_ms)
        if what == "window":
            world.do(["window", name, path, "until", str((world.now_ms + 30_000) / 1000)])
        elif what == "end":
            world.do(["end", name])
        else:
            world.see(name, what, path)
        check_now(world)
    return world


def calm(world: World) -> None:
    """All is well again, and has been for an hour."""
    for path in PATHS:
        world.see(",".join(SEEN), "off", path)
    world.run_until(world.now_ms + 3_600_000)


def alarms(world: World) -> list[Alarm]:
    return [one for one in world.records.values() if isinstance(one, Alarm)]


def check_now(world: World) -> None:
    """Who is not told of an alarm that stands is not told for a reason that stands."""
    standing = {alarm.name: alarm for alarm in alarms(world) if alarm.is_active}
    windows = world.machine.book.windows
    for alarm in alarms(world):
        is_due = alarm.stable_ms > 0 or alarm.state == RAISED
        if alarm.by:
            assert is_due or alarm.state != IDLE
            root = alarm
            while root.by in standing:
                root = standing[root.by]
                assert root is not alarm, "they wait for each other"
            assert root is not alarm or alarm.by.removeprefix("window:") in windows
        elif is_due:
            assert alarm.told, alarm
        if alarm.told:
            assert alarm.id
    for name, trunk in PLAN.trunks.items():
        now = world.trunks[name]
        assert trunk_state(name, trunk, world.machine.book.out) == msgspec.structs.replace(
            now, order=0
        )


def changes(world: World, path: str, condition: str) -> list[tuple[int, str]]:
    """What the history says of the alarm itself, not of messages."""
    entries = [one for one in world.records.values() if isinstance(one, Entry)]
    return [
        (one.wall_ms, one.what)
        for one in sorted(entries, key=lambda one: one.n)
        if (one.path, one.condition) == (path, condition)
        and one.what in ("raised", "cleared", "flapping")
    ]


@settings(max_examples=100, deadline=None)
@given(trace)
@example([(0, "on", "los", "tg1/1"), (0, "on", "lof", "tg1/1"), (9_000, "off", "los", "tg1/1")])
def test_only_messages_are_suppressed_never_what_was_seen(acts: list[Act]) -> None:
    world = run(acts)
    calm(world)
    for condition, path in {(name, path) for _, what, name, path in acts if what in IS}:
        alone = World()
        for wait_ms, what, name, where in acts:
            alone.run_until(alone.now_ms + wait_ms)
            if (name, where) == (condition, path) and what in IS:
                alone.see(name, what, where)
        calm(alone)
        assert changes(world, path, condition) == changes(alone, path, condition)


IS = ("on", "off", "unknown")


@settings(max_examples=100, deadline=None)
@given(trace)
def test_whoever_is_told_of_an_alarm_is_told_of_its_end(acts: list[Act]) -> None:
    world = run(acts)
    calm(world)
    assert not alarms(world)
    told: dict[str, list[tuple[int, str]]] = {}
    since = {notice.alarm: notice.since_wall_ms for _, notice in world.received.values()}
    for notice in [notice for _, notice in world.received.values()]:
        messages = told.setdefault(notice.alarm, [])
        assert notice.seq == len(messages) + 1
        assert notice.since_wall_ms == since[notice.alarm]
        assert not messages or messages[-1][1] != notice.what
        messages.append((notice.wall_ms, notice.what))
        cleared = (notice.wall_ms, "cleared") in changes(world, notice.path, notice.condition)
        flapped = any(what == "flapping" for _, what in messages)
        assert notice.what != "cleared" or cleared or flapped
    for messages in told.values():
        assert [what for _, what in messages].count("cleared") == 1
        assert messages[-1][1] == "cleared"


@settings(max_examples=100, deadline=None)
@given(trace)
def test_a_clear_waits_for_no_cause_and_no_window(acts: list[Act]) -> None:
    world = run(acts)
    calm(world)
    sent = {(notice.wall_ms, notice.what, notice.path, notice.condition)
            for _, notice in world.received.values()}  # fmt: skip
    for entry in [one for one in world.records.values() if isinstance(one, Entry)]:
        if entry.what == "cleared" and not entry.by:
            was_told = any(notice.alarm == entry.alarm for _, notice in world.received.values())
            is_sent = (entry.wall_ms, "cleared", entry.path, entry.condition) in sent
            assert is_sent == was_told, entry


@settings(max_examples=100, deadline=None)
@given(trace, st.data())
def test_a_death_anywhere_changes_nothing_that_anybody_hears(
    acts: list[Act], data: st.DataObject
) -> None:
    quiet = run(acts)
    calm(quiet)
    step = data.draw(st.integers(1, len(quiet.effects_of)))
    death = Death(step, data.draw(st.integers(-1, quiet.effects_of[step - 1])))
    world = run(acts, death)
    calm(world)
    assert (world.messages, world.routes) == (quiet.messages, quiet.routes)


@settings(max_examples=100, deadline=None)
@given(trace)
def test_a_trunk_is_out_while_a_fault_is_seen_and_for_a_while_after(acts: list[Act]) -> None:
    """Against a model of its own, which knows of no alarm, message or record."""
    world = World()
    on: dict[tuple[str, str], bool] = {}
    well_ms: dict[str, int] = {}
    for wait_ms, what, name, path in acts:
        world.run_until(world.now_ms + wait_ms)
        if what not in IS:
            continue
        world.see(name, what, path)
        if DEFAULTS[name].takes_out and not path.startswith("trunk:") and what != "unknown":
            if on.get((path, name)) and what == "off":
                well_ms[path] = world.now_ms
            on[path, name] = what == "on"
        for span in ("tg1/1", "tg1/2"):
            faults = [key for key, is_on in on.items() if is_on and key[0] in line_of(span)]
            if faults:
                assert world.trunks["carrier-a"].state != "in"
                assert span in world.machine.book.out or "tg1" in world.machine.book.out
        recent = [at for at in well_ms.values() if world.now_ms - at < PLAN.return_ms]
        if recent and not any(on.values()):
            assert world.trunks["carrier-a"].state != "in"
        settled = all(world.now_ms - at > 320_000 for at in well_ms.values())
        if not any(on.values()) and settled:
            assert world.trunks["carrier-a"].state == "in"
    world.run_until(world.now_ms + 3_600_000)
    assert (world.trunks["carrier-a"].state == "in") == (not any(on.values()))


@pytest.mark.parametrize("one", CAUSES)
@pytest.mark.parametrize("other", CAUSES)
def test_no_two_alarms_wait_for_each_other(one: str, other: str) -> None:
    world = World()
    world.see(f"{one},{other}", "on", "tg1/1")
    world.run_until(10_000)
    follows = explains(one, other, is_same_object=True)
    leads = explains(other, one, is_same_object=True)
    assert not (follows and leads)
    assert len(world.messages) == (1 if follows or leads or one == other else 2)


def test_every_condition_has_a_kind_with_a_severity_of_x733() -> None:
    assert set(DEFAULTS) == CONDITIONS
    assert {kind.severity for kind in DEFAULTS.values()} <= set(SEVERITIES)


def test_what_follows_soaks_no_shorter_than_its_cause() -> None:
    for cause in CAUSES:
        for condition in CONDITIONS:
            if explains(cause, condition, is_same_object=False):
                assert DEFAULTS[condition].soak_ms >= DEFAULTS[cause].soak_ms


def test_a_message_says_what_it_hits() -> None:
    world = World()
    for path in ("tg1/3/17", "tg1", "trunk:carrier-a", "tg2/1"):
        world.see("trunk_busy", "on", path)
    world.run_until(3_000)
    hit = {notice.path: notice.impact for _, notice in world.received.values()}
    assert hit["tg1/3/17"].trunks == ("carrier-b",)
    assert hit["tg1"].numbers == ("4001", "4002", "4003")
    assert hit["tg1"].queues == ("sales", "support")
    assert hit["trunk:carrier-a"].queues == ("support",)
    assert hit["tg2/1"] == type(hit["tg2/1"])()
    assert {notice.since_wall_ms for _, notice in world.received.values()} == {WALL_MS}
