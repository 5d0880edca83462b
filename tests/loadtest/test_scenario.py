"""Options as they are written, and the people they mean."""

from random import Random

import msgspec
import pytest

from loadtest import options, scenario
from loadtest.options import AgentAddress, BadOption, Options, Span
from loadtest.scenario import LONG_RING_MS, Mix, ringing, talking, waiting


def test_agents_are_written_one_by_one_or_as_a_range() -> None:
    assert options.agents("1001@127.0.0.1:7001, 20@127.0.0.2") == (
        AgentAddress("1001", ("127.0.0.1", 7_001)),
        AgentAddress("20", ("127.0.0.2", 5_060)),
    )
    assert options.agents("0098-0101@127.0.0.1:7001+") == tuple(
        AgentAddress(name, ("127.0.0.1", 7_001 + n))
        for n, name in enumerate(["0098", "0099", "0100", "0101"])
    )


@pytest.mark.parametrize(
    "text",
    [
        "1001",
        "1001-1002@127.0.0.1:7001",
        "1002-1001@127.0.0.1:7001+",
        "a-b@127.0.0.1:7001+",
        "1-9999999@127.0.0.1:7001+",
        "1-9@127.0.0.1:65530+",
        "1@127.0.0.1:7001,1@127.0.0.1:7002",
        "1@127.0.0.1:7001,2@127.0.0.1:7001",
        "1@host:7001",
        "1@127.0.0.1:0",
    ],
)
def test_a_bad_list_of_agents_says_what_is_bad(text: str) -> None:
    with pytest.raises(BadOption, match="1"):
        options.agents(text)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("5", 5_000, 5_000),
        ("3-8", 3_000, 8_000),
        ("0.5", 500, 500),
        ("200-900ms", 200, 900),
        ("2s", 2_000, 2_000),
    ],
)
def test_times_are_written_in_seconds_or_milliseconds(text: str, low: int, high: int) -> None:
    assert options.span(text) == Span(low, high)


@pytest.mark.parametrize("text", ["", "x", "8-3", "1.2.3", "-5", "5m"])
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        options.span(text)


MANY = Options(
    numbers=("4001", "4002"),
    calls=50,
    rate=20,
    agents=options.agents("1001-1010@127.0.0.1:7001+"),
    decline_rate=0.2,
    ignore_rate=0.1,
    hold_rate=0.3,
    offerless_rate=0.2,
)


def test_the_same_seed_gives_the_same_people_and_another_one_others() -> None:
    people = [scenario.people(MANY, Random(seed)) for seed in (7, 7, 8)]
    assert people[0] == people[1]
    assert people[0] != people[2]


def test_callers_come_at_the_rate_and_dial_the_numbers_in_turn() -> None:
    callers = scenario.people(MANY, Random(1)).callers
    assert [c.starts_ms for c in callers[:4]] == [0, 50, 100, 150]
    assert [c.number for c in callers[:4]] == ["4001", "4002", "4001", "4002"]


def test_rates_are_met_by_and_large() -> None:
    agents = scenario.people(MANY, Random(1)).agents
    offers = [offer for agent in agents for offer in agent.offers]
    assert 0.15 < sum(offer.decline > 0 for offer in offers) / len(offers) < 0.25
    assert 0.07 < sum(offer.ignores for offer in offers) / len(offers) < 0.13
    assert {offer.decline for offer in offers} == {0, 486, 603, 480}


def test_the_last_agents_may_be_absent_and_those_before_busy() -> None:
    given = msgspec.structs.replace(MANY, absent=2, busy=3)
    agents = scenario.people(given, Random(1)).agents
    assert [a.reachable for a in agents] == [True] * 8 + [False] * 2
    assert [a.busy for a in agents] == [False] * 5 + [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": ()},
        {"rate": 0.0},
        {"hangup": "nobody"},
        {"scenario": "talking=3"},
        {"scenario": "sleeping=3"},
        {"scenario": "talking"},
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadOption):
        scenario.people(msgspec.structs.replace(MANY, **change), Random(1))


def test_a_mix_is_a_sum_of_people_and_can_be_written() -> None:
    wanted = waiting(100) + talking(100) + ringing(20)
    assert wanted == Mix(100, 100, 20) == scenario.mix("talking=100,ringing=20,waiting=100")
    assert (wanted.agents, wanted.callers) == (120, 220)
    assert scenario.mix(str(wanted + Mix(held=3))) == Mix(100, 100, 20, 3)


def test_a_mix_has_as_many_long_holds_as_shall_be_held_and_none_of_them_rings_long() -> None:
    where = options.agents("1-9@127.0.0.1:7001+")
    text = str(Mix(talking=4, ringing=2, held=3))
    made = scenario.people(msgspec.structs.replace(MANY, scenario=text, agents=where), Random(1))
    first = [agent.offers[0] for agent in made.agents]
    held = [offer for offer in first if offer.held_ms == scenario.LONG_HOLD_MS]
    assert len(held) == 3
    assert all(offer.hold_ms == scenario.HOLD_AFTER_MS for offer in held)
    assert not any(offer.ring_ms == LONG_RING_MS for offer in held)


@pytest.mark.parametrize(("talk", "ring"), [(100, 20), (4, 2), (1, 1), (3, 0), (0, 3), (5, 4)])
def test_a_mix_has_as_many_long_ringers_as_shall_ring_and_all_wait_for_the_release(
    talk: int, ring: int
) -> None:
    text = f"talking={talk},ringing={ring},waiting=2"
    where = options.agents(f"1-{talk + ring}@127.0.0.1:7001+")
    made = scenario.people(msgspec.structs.replace(MANY, scenario=text, agents=where), Random(1))
    long = [n for n, agent in enumerate(made.agents) if agent.offers[0].ring_ms == LONG_RING_MS]
    assert len(long) == ring
    assert all(offer.waits_for_release for agent in made.agents for offer in agent.offers)
    assert all(agent.offers[0].decline == 0 for agent in made.agents)
    assert len(made.callers) == talk + ring + 2
    late = made.callers[talk + ring].starts_ms - made.callers[talk + ring - 1].starts_ms
    assert late >= scenario.SETTLE_MS


def test_long_ringers_are_shared_fairly_by_two_shards_however_agents_are_dealt() -> None:
    where = options.agents("1-120@127.0.0.1:7001+")
    made = scenario.people(
        msgspec.structs.replace(MANY, scenario="talking=100,ringing=20", agents=where), Random(1)
    )
    long = [agent.offers[0].ring_ms == LONG_RING_MS for agent in made.agents]
    assert sum(long[0::2]) == sum(long[1::2]) == 10
    assert sum(long[:60]) == sum(long[60:]) == 10
