"""The crash sweep: nodes die at every point of recorded calls, datagrams are lost and doubled, the
media server restarts; and every call ends well, as the phones saw it.
"""

from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest

from loadtest import facts
from sip.message import parse
from tests.calls.people import SHARD, Moment
from tests.calls.stories import (
    CROSSINGS,
    STORIES,
    Story,
    a_call,
    centre,
    hold,
    recorded,
    resume,
)
from tests.calls.sweep import Plan, Sweep

SEED = 20
PAIRS = 20
"""Of two nodes that die one after another, in each story."""
OFFSETS_MS = range(-5, 6)


def expect(story: Story, plans: Iterable[Plan], *, loosely: bool = False) -> int:
    """All runs end well; how many there were."""
    runs = 0
    for plan in plans:
        world = story.played(plan)
        found = story.faults(world, loosely=loosely)
        assert not found, (plan, found[:4])
        runs += 1
    return runs


def points(world: Sweep) -> list[tuple[str, int]]:
    """Before the commit of each step, between commit and effects, after each effect."""
    steps = [("step", n) for n in range(1, len(world.steps) + 1)]
    return steps + [("effect", n) for n in range(1, len(world.effects) + 1)]


by_story = pytest.mark.parametrize("name", STORIES)


@by_story
def test_undisturbed_it_ends_as_told(name: str) -> None:
    story, world = STORIES[name], recorded(name)
    assert story.faults(world) == []
    assert world.all_steps > 5


@by_story
def test_a_node_may_die_at_any_point(name: str) -> None:
    plans = (Plan(dies=(point,)) for point in points(recorded(name)))
    assert expect(STORIES[name], plans) > 8


@by_story
def test_nodes_may_die_one_after_another(name: str) -> None:
    draw = Random(f"{SEED} {name}")
    first = points(recorded(name))

    def deaths() -> tuple[tuple[str, int], ...]:
        again = [(draw.choice(("step", "effect")), draw.randrange(1, 12)) for _ in range(2)]
        return (draw.choice(first), *again)

    expect(STORIES[name], (Plan(dies=deaths()) for _ in range(PAIRS)), loosely=True)


@by_story
def test_any_datagram_may_be_lost(name: str) -> None:
    sent = len(recorded(name).sent)
    expect(STORIES[name], (Plan(loses=frozenset({n})) for n in range(1, sent + 1)))


@by_story
def test_any_datagram_may_come_twice(name: str) -> None:
    sent = len(recorded(name).sent)
    once = (Plan(doubles={n: ms}) for n in range(1, sent + 1) for ms in (0, 700))
    expect(STORIES[name], once)
    expect(STORIES[name], (Plan(doubles={0: ms}) for ms in (0, 1, 3, 40, 700, 4_000)))


@by_story
def test_any_ack_may_be_lost_with_the_node_that_should_repeat_what_it_answers(name: str) -> None:
    """The ACK is lost, or its 200's repeat, and the node dies some moments later."""
    world = recorded(name)
    acks = [n for n, sent in enumerate(world.sent, 1) if parse(sent[0]).method == "ACK"]
    draw = Random(f"{SEED} {name}")
    deaths = points(world)
    plans = (
        Plan(loses=frozenset({ack}), dies=(draw.choice(deaths),)) for ack in acks for _ in range(4)
    )
    expect(STORIES[name], plans, loosely=True)


@by_story
def test_a_repeat_may_reach_the_next_node(name: str) -> None:
    """Every datagram comes again after a takeover, which its transaction did not survive."""
    draw = Random(f"{SEED} {name}")
    deaths = points(recorded(name))
    plans = (Plan(dies=(draw.choice(deaths),), doubles={0: ms}) for ms in (70, 200, 900))
    expect(STORIES[name], plans, loosely=True)


@pytest.mark.parametrize("name", CROSSINGS)
def test_what_happens_at_the_same_time_ends_well(name: str) -> None:
    for ms in OFFSETS_MS:
        story = CROSSINGS[name](ms)
        found = story.faults(story.played())
        assert not found, (ms, found)


@pytest.mark.parametrize("name", CROSSINGS)
def test_a_node_may_die_while_things_cross(name: str) -> None:
    for ms in (-2, 0, 2):
        story = CROSSINGS[name](ms)
        plans = (Plan(dies=(point,)) for point in points(story.played()))
        expect(story, plans, loosely=True)


def served(world: Sweep) -> bool:
    """Did the media server answer for every call?"""
    return all(fact["outcome"] != "refused" for fact in world.facts("ended"))


@pytest.mark.parametrize("other_ports", [False, True])
@by_story
def test_the_media_server_may_restart_at_any_step(name: str, other_ports: bool) -> None:
    """Calls that it had go on; only one that comes meanwhile is refused."""
    story, world = STORIES[name], recorded(name)
    invited = world.steps.index("Requested INVITE") + 1
    looked = 0
    for step in range(invited, world.all_steps + 1):
        plan = Plan(media_dies=step, other_ports=other_ports)
        played = story.played(plan)
        is_new = world.steps[step - 1] == "Requested INVITE" or not served(played)
        found = story.faults(played, loosely=is_new or len(story.callers) > 1)
        assert not found, (plan, found[:4])
        looked += played.audits
    assert looked or not recorded(name).audits


@pytest.mark.parametrize("who", [0, 1])
def test_a_re_invite_may_cross_ours(who: int) -> None:
    """The ports are lost, so both phones are re-INVITEd; just then one of them holds."""
    story = Story(centre(), (a_call(talk_ms=30_000),))
    world = story.played()
    plan = Plan(media_dies=world.steps.index("Responded 200 INVITE") + 3, other_ports=True)
    moved = story.played(plan)
    target = moved.people[who].address
    again_ms = next(
        ms
        for ms, (datagram, _, to) in zip(moved.sent_ms, moved.sent, strict=True)
        if to == target and datagram.startswith(b"INVITE") and parse(datagram).to_tag
    )
    confirmed_ms = moved.people[0].saw(facts.Confirmed)[0].ms
    refused_by: set[bool] = set()
    for ms in range(-8, 9):
        moments: tuple[Moment, ...] = (
            (facts.Answered, again_ms + ms - moved.people[who].saw(facts.Answered)[0].ms, hold),
            (facts.Answered, again_ms + 12_000 - confirmed_ms, resume),
        )
        if who == 0:
            crossing = replace(story, agent_moments=moments)
        else:
            crossing = replace(story, caller_moments=moments)
        crossed = crossing.played(plan)
        found = crossing.faults(crossed)
        assert not found, (ms, found)
        assert crossed.audits
        held = [getattr(fact, "hold", None) for fact in crossed.people[who].saw(facts.Held)]
        assert held[-1] is False  # he does not hold while he awaits the ACK to ours
        refused_by |= {
            source == SHARD
            for datagram, source, _ in crossed.sent
            if datagram.startswith(b"SIP/2.0 491")
        }
    assert refused_by == {True, False}


def test_the_active_and_the_media_server_may_die_together() -> None:
    for name in ("talk, hold from both sides, keys", "three callers, one agent"):
        world = recorded(name)
        for step in range(5, len(world.steps) + 1, 2):
            for other_ports in (False, True):
                plan = Plan(dies=(("step", step),), media_dies=step - 1, other_ports=other_ports)
                played = STORIES[name].played(plan)
                found = STORIES[name].faults(played, loosely=True)
                assert not found, (plan, found[:4])
