"""Calls on the time slots of virtual gateways: which slot, whose phone rings, what faults do."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from gateway_mgmt.snmp import pdu
from gateway_mgmt.snmp.ber import NULL, oid_bytes
from gateway_mgmt.snmp.pdu import Pdu, Varbind
from loadtest import facts
from loadtest.gateway import SLOTS_IN_USE, Gateway, Template
from loadtest.gateway_calls import SLOTS, Fate, Figures, Turns
from loadtest.io.crowd import Crowd
from loadtest.io.gateway_calls import CallPlan, GatewayCalls
from loadtest.io.gateways import Gateways
from loadtest.options import Options, Span
from tests.gateway_mgmt.virtual import fault, plant, simulated
from tests.gateway_mgmt.watching import device, until, watched
from tests.loadtest.test_people_on_the_wire import pairs

NOW_S = 1_000_000.0


def made(count: int, spans: int = 2) -> list[Gateway]:
    template = Template(spans)
    return [Gateway(n, template, b"\x80\x00\x00\x00\x05gw", NOW_S) for n in range(1, count + 1)]


def in_use(gateway: Gateway, span: int) -> object:
    """As SNMP shows it."""
    asked = Varbind(oid_bytes(f"{SLOTS_IN_USE}.{span - 1}.0"), NULL, b"")
    encoded = gateway.answer(Pdu(pdu.GET, 1, varbinds=[asked]), NOW_S)
    return pdu.decode(encoded, 0, len(encoded)).varbinds[0].value


def test_calls_go_to_gateways_and_their_spans_in_turn() -> None:
    turns = Turns(made(2))
    taken = [str(turns.take()) for _ in range(6)]
    assert taken == ["1/1/1", "2/1/1", "1/2/1", "2/2/1", "1/1/2", "2/1/2"]


def test_a_line_carries_thirty_calls_and_none_on_its_d_channel() -> None:
    (gateway,) = made(1, spans=1)
    turns = Turns([gateway])
    taken = [turns.take() for _ in range(30)]
    assert [slot.slot for slot in taken if slot] == [*range(1, 16), *range(17, 32)] == list(SLOTS)
    assert in_use(gateway, 1) == 30
    assert turns.take() is None
    assert taken[3] is not None
    turns.free(taken[3])
    assert in_use(gateway, 1) == 29
    assert turns.take() == taken[3]


@pytest.mark.parametrize("what", ["los", "ais", "lof", "d_channel", "dead"])
def test_a_line_that_fails_gets_no_call_until_it_is_well(what: str) -> None:
    (gateway,) = made(1, spans=1)
    turns = Turns([gateway])

    def set_to(*, wrong: bool) -> None:
        match what:
            case "dead":
                gateway.is_dead = wrong
            case "d_channel":
                gateway.line(1, NOW_S).d_channel_up = not wrong
            case _:
                gateway.set_fault(1, what, is_on=wrong, now_s=NOW_S)

    set_to(wrong=True)
    assert turns.take() is None
    set_to(wrong=False)
    assert turns.take() is not None


def test_a_fault_that_leaves_the_signal_leaves_the_calls() -> None:
    (gateway,) = made(1, spans=1)
    gateway.set_fault(1, "rai", is_on=True, now_s=NOW_S)
    assert Turns([gateway]).take() is not None


def test_each_call_has_one_fate_and_people_read_them() -> None:
    figures = Figures(placed=5, answered=3, no_slot=2)
    for fate in (
        Fate("refused", "486"),
        Fate("given_up"),
        Fate("left"),
        Fate("dropped", "span 1/1 los"),
        Fate("dropped", "span 1/1 los"),
    ):
        figures.count(fate)
    assert figures.lines() == [
        "calls: 5 placed, 3 answered, 1 refused (486: 1), 1 given up while they rang; "
        "no slot free for 2",
        "ended: 0 by the gateways, 1 by the other side, 2 dropped (span 1/1 los: 2)",
    ]


@asynccontextmanager
async def calling(phones: int, **plan: object) -> AsyncGenerator[tuple[Crowd, Gateways], None]:
    """Two gateways of two spans; each call has a phone of its own, which answers."""
    given: Options = pairs(phones, calls=0, ring=Span(20, 40), talk=Span(600_000, 600_000))
    crowd = Crowd(given)
    crowd.start()
    calls = CallPlan(
        count=phones,
        to=("127.0.0.1", 9),
        numbers=given.numbers,
        per_minute=60_000,
        hold=Span(600_000, 600_000),
    )
    with simulated(2, spans=2, calls=calls, **plan) as gateways:
        try:
            yield crowd, gateways
        finally:
            crowd.close()
    assert not crowd.faults
    assert gateways.calls is not None
    assert not gateways.calls.faults


def calls_of(gateways: Gateways) -> GatewayCalls:
    assert gateways.calls is not None
    return gateways.calls


def who_heard_a_bye(crowd: Crowd) -> set[str]:
    return {fact.who for fact in crowd.log if isinstance(fact, facts.ByeReceived)}


def who_hears(crowd: Crowd) -> dict[str, str]:
    """Whose voice each phone hears."""
    return {fact.who: fact.what for fact in crowd.log if isinstance(fact, facts.Heard)}


def fates(figures: Figures) -> int:
    grouped = sum(figures.refused.values()) + sum(figures.dropped.values())
    return figures.given_up + figures.hung_up + figures.left + grouped


@pytest.mark.real
async def test_los_drops_the_calls_of_its_span_and_those_alone() -> None:
    async with calling(8) as (crowd, gateways):
        figures = calls_of(gateways).figures
        await until(lambda: len(who_hears(crowd)) == 8)
        assert figures.answered == 8
        assert [in_use(one, span) for one in gateways.gateways for span in (1, 2)] == [2, 2, 2, 2]
        fault(gateways, "span 1/1 LOS")
        await until(lambda: len(who_heard_a_bye(crowd)) == 2)
        assert who_heard_a_bye(crowd) == {"1001", "1005"}, "the first call and the fifth"
        assert {who_hears(crowd)[who] for who in ("1001", "1005")} == {"c0", "c4"}
        assert [in_use(one, 1) for one in gateways.gateways] == [0, 2]
        fault(gateways, "span 2/2 d_channel down")
        await until(lambda: len(who_heard_a_bye(crowd)) == 4)
        await calls_of(gateways).hang_up_all()
        assert len(who_heard_a_bye(crowd)) == 8
        assert figures.dropped == {"span 1/1 los": 2, "span 2/2 d_channel down": 2}
        assert (figures.hung_up, fates(figures)) == (4, figures.placed)


@pytest.mark.real
@pytest.mark.parametrize("what", ["dead", "reboot"])
async def test_a_gateway_that_dies_says_no_bye(what: str) -> None:
    async with calling(4) as (crowd, gateways):
        await until(lambda: len(who_hears(crowd)) == 4)
        fault(gateways, f"gateway 2 {what}")
        assert in_use(gateways.gateways[1], 1) == 0
        crowd.hang_up(4)  # all agents: whoever knows of no such call says 481, or nothing
        answers = [2, 2] if what == "reboot" else [2, 0]
        await until(lambda: answered_byes(crowd) == answers)
        await calls_of(gateways).hang_up_all()
        figures = calls_of(gateways).figures
        assert who_heard_a_bye(crowd) == set()
        assert figures.dropped == {f"gateway 2 {what}": 2}
        assert (figures.left, fates(figures)) == (2, figures.placed)


def answered_byes(crowd: Crowd) -> list[int]:
    """How many got 200, and how many 481."""
    told = [fact.status for fact in crowd.log if isinstance(fact, facts.ByeAnswered)]
    return [told.count(200), told.count(481)]


@pytest.mark.real
async def test_slots_in_use_are_polled_as_an_audiocodes_shows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    async with calling(5) as (crowd, gateways):
        await until(lambda: len(who_hears(crowd)) == 5)
        async with watched({"tg1": device(gateways, 1)}) as found:
            report = await found.of("tg1", lambda r: r.reading)
        assert report.reading is not None
        spans = report.reading.spans
        assert [spans[n].own["channels_in_use"] for n in (1, 2)] == [2, 1]


@pytest.mark.real
async def test_a_call_ends_after_its_time_and_frees_its_slot() -> None:
    given: Options = pairs(1, calls=0, ring=Span(20, 40), talk=Span(600_000, 600_000))
    crowd = Crowd(given)
    crowd.start()
    plan = CallPlan(
        count=3,
        to=("127.0.0.1", 9),
        numbers=given.numbers,
        per_minute=120,
        hold=Span(50, 100),
        rtp=False,
    )
    with simulated(1, spans=1, calls=plan) as gateways:
        figures = calls_of(gateways).figures
        await until(lambda: figures.hung_up == 3)
        assert (figures.placed, figures.answered) == (3, 3)
        assert in_use(gateways.gateways[0], 1) == 0
    crowd.close()
