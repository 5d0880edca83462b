"""What the runtime promises a machine, with a toy machine on a fake clock."""

from typing import Any

import pytest

from cluster.handing_over import HAND_OVER_MS
from cluster.machine import Step, UnknownRecord
from cluster.roles import Active
from cluster.runtime import AHEAD_KEPT_MS, REDRIVE_BATCH, REDRIVE_MS, TIMERS_PER_TICK, Unreported
from loadtest.sim.counting import SHARD
from loadtest.sim.toy import Add, Arm, Confirm, Done, Rang
from tests.cluster.toy import Fill, Forget, Poison, Sneak, Toy
from tests.cluster.world import commit, run, standbys, successor, wait, world


def test_no_effect_leaves_before_every_in_sync_member_holds_its_records() -> None:
    sim, active = world()
    standby = standbys(sim, active)[0]
    sim.paused[standby.node] = sim.now_ms + 200
    active.shard.handle(Add("x", "one"))
    answers: list[bool] = []
    active.shard.when_committed(answers.append)

    run(sim, 150)
    assert active.performed == []
    assert answers == []
    assert active.shard.commit_age_ms() > 100

    wait(sim, lambda: active.performed != [])
    assert answers == [True]
    assert active.shard.commit_age_ms() == 0


def test_effects_leave_in_step_order() -> None:
    sim, active = world()
    for n in range(30):
        active.shard.handle(Add(f"k{n % 3}", f"op{n}"))
        run(sim, n % 4)
    wait(sim, lambda: len(active.performed) == 30)
    assert [effect.op for effect in active.performed] == [f"op{n}" for n in range(30)]
    assert [int(effect.id.split("/")[2]) for effect in active.performed] == sorted(
        int(effect.id.split("/")[2]) for effect in active.performed
    )


def test_an_effect_that_brings_an_event_does_not_overtake_those_behind_it() -> None:
    sim, active = world()
    first = [Add("x", "one"), Add("x", "two")]

    def perform(effect: Done) -> None:
        active.performed.append(effect)
        if effect.op == "one":
            active.shard.handle(Add("y", "three"))

    active.perform = perform  # type: ignore[method-assign]
    for event in first:
        active.shard.handle(event)
    wait(sim, lambda: len(active.performed) == 3)
    assert [effect.op for effect in active.performed] == ["one", "two", "three"]


def test_a_step_that_raises_is_undone_and_ends_only_its_own_record() -> None:
    sim, active = world()
    shard = active.shard
    for key in ("x", "y"):
        shard.handle(Add(key, f"{key}1"))
    wait(sim, lambda: len(active.performed) == 2)
    shard.handle(Add("x", "x2"))  # in the open batch: logged by nobody yet
    shard.handle(Poison("x"))
    shard.handle(Add("y", "y2"))

    changed = shard.records["x"]
    assert (changed.value, changed.done) == (2, ["x1", "x2", "failed"])
    assert changed.pending == ["x1", "x2"]
    assert shard.records["y"].value == 2
    assert "left-over" not in shard.records
    assert shard.machine.total == 4  # type: ignore[attr-defined]
    wait(sim, lambda: len(active.performed) == 5)
    assert [effect.op for effect in active.performed[2:]] == ["x2", "failed", "y2"]
    assert shard.counters["poisoned"] == 1
    assert shard.counters["dropped"] == 0

    # Nothing of it has travelled.
    sim.crash(active.node, 10_000)
    after = successor(sim, active)
    assert after.shard.records["x"].value == 2
    assert "left-over" not in after.shard.records


def test_an_event_that_poisons_its_own_end_is_dropped_and_counted() -> None:
    _, active = world()
    active.shard.handle(Add("x", "x1"))
    active.shard.handle(Poison("x", twice=True))
    assert active.shard.records["x"].value == 1
    assert active.shard.counters["dropped"] == 1
    assert active.shard.handle(Add("x", "x2"))


def test_a_record_that_cannot_be_encoded_is_a_step_that_raises() -> None:
    _, active = world()
    active.shard.handle(Add("x", "x1"))
    honest = active.shard.machine.step

    def step(tx: Step, event: object) -> None:
        honest(tx, event)
        tx.edit("x").done.append(object())

    active.shard.machine.step = step  # type: ignore[method-assign]
    active.shard.handle(Add("x", "x2"))
    assert active.shard.records["x"].done == ["x1"]
    assert active.shard.counters["poisoned"] == 1


def test_a_record_that_cannot_be_read_is_given_up_and_one_of_a_newer_version_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, active = world()
    for key in ("x", "y", "z"):
        active.shard.handle(Add(key, f"op-{key}"))
    commit(sim, active)
    decode = Toy.decode

    def older(self: Toy, key: str, data: bytes) -> object:
        if key == "x":
            raise ValueError("no such field")
        if key == "y":
            raise UnknownRecord(key)
        return decode(self, key, data)

    monkeypatch.setattr(Toy, "decode", older)
    sim.acked.clear()  # it would miss what cannot be read
    sim.crash(active.node, 60_000)
    new = successor(sim, active)
    commit(sim, new)

    assert list(new.shard.records) == ["z"]
    assert sorted(new.shard.core.log.records) == ["y", "z"]
    assert new.shard.counters["poisoned"] == 1
    assert sim.counts["record not read"] == 1


def test_a_change_that_is_not_reported_fails_the_test_that_made_it() -> None:
    _, active = world()
    active.shard.handle(Add("x", "x1"))
    with pytest.raises(Unreported):
        active.shard.handle(Sneak("x"))


def test_timers_come_from_records_at_the_shard_time_they_name() -> None:
    sim, active = world()
    now_ms = active.shard.core.clock.now(active.now_ms())
    active.shard.handle(Arm("x", 300))
    active.shard.handle(Arm("y", 100))
    active.shard.handle(Arm("z", 200))
    active.shard.handle(Forget("z"))
    wait(sim, lambda: len(active.performed) == 2)
    assert [effect.key for effect in active.performed] == ["y", "x"]
    assert all(isinstance(effect, Rang) for effect in active.performed)
    assert now_ms + 300 <= active.performed[1].deadline_ms <= now_ms + 301


def test_a_timer_survives_a_takeover_and_shard_time_does_not_go_back() -> None:
    sim, active = world()
    active.shard.handle(Arm("x", 2_000))
    deadline_ms = active.shard.records["x"].due_ms
    commit(sim, active)
    before_ms = active.shard.core.clock.now(active.now_ms())
    sim.crash(active.node, 60_000)
    after = successor(sim, active)
    now_ms = after.shard.core.clock.now(after.now_ms())
    assert before_ms <= now_ms <= before_ms + 1_000
    wait(sim, lambda: any(isinstance(effect, Rang) for effect in after.performed))
    rang = next(effect for effect in after.performed if isinstance(effect, Rang))
    assert rang.deadline_ms == deadline_ms
    assert after.shard.core.clock.now(after.now_ms()) >= deadline_ms


def test_a_crowd_of_timers_does_not_hold_up_a_turn() -> None:
    sim, active = world()
    for n in range(3 * TIMERS_PER_TICK):
        active.shard.handle(Arm(f"k{n}", 50))
    wait(sim, lambda: active.shard.counters["timers"] > 0)
    assert active.shard.counters["timers"] <= TIMERS_PER_TICK
    wait(sim, lambda: active.shard.counters["timers"] == 3 * TIMERS_PER_TICK)


def test_a_takeover_emits_again_what_is_pending_in_order_and_paced() -> None:
    sim, active = world()
    count = 10 * REDRIVE_BATCH
    for n in range(count):
        active.shard.handle(Add(f"k{n:03}", f"op{n}"))
    for n in range(0, count, 2):
        active.shard.handle(Confirm(f"k{n:03}", f"op{n}"))
    wait(sim, lambda: len(active.performed) == count)
    sim.crash(active.node, 60_000)
    after = successor(sim, active)
    began_ms = sim.now_ms
    assert after.shard.handle(Add("new", "while redriving"))
    wait(sim, lambda: len(after.performed) == count // 2 + 1)
    assert sim.now_ms - began_ms >= (count // 2 // REDRIVE_BATCH - 1) * REDRIVE_MS
    again = [effect.op for effect in after.performed if effect.again]
    assert again == [f"op{n}" for n in range(1, count, 2)]


def test_a_joiner_gets_a_snapshot_in_slices_while_steps_go_on() -> None:
    sim, active = world()
    active.shard.handle(Fill(3_000, 200))
    commit(sim, active)
    standby = standbys(sim, active)[0]
    sim.crash(standby.node, 400)
    wait(sim, lambda: len(active.shard.state().in_sync) == 2)

    n = 0

    def go_on() -> bool:
        nonlocal n
        n += 1
        active.shard.handle(Add("x", f"op{n}"))
        active.shard.handle(Forget(f"call/{n:06}"))
        active.shard.handle(Add(f"call/{2_999 - n:06}", f"late{n}"))
        return len(active.shard.state().in_sync) == 3

    wait(sim, go_on)
    assert n > 5
    commit(sim, active)
    run(sim, 200)
    joiner = sim.alive[standby.node].members[SHARD]
    assert joiner.shard.core.log.at_end() == active.shard.core.log.at_end()
    assert f"call/{n:06}" not in joiner.shard.core.log.records


def test_a_lone_active_serves_and_says_that_it_is_alone() -> None:
    sim, active = world(nodes=1)
    active.shard.handle(Add("x", "one"))
    wait(sim, lambda: len(active.performed) == 1)
    assert active.shard.state().in_sync == (active.shard.core.member,)


def test_a_stopped_shard_goes_on_from_its_snapshot() -> None:
    sim, active = world(nodes=1)
    active.shard.handle(Add("x", "one"))
    wait(sim, active.shard.hold)
    stopped: list[bool] = []
    active.shard.stop(stopped.append)
    wait(sim, lambda: stopped == [True])
    assert not active.shard.handle(Add("x", "two"))
    before_ms = active.shard.core.clock.last_ms

    sim.crash(active.node, 3_000)
    after = successor(sim, active)
    assert after.shard.state().epoch == 2
    assert after.shard.records["x"].done == ["one"]
    assert after.shard.core.clock.now(after.now_ms()) >= before_ms + 2_990
    assert "lost" not in after.shard.records


def test_a_late_turn_while_the_snapshot_is_written_costs_a_second_try_and_not_the_shard() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "one"))
    wait(sim, active.shard.hold)
    for standby in standbys(sim, active):
        sim.paused[standby.node] = sim.now_ms + 100
    stopped: list[bool] = []
    active.shard.stop(stopped.append)
    active.shard.woke_late(300)  # a batch that nobody holds yet
    wait(sim, lambda: stopped == [False])

    wait(sim, active.shard.hold)
    active.shard.stop(stopped.append)
    wait(sim, lambda: stopped == [False, True])
    for node in sim.names:
        sim.crash(node, 100)
    assert successor(sim, active).shard.records["x"].done == ["one"]


@pytest.mark.parametrize("gather_ms", [1, 20])
def test_a_hand_over_that_is_called_off_while_the_snapshot_is_written_voids_it(
    gather_ms: int,
) -> None:
    """The step that came then may still be in the open batch when the snapshot is there."""
    sim, active = world()
    active.process.load_ms = gather_ms
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    to = active.shard.core.successors()[0]
    sim.store.away[to] = None
    assert active.shard.hand_over(to)
    run(sim, HAND_OVER_MS - 5)
    assert active.shard.hold()
    stopped: list[bool] = []
    active.shard.stop(stopped.append)
    active.shard.hand_over_failed()
    assert active.shard.handle(Add("x", "two"))
    wait(sim, lambda: stopped == [False])


def test_of_a_clean_stop_and_a_dead_active_who_stays_behind_takes_over() -> None:
    sim, active = world(nodes=2)
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    standby = standbys(sim, active)[0]
    sim.crash(active.node, 60_000)
    standby.shard.core.leave()  # told to stop before it has taken over: it holds the only copy
    after = successor(sim, active)
    assert after is standby
    assert after.shard.records["x"].done == ["one"]


def test_a_node_that_leaves_lets_those_who_stay_take_over() -> None:
    sim, active = world()
    leaving, staying = standbys(sim, active)
    leaving.shard.core.leave()
    sim.crash(active.node, 60_000)
    assert successor(sim, active) is staying


def test_of_five_nodes_three_hold_copies_and_two_are_sent_nothing() -> None:
    sim, active = world(nodes=5)
    for n in range(20):
        active.shard.handle(Add("x", f"op{n}"))
        run(sim, 20)
    commit(sim, active)
    run(sim, 1_000)
    held = [p for p in sim.members(SHARD) if p.shard.core.log.records]
    assert len(held) == 3


def test_a_store_that_went_back_in_time_costs_the_active_nothing_it_holds() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    before = sim.store.keys[SHARD]
    sim.store.keys[SHARD] = (before[0] + 7, None)  # somebody has put another file in its place
    standby = standbys(sim, active)[0]
    sim.crash(standby.node, 60_000)
    active.shard.handle(Add("x", "two"))
    run(sim, 3_000)
    assert active.shard.records["x"].done == ["one", "two"]
    assert [effect.op for effect in active.performed] == ["one"]
    assert sim.counts["store is behind"] <= 10

    sim.store.keys[SHARD] = before  # and the right one back
    wait(sim, lambda: len(active.performed) == 2)


def test_a_standby_does_not_begin_a_shard_anew_that_the_store_has_forgotten() -> None:
    sim, active = world()
    sim.store.keys[SHARD] = (sim.store.keys[SHARD][0] + 7, None)
    sim.crash(active.node, 60_000)
    run(sim, 5_000)
    assert sim.leader(SHARD) is None
    assert sim.counts["store is behind"] >= 2


def test_what_is_noted_of_a_bug_is_its_place_and_never_what_it_was_about() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "x1"))
    active.shard.handle(Poison("x"))
    ((*_, fields),) = [line for line in sim.log if line[2] == "step undone"]
    assert fields["error"] == "ZeroDivisionError"
    assert fields["at"].startswith("cluster/toy.py:")
    assert "a bug in a step" not in str(fields)


def test_when_every_copy_is_gone_the_shard_starts_empty_and_says_so() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "one"))
    wait(sim, lambda: len(active.performed) == 1)
    for node in sim.names:
        sim.crash(node, 300)
    after = successor(sim, active)
    assert after.shard.state().epoch == 2
    assert after.shard.machine.lost == [2]  # type: ignore[attr-defined]
    assert list(after.shard.records) == ["lost"]


def test_a_shard_whose_copies_are_not_provably_gone_is_not_started_empty() -> None:
    sim, _ = world()
    sim.is_gone = lambda member, shard: False  # type: ignore[method-assign]
    for node in sim.names:
        sim.crash(node, 300)
    run(sim, 5_000)
    assert sim.leader(SHARD) is None
    assert len(sim.alive) == 3


def test_a_handed_over_shard_loses_nothing() -> None:
    sim, active = world()
    for n in range(20):
        active.shard.handle(Add("x", f"op{n}"))
    to = active.shard.core.successors()[0]
    assert active.shard.hand_over(to)
    assert not active.shard.handle(Add("x", "too late"))
    after = successor(sim, active)
    assert after.node == to
    # What was in flight was performed by the old active, once.
    assert [effect.op for effect in active.performed] == [f"op{n}" for n in range(20)]
    assert after.shard.records["x"].value == 20
    wait(sim, lambda: len(after.shard.state().in_sync) == 3)


def test_who_hands_over_stays_in_sync_with_the_copy_it_has() -> None:
    sim, active = world()
    member = active.shard.core.member
    for n in range(100):
        active.shard.handle(Add(f"k{n}", f"op{n}"))
    commit(sim, active)
    time_ms = active.shard.time_ms()
    assert active.shard.hand_over(active.shard.core.successors()[0])
    after = successor(sim, active)
    assert member in after.shard.state().in_sync
    assert active.shard.core.member == member
    assert active.shard.records == {}
    after.shard.handle(Add("x", "one"))
    commit(sim, after)
    role = after.shard.core.role
    assert isinstance(role, Active)
    assert role.replicas.snapshots == 0
    # And back again, over every record and with a clock that never goes back.
    assert after.shard.hand_over(active.node)
    again = successor(sim, after)
    assert again is active
    assert len(again.shard.records) == 101
    assert again.shard.time_ms() > time_ms


def test_a_successor_that_was_told_in_time_decodes_only_what_has_changed_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, active = world()
    for n in range(300):
        active.shard.handle(Add(f"k{n}", f"op{n}"))
        active.shard.handle(Confirm(f"k{n}", f"op{n}"))
    commit(sim, active)
    to = active.shard.core.successors()[0]
    decoded: list[str] = []
    honest = Toy.decode

    def decode(toy: Toy, key: str, data: bytes) -> object:
        decoded.append(key)
        if key == "k7":
            raise ValueError("cannot be read now")
        return honest(toy, key, data)

    monkeypatch.setattr(Toy, "decode", decode)
    ready: list[bool] = []
    heir = sim.alive[to].members[SHARD].shard
    wait(sim, lambda: heir.core.log.commit == active.shard.core.log.end)
    heir.prepare(lambda: ready.append(True))
    wait(sim, lambda: ready == [True])
    assert len(decoded) == 300
    monkeypatch.setattr(Toy, "decode", lambda toy, key, data: decode(toy, f"{key} ", data))
    decoded.clear()
    active.shard.handle(Add("k3", "later"))
    active.shard.handle(Add("new", "one"))
    assert active.shard.hand_over(to)
    after = successor(sim, active)
    assert set(decoded) == {"k3 ", "k7 ", "new "}
    records = after.shard.records
    assert records["k3"].done == ["op3", "later"]
    assert len(records) == 301


def test_what_was_decoded_for_a_hand_over_that_did_not_come_is_dropped() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "one"))
    commit(sim, active)
    standby = sim.alive[active.shard.core.successors()[0]].members[SHARD]
    ready: list[bool] = []
    standby.shard.prepare(lambda: ready.append(True))
    wait(sim, lambda: ready == [True])
    kept: Any = standby.shard
    assert kept._ahead is not None
    run(sim, AHEAD_KEPT_MS + 100)
    assert kept._ahead is None
    active.shard.prepare(lambda: ready.append(False))  # it leads: there is nothing to prepare
    assert ready == [True, False]


def test_who_hands_over_because_it_stops_does_not_stay() -> None:
    sim, active = world()
    active.shard.core.leave()
    assert active.shard.hand_over(active.shard.core.successors()[0])
    after = successor(sim, active)
    assert len(after.shard.state().in_sync) == 2


def test_who_went_on_before_the_successor_came_late_does_not_stay() -> None:
    sim, active = world()
    member = active.shard.core.member
    to = active.shard.core.successors()[0]
    sim.paused[to] = sim.now_ms + HAND_OVER_MS + 200
    others = [name for name in sim.names if name not in (to, active.node)]
    for name in others:  # nothing is committed meanwhile
        sim.network.cut(name, active.node)
        sim.network.cut(active.node, name)
    sim.store.away[active.node] = None
    assert active.shard.hand_over(to)
    wait(sim, lambda: active.shard.state().serving)
    active.shard.handle(Add("x", "went on"))
    sim.network.heal()  # the store stays away from it: it cannot drop whom it named
    after = successor(sim, active)
    sim.store.away.clear()
    wait(sim, lambda: len(after.shard.state().in_sync) == 3)
    assert active.shard.core.member != member


def test_a_hand_over_that_nobody_takes_is_called_off() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "one"))
    wait(sim, lambda: len(active.performed) == 1)
    to = active.shard.core.successors()[0]
    sim.store.away[to] = None
    assert active.shard.hand_over(to)
    wait(sim, lambda: active.shard.state().serving)
    assert active.shard.handle(Add("x", "two"))
    wait(sim, lambda: len(active.performed) == 2)


def test_an_active_that_slept_performs_nothing_it_cannot_be_sure_of() -> None:
    sim, active = world()
    for n in range(5):
        active.shard.handle(Add("x", f"op{n}"))
    run(sim, 2)  # the batch is on its way, its acknowledgements wait in our socket
    performed = len(active.performed)
    sim.paused[active.node] = sim.now_ms + 3_000
    after = successor(sim, active)
    wait(sim, lambda: active.node not in sim.paused, 5_000)
    run(sim, 300)
    assert len(active.performed) == performed
    assert after.shard.state().role == "active"
    wait(sim, lambda: active.shard.core.member in after.shard.state().in_sync)


def test_after_a_late_turn_no_effect_leaves_before_its_own_records_are_committed() -> None:
    sim, active = world()
    was_committed: list[bool] = []

    def perform(effect: Done) -> None:
        data = active.shard.core.log.records.get(effect.key)
        was_committed.append(data is not None and effect.op in Toy().decode("x", data).done)

    active.perform = perform  # type: ignore[method-assign]
    active.shard.handle(Add("x", "one"))  # the socket was read first...
    active.shard.woke_late(300)  # ...and then the turn that found the loop late
    wait(sim, lambda: len(was_committed) == 1)
    assert was_committed == [True]


def test_calls_go_on_while_the_store_is_away() -> None:
    sim, active = world()
    for node in sim.names:
        sim.store.away[node] = None
    for n in range(10):
        active.shard.handle(Add("x", f"op{n}"))
    wait(sim, lambda: len(active.performed) == 10, 300)


def test_with_the_store_away_a_lost_member_stops_acknowledgements_until_it_is_back() -> None:
    sim, active = world()
    standby = standbys(sim, active)[0]
    for node in sim.names:
        sim.store.away[node] = None
    sim.crash(standby.node, 60_000)
    active.shard.handle(Add("x", "one"))
    run(sim, 2_000)
    assert active.performed == []
    assert active.shard.commit_age_ms() > 1_000
    sim.store.away.clear()
    wait(sim, lambda: len(active.performed) == 1)


def test_each_event_has_random_bytes_of_its_own() -> None:
    _, active = world(nodes=1)
    tokens = [active.shard._step().token() for _ in range(100)]
    assert len(set(tokens)) == 100
    step = active.shard._step()
    assert len({step.token(4), step.token(4)}) == 2
    assert len(step.token(4)) == 8


def test_a_takeover_tells_why_it_came_and_how_long_each_step_took() -> None:
    sim, active = world()
    active.shard.handle(Add("x", "op1"))
    commit(sim, active)
    sim.switches.clear()
    sim.crash(active.node, 60_000)
    new = successor(sim, active)
    wait(sim, lambda: sim.switches != [])

    (switch,) = sim.switches
    assert (switch.old, switch.why, switch.records) == (active.node, "process gone", 1)
    assert switch.epoch == new.shard.core.epoch
    found = switch.document()
    moments = [found[f"{what}_ms"] for what in ("asked", "won", "moved", "serving", "first_effect")]
    assert moments == sorted(moments)  # type: ignore[type-var]  # all are numbers: op1 is re-driven
    assert found["first_effect_ms"] is not None


def test_a_hung_active_a_hand_over_and_a_first_start_are_told_apart() -> None:
    sim, active = world()
    assert [(switch.old, switch.why) for switch in sim.switches] == []
    wait(sim, lambda: sim.switches != [])
    assert [(switch.old, switch.why) for switch in sim.switches] == [("", "started")]
    assert sim.switches[0].first_effect_ms is None

    sim.switches.clear()
    to = active.shard.core.successors()[0]
    active.shard.hand_over(to)
    new = successor(sim, active)
    wait(sim, lambda: sim.switches != [])
    assert [(switch.old, switch.why) for switch in sim.switches] == [(active.node, "hand-over")]

    sim.switches.clear()
    sim.paused[new.node] = sim.now_ms + 2_000
    successor(sim, new)
    wait(sim, lambda: sim.switches != [])
    assert sim.switches[0].old == new.node
    assert sim.switches[0].why.startswith("silent for ")
