"""A caller and an agent's phone, face to face in virtual time: what each does, and logs."""

import pytest

from loadtest import facts
from loadtest.agent import Agent, AgentPlan, OfferPlan
from loadtest.caller import Caller, CallerPlan
from loadtest.effects import HangUp, Release
from loadtest.verdict import judge
from sip import dialog as dialogs
from sip.message import parse
from tests.loadtest.virtual import AGENT, CALLER, World

TAKES = AgentPlan("1001", (OfferPlan(ring_ms=300, talk_ms=2_000, hangs_up=True),))
WAITS = AgentPlan("1001", (OfferPlan(ring_ms=300),))
IGNORES = AgentPlan("1001", (OfferPlan(ignores=True),))
CALLS = CallerPlan("1001", talk_ms=1_000)

TALK_OF_CALLER = [
    "Invited",
    "Ringing 180",
    "Answered",
    "Heard",
    "ByeSent",
    "ByeAnswered 200",
    "Over",
]


def methods(world: World) -> list[str]:
    """What went over the wire: methods and statuses."""
    return [m.method or f"{m.status} {m.cseq_method}" for m in map(parse, world.sent)]


def test_a_caller_talks_and_hangs_up() -> None:
    world = World(CALLS, WAITS).run(3_000)
    assert world.facts("c0") == TALK_OF_CALLER
    assert world.facts("1001") == [
        "Joined",
        "Offered",
        "Ringing 180",
        "Answered",
        "Heard",
        "Confirmed",
        "ByeReceived",
        "Over",
    ]
    assert judge(world.log).ok


def test_an_agent_talks_and_hangs_up() -> None:
    world = World(CallerPlan("1001", hangs_up=False), TAKES).run(4_000)
    assert world.facts("c0")[-3:] == ["Heard", "ByeReceived", "Over"]
    assert world.facts("1001")[-3:] == ["ByeSent", "ByeAnswered 200", "Over"]


def test_a_caller_gives_up_an_unanswered_call_by_cancel() -> None:
    world = World(CallerPlan("1001", patience_ms=1_000), IGNORES).run(2_000)
    assert world.facts("c0") == [
        "Invited",
        "Ringing 180",
        "GaveUp",
        "Cancelled",
        "Refused 487",
        "Over",
    ]
    assert world.facts("1001")[-2:] == ["Cancelled", "Over"]
    assert judge(world.log).ok


def test_a_cancel_waits_for_a_provisional_answer() -> None:
    lost = [True]
    world = World(
        CallerPlan("1001", patience_ms=700),
        IGNORES,
        lost=lambda datagram: lost[0] and datagram.startswith(b"SIP/2.0 180"),
    ).run(1_200)
    assert "CANCEL" not in methods(world)
    lost[0] = False
    world.run(4_000)
    assert world.facts("c0")[-3:] == ["Cancelled", "Refused 487", "Over"]


def test_a_cancel_that_crosses_the_answer_becomes_a_bye() -> None:
    world = World(
        CallerPlan("1001", patience_ms=1_000),
        WAITS,
        lost=lambda datagram: b" 200 OK" in datagram and world.now_ms < 2_100,
    )
    world.run(3_000)
    assert world.facts("c0") == [
        "Invited",
        "Ringing 180",
        "GaveUp",
        "Cancelled",
        "Answered",
        "ByeSent",
        "ByeAnswered 200",
        "Over",
    ]
    assert world.facts("1001")[-2:] == ["ByeReceived", "Over"]


@pytest.mark.parametrize("status", [480, 486, 603])
def test_an_agent_declines(status: int) -> None:
    world = World(CALLS, AgentPlan("1001", (OfferPlan(decline=status),))).run(1_000)
    assert world.facts("c0")[-2:] == [f"Refused {status}", "Over"]
    assert world.facts("1001")[-2:] == [f"Declined {status}", "Over"]


def test_a_busy_agent_is_busy() -> None:
    world = World(CALLS, AgentPlan("1001", busy=True)).run(100)
    assert world.facts("c0") == ["Invited", "Refused 486", "Over"]


def test_nobody_there_is_no_answer() -> None:
    world = World(CALLS).run(33_000)
    assert world.facts("c0") == ["Invited", "Refused 408", "Over"]
    assert [loss.reason for loss in judge(world.log).lost] == ["no_answer"]


def test_an_invite_without_sdp_gets_its_answer_in_the_ack() -> None:
    world = World(CallerPlan("1001", talk_ms=500, offerless=True), WAITS).run(2_000)
    assert world.facts("c0") == TALK_OF_CALLER
    bodies = {m.method: bool(m.body) for m in map(parse, world.sent)}
    assert (bodies["INVITE"], bodies["ACK"]) == (False, True)
    assert world.agent is not None
    assert world.agent.speaks[-1].remote == ("127.0.0.1", 6002)


@pytest.mark.parametrize("caller_holds", [True, False])
def test_whoever_holds_neither_sends_nor_listens_until_he_takes_back(caller_holds: bool) -> None:
    hold_ms = (500, None) if caller_holds else (None, 500)
    offer = OfferPlan(ring_ms=300, hold_ms=hold_ms[1], held_ms=1_000)
    world = World(
        CallerPlan("1001", talk_ms=4_000, hold_ms=hold_ms[0], held_ms=1_000),
        AgentPlan("1001", (offer,)),
    ).run(6_000)
    holder, other = (world.caller, world.agent) if caller_holds else (world.agent, world.caller)
    assert holder is not None
    assert other is not None
    assert [(s.sends, s.listens) for s in holder.speaks] == [
        (True, True),
        (False, False),
        (True, True),
    ]
    assert [(s.sends, s.listens) for s in other.speaks] == [
        (True, True),
        (False, True),
        (True, True),
    ]
    held = [f for f in world.log if isinstance(f, facts.Held)]
    assert [(f.hold, f.status) for f in held] == [(True, 200), (False, 200)]


def test_two_holds_at_once_get_491_and_try_again() -> None:
    agent = AgentPlan("1001", (OfferPlan(ring_ms=300, hold_ms=500, held_ms=8_000),))
    caller = CallerPlan("1001", talk_ms=7_000, hold_ms=500, held_ms=9_000)
    world = World(caller, agent).run(10_000)
    held = [f for f in world.log if isinstance(f, facts.Held)]
    assert "491 INVITE" in methods(world)
    assert sorted((f.who, f.status) for f in held) == [("1001", 200), ("c0", 200)]
    assert world.facts("c0")[-1] == "Over"


def test_digits_are_pressed_after_the_answer() -> None:
    world = World(CallerPlan("1001", digits="42#"), WAITS).run(1_500)
    assert world.caller is not None
    assert world.caller.pressed == "42#"


def test_a_second_call_to_a_busy_phone_is_a_double_offer() -> None:
    world = World(CALLS, WAITS).run(100)
    world.send(_invite("other"), CALLER, AGENT)
    world.run(3_000)
    (double,) = [f for f in world.log if isinstance(f, facts.DoubleOffer)]
    assert (double.call, double.busy, double.state) == ("other", "call-0", "ringing")
    assert [d.reason for d in judge(world.log).doubled] == ["second_offer"]


def test_the_same_invite_repeated_is_no_second_one() -> None:
    world = World(CALLS, WAITS).run(100)
    world.send(next(d for d in world.sent if d.startswith(b"INVITE")), CALLER, AGENT)
    world.run(3_000)
    assert len([f for f in world.log if isinstance(f, facts.Offered)]) == 1
    assert judge(world.log).ok


def test_a_phone_that_has_hung_up_is_free_before_its_bye_is_answered() -> None:
    world = World(
        CallerPlan("1001", hangs_up=False), TAKES, lost=lambda datagram: datagram[:3] == b"BYE"
    ).run(2_500)
    assert world.facts("1001")[-1] == "ByeSent"
    world.send(_invite("other"), CALLER, AGENT)
    world.run(2_600)
    assert world.facts("1001")[-2:] == ["Offered", "Ringing 180"]
    assert world.agent is not None
    assert isinstance(world.agent.human, Agent)
    assert world.agent.human.state == "ringing"


def test_a_bye_that_nobody_answers_is_given_up_and_the_call_lost() -> None:
    world = World(CALLS, WAITS, lost=lambda datagram: datagram[:3] == b"BYE").run(40_000)
    assert world.facts("c0")[-2:] == ["ByeAnswered 408", "Over"]
    assert "bye_unanswered" in {loss.reason for loss in judge(world.log).lost}


def test_byes_that_cross_are_both_answered() -> None:
    world = World(CallerPlan("1001", talk_ms=60_000), WAITS).run(2_000)
    assert world.caller is not None
    assert world.agent is not None
    world.caller.step(HangUp())
    world.agent.step(HangUp())
    world.run(2_500)
    assert world.facts("c0")[-3:] == ["ByeReceived", "ByeAnswered 200", "Over"]
    assert world.facts("1001")[-3:] == ["ByeReceived", "ByeAnswered 200", "Over"]
    assert judge(world.log).ok


def test_an_answer_that_is_never_acknowledged_ends_the_call_after_32_seconds() -> None:
    world = World(
        CallerPlan("1001", talk_ms=100_000), WAITS, lost=lambda datagram: datagram[:3] == b"ACK"
    ).run(40_000)
    assert world.facts("1001")[-4:] == ["Odd", "ByeSent", "ByeAnswered 200", "Over"]
    assert [loss.reason for loss in judge(world.log).lost] == ["no_ack"]


def test_a_lost_ack_is_sent_again_for_the_repeated_answer() -> None:
    lost = [1]

    def first_ack(datagram: bytes) -> bool:
        if datagram[:3] == b"ACK" and lost:
            lost.pop()
            return True
        return False

    world = World(CallerPlan("1001", talk_ms=3_000), WAITS, lost=first_ack).run(6_000)
    assert methods(world).count("ACK") == 2
    assert judge(world.log).ok


def test_talkers_who_wait_for_it_go_on_until_released() -> None:
    caller = CallerPlan("1001", talk_ms=500, waits_for_release=True)
    world = World(caller, WAITS).run(20_000)
    assert world.facts("c0")[-1] == "Heard"
    world.everybody(Release())
    world.run(21_000)
    assert world.facts("c0")[-1] == "Over"


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("INFO", 200), ("INVITE", 200), ("UPDATE", 200), ("REFER", 501)],
)
def test_a_phone_answers_what_comes_in_the_dialog(method: str, status: int) -> None:
    world = World(CallerPlan("1001", talk_ms=60_000), WAITS).run(1_000)
    assert world.caller is not None
    assert isinstance(world.caller.human, Caller)
    leg = world.caller.human.leg
    datagram = dialogs.request(
        leg.dialog, method, cseq=7, branch="z9hG4bKx", sent_by="127.0.0.1:6001"
    )
    world.send(datagram, CALLER, AGENT)
    world.run(1_020)
    assert f"{status} {method}" in methods(world)


def test_a_request_of_an_unknown_call_gets_481() -> None:
    world = World(CALLS, WAITS).run(100)
    bye = next(d for d in World(CALLS, WAITS).run(3_000).sent if d[:3] == b"BYE")
    world.send(bye.replace(b"call-0", b"nobody"), CALLER, AGENT)
    world.run(200)
    assert "481 BYE" in methods(world)


def test_a_second_200_of_a_fork_is_acknowledged_and_hung_up() -> None:
    world = World(CallerPlan("1001", talk_ms=60_000), WAITS).run(1_000)
    ok = next(d for d in world.sent if d.startswith(b"SIP/2.0 200"))
    world.send(ok.replace(b"ffff00001a", b"other"), AGENT, CALLER)
    world.run(1_020)
    assert methods(world)[-3:] == ["ACK", "BYE", "481 BYE"]
    assert world.facts("c0")[-1] == "Odd"


def test_without_audio_the_answer_is_taken_for_the_agent() -> None:
    world = World(CALLS, WAITS, audio=False).run(3_000)
    assert world.facts("c0") == [name for name in TALK_OF_CALLER if name != "Heard"]
    assert judge(world.log).ok


def _invite(call: str) -> bytes:
    uri = "sip:1001@127.0.0.1:7001"
    dialog = dialogs.outgoing(call, "tag", "sip:x@127.0.0.1:6001", uri, uri)
    return dialogs.request(
        dialog,
        "INVITE",
        cseq=1,
        branch=f"z9hG4bK{call}",
        sent_by="127.0.0.1:6001",
        contact="sip:x@127.0.0.1:6001",
    )
