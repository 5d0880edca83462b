"""The crash sweep on virtual time: another node goes on after any step of a call."""

import pytest

from calls.view import ledger
from tests.calls.phones import Caller, Phone
from tests.calls.world import HOLD, SDP, World, centre


class Dead(Exception):
    """The node died between the commit of a step and its effects."""


def story(world: World, phone: Phone, caller: Caller, *, abandon: bool) -> None:
    """One call with hold, or one that is abandoned while the phone rings."""
    for act in (
        caller.invite,
        lambda: world.run(600),
        lambda: caller.ack() if caller.final() else None,
        lambda: world.run(4_000),
    ):
        act()
    if abandon:
        caller.bye()
    else:
        phone.status = 200
        if phone.invites and phone.invites[-1].call_id not in phone.in_call:
            phone.pick_up()
        world.run(500)
        if phone.in_call:
            phone.request("INVITE", HOLD)
            world.run(50)
            phone.request("ACK")
            phone.request("INVITE", SDP)
            world.run(50)
            phone.request("ACK")
        caller.bye()
    world.run(500)
    if caller.final() is None:  # timer E
        caller.cseq -= 1
        caller.bye()
    world.run(100_000)


def played(*, die_at: int, abandon: bool) -> tuple[World, Phone, Caller]:
    world = World(centre(wrap_up_ms=1_000))
    phone = Phone(world)
    phone.status = 180
    world.on_message = phone.hear
    caller = Caller(world)
    died = False

    def after_commit(step: int) -> None:
        nonlocal died
        if step == die_at and not died:
            died = True
            raise Dead

    world.after_commit = after_commit
    post = world.post

    def post_or_takeover(event: object) -> None:
        try:
            post(event)
        except Dead:
            world.takeover()

    world.post = post_or_takeover  # type: ignore[method-assign]
    story(world, phone, caller, abandon=abandon)
    return world, phone, caller


STEPS = {abandon: played(die_at=-1, abandon=abandon)[0].steps for abandon in (False, True)}


@pytest.mark.parametrize("abandon", [False, True])
def test_a_node_may_die_after_the_commit_of_any_step(abandon: bool) -> None:
    assert STEPS[abandon] > 10
    for step in range(2, STEPS[abandon] + 1):
        world, phone, caller = played(die_at=step, abandon=abandon)
        ended = world.facts("ended")
        assert len(ended) == 1, (step, ended)
        assert world.agent().state == "ready", (step, world.agent())
        assert not phone.in_call, step
        assert len({msg.branch for msg in phone.invites}) <= 1, step
        final = caller.final()
        assert final is not None, step
        assert final.status in (200, 487), (step, final)
        assert ledger(world.records)["unaccounted"] == 0, step
        assert not [key for key in world.records if key.startswith(("call/", "leg/"))], step
        assert not world.media, step
