"""A message that makes a step raise ends one call; the node, and every other call, go on."""

from typing import Any

import pytest

from cluster.machine import Step
from tests.calls.node import Watched
from tests.calls.people import SHARD
from tests.calls.stories import STORIES, Story, recorded
from tests.calls.sweep import Plan, Sweep

TWO_CALLS = "two calls at once"
by_story = pytest.mark.parametrize("name", STORIES)


def survived(story: Story, world: Sweep) -> list[str]:
    """What is wrong apart from the planted fault: it ended one call, and that well."""
    undone, world.undone = world.undone, []
    found = story.faults(world, loosely=True)
    found += [what for what in undone if not what.startswith("step undone: ")]
    found += [what for what in undone if "Planted" not in what]
    hit = {fact["call"] for fact in world.facts("bug")}
    found += [] if hit else ["no fact tells of the bug"]
    for fact in world.facts("ended"):
        if fact["call"] in hit and fact["cause"] not in ("bug", "bye", "cancel", "gone", "no_ack"):
            found.append(f"the call it hit ended as {fact['outcome']} ({fact['cause']})")
        if fact["call"] not in hit and fact["outcome"] not in (*story.outcomes, "abandoned"):
            found.append(f"a call it did not hit ended as {fact['outcome']} ({fact['cause']})")
    return found


@by_story
def test_any_step_may_raise_when_it_has_done_its_work(name: str) -> None:
    story, world = STORIES[name], recorded(name)
    for n, what in enumerate(world.steps, 1):
        if what in ("Configure", "Drained"):
            continue  # of no call
        played = story.played(Plan(raises_at=n))
        assert len(played.undone) == 1
        found = survived(story, played)
        assert not found, (n, what, found[:4])


@by_story
def test_any_message_may_be_poison_whenever_it_comes(name: str) -> None:
    story, world = STORIES[name], recorded(name)
    for n, (_, _, target) in enumerate(world.sent, 1):
        if target == SHARD:
            played = story.played(Plan(poisons=n))
            if not played.undone:
                continue  # the ACK to a refusal never gets so far
            found = survived(story, played)
            assert not found, (n, world.sent[n - 1][0][:60], found[:4])


@pytest.mark.parametrize("kind", ["leg", "call", "agent"])
@by_story
def test_a_record_may_be_poison_to_the_node_that_takes_over(name: str, kind: str) -> None:
    story, world = STORIES[name], recorded(name)
    raised = 0
    for n in range(2, len(world.steps) + 1):
        played = story.played(Plan(dies=(("step", n),), poisons_redrive=kind))
        if played.undone:
            raised += 1
            found = survived(story, played)
            assert not found, (n, world.steps[n - 1], found[:4])
    assert raised or (kind == "call" and not story.outcomes)


@pytest.mark.parametrize("kind", ["leg", "call", "agent", "settings"])
@by_story
def test_a_record_that_cannot_be_read_ends_one_call_and_not_node_after_node(
    name: str, kind: str
) -> None:
    story, world = STORIES[name], recorded(name)
    spoilt = 0
    for n in range(2, len(world.steps) + 1):
        played = story.played(Plan(dies=(("step", n),), spoils=kind))
        if not played.spoilt:
            continue
        spoilt += 1
        found = [what for what in played.undone if "Planted" not in what]
        found += [repr(fault) for fault in played.faults]
        found += [key for key in played.records if key.startswith("call/")]
        ended = {fact["call"]: fact["cause"] for fact in played.facts("ended")}
        refused = {fact["call"] for fact in played.facts("refused")}
        if len(ended.keys() | refused) < len(played.facts("received")):
            found.append(f"calls without an end: {ended}")
        if list(ended.values()).count("bug") > 1:
            found.append(f"more than one call was hit: {ended}")
        assert not found, (n, world.steps[n - 1], played.spoilt, found[:4])
    assert spoilt or (kind == "call" and not story.outcomes)


def test_a_poisoned_message_of_one_call_does_not_touch_the_other() -> None:
    story, world = STORIES[TWO_CALLS], recorded(TWO_CALLS)
    hits = 0
    for n, (datagram, _, target) in enumerate(world.sent, 1):
        if target != SHARD or b"call-0" not in datagram:
            continue
        played = story.played(Plan(poisons=n))
        by_caller = {fact["caller"]: fact for fact in played.facts("ended")}
        assert by_caller["c1"]["outcome"] == "answered"
        assert by_caller["c1"]["cause"] == "bye"
        assert played.facts("bug")
        hits += "c0" in by_caller and by_caller["c0"]["cause"] == "bug"
    assert hits >= 2


def test_a_new_call_whose_invite_is_poison_is_refused_and_counted() -> None:
    story = STORIES["the agent hangs up"]
    world = story.played(Plan(poisons=1))
    ledger = world.records["ledger"]
    assert (ledger.received, ledger.refused) == (1, 1)
    assert b"SIP/2.0 500" in b"".join(sent[0][:12] for sent in world.sent)


class Worse(Watched):
    """Raises where a bug is dealt with, too."""

    def poisoned(self, tx: Step, event: Any, error: BaseException) -> None:
        raise RuntimeError("and another one")


def test_a_step_that_raises_once_more_in_its_own_handling_drops_the_event_and_no_more() -> None:
    story = STORIES[TWO_CALLS]
    rings = recorded(TWO_CALLS).steps.index("Responded 180 INVITE") + 1
    world = story.played(Plan(raises_at=rings), Worse)
    assert [what.split(":")[0] for what in world.undone] == ["step undone", "event dropped"]
    assert world.faults == []
    assert all(fact["outcome"] == "answered" for fact in world.facts("ended"))
