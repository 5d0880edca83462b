"""What the sweep found, each as the story of one call; and that it finds what is planted."""

from dataclasses import replace
from typing import Any

import pytest

from calls import inputs, signalling
from calls.records import Leg
from cluster.machine import Step
from loadtest import facts
from sip.message import Message, parse
from tests.calls.node import Watched
from tests.calls.people import SHARD
from tests.calls.phones import Caller, Phone
from tests.calls.stories import CROSSINGS, STORIES, recorded
from tests.calls.sweep import Plan, Sweep
from tests.calls.world import HOLD, SDP, World, centre


def before_commit(name: str, what: str, nth: int = 1) -> Plan:
    """The node dies when it has decided on the nth step of this kind."""
    steps = recorded(name).steps
    return Plan(dies=(("step", [n for n, step in enumerate(steps, 1) if step == what][nth - 1]),))


def instead_of(name: str, what: str, nth: int = 1) -> Plan:
    """The node dies when it should perform the nth effect of this kind."""
    effects = recorded(name).effects
    at = [n for n, effect in enumerate(effects, 1) if effect == what][nth - 1]
    return Plan(dies=(("effect", at),))


def media_dies(name: str, what: str, nth: int = 1, *, other_ports: bool = False) -> Plan:
    (_, step), *_ = before_commit(name, what, nth).dies
    return Plan(media_dies=step, other_ports=other_ports)


def of_ours(world: Sweep, method: str) -> list[Message]:
    """Requests that the shard sent."""
    messages = [parse(datagram) for datagram, source, _ in world.sent if source == SHARD]
    return [msg for msg in messages if msg.method == method]


def well(name: str, plan: Plan) -> Sweep:
    world = STORIES[name].played(plan)
    assert STORIES[name].faults(world) == []
    return world


# Dying nodes.


def test_a_key_by_info_counts_once_though_its_200_died_with_the_node() -> None:
    name = "talk, hold from both sides, keys"
    well(name, instead_of(name, "Respond 200 INFO"))


def test_an_agent_who_declined_is_not_rung_again_by_the_next_node() -> None:
    """His 486 was acknowledged before it was committed: he rang again, with the same branch."""
    name = "declined, another takes it"
    world = well(name, before_commit(name, "Responded 486 INVITE"))
    assert len(world.people[0].saw(facts.Offered)) == 1


def test_an_agent_is_free_at_once_though_the_487_came_to_a_node_that_died() -> None:
    name = "not answered, another takes it"
    world = well(name, before_commit(name, "Responded 487 INVITE"))
    assert "agent/1001" in world.records


def test_a_cancelled_call_gets_its_487_from_the_next_node() -> None:
    name = "it rings, and he cancels"
    well(name, instead_of(name, "Respond 487 INVITE"))


def test_a_caller_hears_ringing_from_the_next_node() -> None:
    name = "it rings, and he is answered"
    well(name, instead_of(name, "Respond 180 INVITE"))


def test_a_refused_re_invite_gets_its_answer_from_the_next_node() -> None:
    name = "a hold that the media server refuses"
    well(name, instead_of(name, "Respond 488 INVITE"))


def test_a_phone_that_was_to_be_cancelled_does_not_ring_for_ever() -> None:
    """CANCEL waited for a 180 that came to a dead node; the INVITE was not repeated for it."""
    for ms in range(-3, 3):
        story = CROSSINGS["he leaves as a phone is called"](ms)
        world = story.played()
        for n in range(1, len(world.effects) + 1):
            assert not story.faults(story.played(Plan(dies=(("effect", n),))), loosely=True)


# Datagrams.


def test_a_fork_that_repeats_its_200_is_hung_up_once() -> None:
    """Each repeat of a second phone's 200 made another dialog, with another BYE."""
    name = "two phones answer one INVITE"
    sent = recorded(name).sent
    acks = [
        n
        for n, (datagram, source, _) in enumerate(sent, 1)
        if source == SHARD and datagram.startswith(b"ACK")
    ]
    for ack in acks:
        world = well(name, Plan(loses=frozenset({ack})))
        assert len({msg.branch for msg in of_ours(world, "BYE")}) == 2


def test_a_200_is_repeated_no_more_once_the_dialog_is_over() -> None:
    name = "the caller leaves in the prompt"
    ack = next(n for n, sent in enumerate(recorded(name).sent, 1) if sent[0].startswith(b"ACK"))
    world = well(name, Plan(loses=frozenset({ack})))
    answers = [sent[0] for sent in world.sent if sent[0].startswith(b"SIP/2.0 200")]
    assert len([answer for answer in answers if b"INVITE\r\n" in answer]) == 1


def test_a_re_invite_that_is_open_when_the_other_hangs_up_is_answered() -> None:
    story = [CROSSINGS["he hangs up as the agent holds"](ms) for ms in range(-4, 5)]
    answers = []
    for one in story:
        world = one.played()
        assert one.faults(world) == []
        answers += [sent[0][:11] for sent in world.sent if b"CSeq: 1 INVITE" in sent[0]]
    assert b"SIP/2.0 487" in answers


# The media server.


def test_he_still_holds_when_his_resume_was_refused() -> None:
    """The re-INVITE was refused while the media server was away, and he was held no more."""
    name = "talk, hold from both sides, keys"
    story = STORIES[name]
    world = story.played(media_dies(name, "Requested INVITE", 3))
    assert story.faults(world) == []
    assert world.audits


def test_a_refused_hold_brings_no_re_invite_of_ours() -> None:
    world = recorded("a hold that the media server refuses")
    assert not [msg for msg in of_ours(world, "INVITE") if msg.to_tag]


@pytest.mark.parametrize("other_ports", [False, True])
def test_an_agent_who_picks_up_while_the_media_server_restarts_is_not_hung_up(
    other_ports: bool,
) -> None:
    name = "the agent hangs up"
    world = well(name, media_dies(name, "Responded 200 INVITE", other_ports=other_ports))
    assert len(world.people[0].saw(facts.Offered)) == 1


@pytest.mark.parametrize("what", ["Requested ACK", "Responded 180 INVITE", "Timer leg"])
def test_whoever_was_told_a_port_that_is_lost_is_told_the_new_one(what: str) -> None:
    """Also a phone that rings with the old port in the offer it was sent."""
    name = "talk, hold from both sides, keys"
    assert well(name, media_dies(name, what, other_ports=True)).audits


def test_a_caller_whose_ack_is_still_to_come_is_told_the_new_port_after_it() -> None:
    name = "talk, hold from both sides, keys"
    ack = next(n for n, sent in enumerate(recorded(name).sent, 1) if sent[0].startswith(b"ACK"))
    lost = media_dies(name, "MediaApplied", other_ports=True)
    world = STORIES[name].played(replace(lost, loses=frozenset({ack})))
    assert STORIES[name].faults(world, loosely=True) == []
    assert world.audits
    assert next(msg.to_tag for msg in of_ours(world, "INVITE"))


def test_a_caller_who_hears_ringing_is_answered_with_the_port_that_is_there() -> None:
    name = "it rings, and he is answered"
    world = well(name, media_dies(name, "MediaApplied", other_ports=True))
    assert not world.facts("refused")


def world_with(agents: int = 1) -> tuple[World, Phone]:
    world = World(centre(agents))
    phone = Phone(world)
    world.on_message = phone.hear
    return world, phone


def test_a_caller_whose_answer_in_the_ack_is_useless_costs_no_agent_his_state() -> None:
    """Each agent in turn was blamed for the caller's SDP, and made not ready."""
    world, phone = world_with()
    caller = Caller(world, body="")
    caller.invite()
    world.run(10)
    caller.ack(SDP.replace("s=-", "s=BAD"))
    world.run(10_000)
    (ended,) = world.facts("ended")
    assert ended["cause"] == "media bad_sdp"
    assert world.requests("BYE")
    assert world.agent().state == "ready"
    assert not phone.invites


def talking() -> tuple[World, Phone, Caller]:
    world, phone = world_with()
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    assert world.facts("answered")
    return world, phone, caller


def test_a_refusal_that_was_overtaken_changes_nothing() -> None:
    world, _, _ = talking()
    (session,) = world.media.values()
    before = dict(world.committed)
    world.post(inputs.MediaRefused(session.id, session.counter - 1, "no_ports"))
    assert world.committed == before


def lose_ports(world: World) -> None:
    """The media server answers that the ports are gone; the next time it gives others."""
    (session,) = world.media.values()
    world.first_port += 1_000
    world.post(inputs.MediaRefused(session.id, session.counter, "no_ports"))


def test_a_re_invite_that_is_refused_for_now_goes_again() -> None:
    world, phone, _ = talking()
    phone.refuses = [500, 491]
    lose_ports(world)
    world.run(15_000)
    again = [msg for msg in phone.invites if msg.to_tag]
    assert len({msg.cseq for msg in again}) == 3
    (session,) = world.media.values()
    assert all(leg.offers for leg in session.legs)  # what we say does not hang on what he says
    assert not phone.byes


def test_a_phone_that_refuses_every_re_invite_is_hung_up_in_the_end() -> None:
    world, phone, _ = talking()
    phone.refuses = [491] * 1_000
    lose_ports(world)
    world.run(60_000)
    tried = {msg.cseq for msg in phone.invites if msg.to_tag}
    assert len(tried) == signalling.REINVITE_TRIES + 1
    assert phone.byes
    assert world.facts("ended")[0]["cause"] == "reinvite_refused"


def test_an_agent_hears_music_while_a_caller_holds_who_held_before_he_was_served() -> None:
    world, phone = world_with()
    phone.status = 180
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    caller.request("INVITE", HOLD)
    world.run(20)
    caller.ack()
    phone.pick_up()
    world.run(50)
    (session,) = world.media.values()
    callers, agents = (leg.hears for leg in session.legs)
    assert callers == ()
    assert [getattr(source, "name", "") for source in agents] == ["music.wav"]


# Trust in the sweep.


class ForgetsLegs(Watched):
    def redrive(self, tx: Step, key: str) -> None:
        if not key.startswith("leg/"):
            super().redrive(tx, key)


class ForgetsFacts(Watched):
    def redrive(self, tx: Step, key: str) -> None:
        if not key.startswith("outbox/"):
            super().redrive(tx, key)


class ForgetsMedia(Watched):
    def step(self, tx: Step, event: Any) -> None:
        if not isinstance(event, inputs.MediaSessions):
            super().step(tx, event)


class AsksAnew(Watched):
    """Repeats its INVITE with another branch."""

    def redrive(self, tx: Step, key: str) -> None:
        leg = tx.get(key)
        if isinstance(leg, Leg) and leg.outgoing is not None:
            tx.edit(key).outgoing.branch += "x"
        super().redrive(tx, key)


class DoesNotSay(Watched):
    """Changes a record and does not say so."""

    def step(self, tx: Step, event: Any) -> None:
        super().step(tx, event)
        agent = tx.get("agent/1001")
        if isinstance(event, inputs.PlayEnded | inputs.Requested) and agent is not None:
            agent.reason += "!"


@pytest.mark.parametrize("bug", [ForgetsLegs, ForgetsFacts, ForgetsMedia, AsksAnew, DoesNotSay])
def test_the_sweep_finds_a_planted_bug(bug: type[Watched]) -> None:
    name = "the caller leaves while a phone rings"
    story, world = STORIES[name], recorded(name)
    plans = [Plan(dies=(("effect", n),)) for n in range(1, len(world.effects) + 1)]
    assert any(story.faults(story.played(plan, bug)) for plan in plans)
