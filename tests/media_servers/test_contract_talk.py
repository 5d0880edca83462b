"""What every media server does, by real RTP, with two and more who talk."""

import pytest
from msgspec.structs import replace

from media_servers import verbs
from media_servers.verbs import Digit, Session
from rtp import g711
from sip import sdp
from tests.media_servers.calls import (
    CALL,
    listening,
    loudest,
    read_wav,
    talking,
    tone_sample,
    write_wav,
)
from tests.media_servers.drivers import Media
from tests.media_servers.phones import phone


async def test_the_connected_hear_each_other_across_two_laws(media: Media) -> None:
    async with phone(0) as caller, phone(1, law=g711.PCMA) as agent:
        await media.dial(talking(caller, agent), caller=caller, agent=agent)

        await caller.hears(1000.0)
        await agent.hears(400.0)

        assert {got.payload_type for got in caller.heard} == {0}
        assert {got.payload_type for got in agent.heard} == {8}
        assert caller.gaps() == agent.gaps() == []


async def test_a_packet_lost_before_us_is_a_gap_behind_us(media: Media) -> None:
    async with phone(0, talks=False) as caller, phone(1, talks=False) as agent:
        await media.dial(talking(caller, agent), caller=caller, agent=agent)

        for n in (1, 2, 3, 6, 7):
            agent.seq = 100 + n
            agent.send(bytes(160), 0)
        await caller.until(lambda: len(caller.heard) == 5)

        assert caller.gaps() == [3]
        assert caller.stream.missing == 2


async def test_who_is_held_hears_music_and_who_holds_hears_nothing(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent, phone(2) as other:
        clock = await listening(media, other)
        session = talking(caller, agent)
        await media.dial(session, caller=caller, agent=agent)
        await caller.hears(1000.0)

        session = verbs.hold(session, "agent", "music")
        await media.apply(session)
        await caller.hears_music()
        await clock.more(3)
        silent_since = len(agent.heard)
        await clock.more(10)
        assert len(agent.heard) == silent_since
        assert caller.tones() == set()

        await media.apply(verbs.resume(session))
        await caller.hears(1000.0)
        await agent.hears(400.0)
        assert caller.gaps() == agent.gaps() == []


@pytest.mark.parametrize(
    ("direction", "address", "mirrored"),
    [
        ("sendonly", "", "recvonly"),
        ("inactive", "", "inactive"),
        ("sendrecv", "0.0.0.0", "recvonly"),
    ],
)
async def test_a_phone_that_holds_is_not_sent_to_until_it_takes_back(
    media: Media, direction: str, address: str, mirrored: str
) -> None:
    async with phone(0) as caller, phone(1) as agent, phone(2) as other:
        clock = await listening(media, other)
        session = talking(caller, agent)
        first = await media.dial(session, caller=caller, agent=agent)
        await agent.hears(400.0)

        session = verbs.repoint(
            session, "agent", agent.offer(direction=direction, address=address, version=2)
        )
        held = await media.apply(session)
        ours = sdp.audio(sdp.parse(held.sdps["agent"]))
        assert ours is not None
        assert ours.direction == mirrored
        assert held.ports == first.ports
        assert held.sdps["caller"] == first.sdps["caller"]
        await clock.more(3)
        silent_since, heard_since = len(agent.heard), len(caller.heard)
        await clock.more(10)
        assert len(agent.heard) == silent_since
        assert (len(caller.heard) - heard_since > 5) == (direction != "inactive")

        session = verbs.repoint(session, "agent", agent.offer(version=3))
        await media.apply(session)
        await agent.hears(400.0)
        await caller.hears(1000.0)
        assert caller.gaps() == agent.gaps() == []


async def test_nothing_is_taken_from_a_phone_that_only_wants_to_hear(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent:
        session = talking(caller, agent)
        session = verbs.repoint(session, "caller", caller.offer(direction="recvonly", version=2))
        await media.dial(session, caller=caller, agent=agent)

        await caller.hears(1000.0)

        assert agent.heard == []


async def test_a_phone_that_moves_is_followed_and_its_old_place_is_not(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent, phone(1) as moved:
        session = talking(caller, agent)
        first = await media.dial(session, caller=caller, agent=agent)
        await caller.hears(1000.0)
        await agent.hears(400.0)

        session = verbs.repoint(session, "agent", moved.offer(version=2))
        second = await media.apply(session)
        moved.to = ("127.0.0.1", second.ports["agent"])
        await moved.hears(400.0)  # although the old place still sends
        await caller.hears(1000.0)

        assert second.ports == first.ports
        assert f" {2} IN IP4" in second.sdps["agent"].splitlines()[1]
        assert caller.gaps() == []


async def test_the_same_offer_again_is_answered_byte_for_byte(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent:
        session = talking(caller, agent)
        first = await media.apply(session)

        again = await media.apply(verbs.repoint(session, "caller", caller.offer()))

        assert again.sdps == first.sdps


async def test_audio_goes_to_where_it_came_from_as_behind_a_nat(media: Media) -> None:
    async with phone(0) as caller, phone(3, talks=False) as named:
        session = verbs.answer(CALL, "caller", named.offer())  # a place that is not the caller's
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        await media.dial(session, caller=caller)

        await caller.hears_music()

        assert caller.sources[-1] == caller.to


async def test_the_next_agent_takes_over_on_the_same_port_and_no_packet_is_missed(
    media: Media,
) -> None:
    async with phone(0) as caller, phone(1) as first, phone(2) as second:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        applied = await media.dial(session, caller=caller)
        await caller.hears_music()
        for name, agent in (("agent-1", first), ("agent-2", second)):
            session = verbs.offer(session, name)
            offered = await media.apply(session)
            assert "telephone-event" in offered.sdps[name]
            session = verbs.connect(session, "caller", name, remote=agent.offer())
            agent.to = ("127.0.0.1", (await media.apply(session)).ports[name])
            await caller.hears(agent.frequency)
            await agent.hears(400.0)
            session = verbs.play(session, "caller", "music", loop=True, play=2)
            session = verbs.remove(session, name)
            applied = await media.apply(session)
            await caller.hears_music()

        assert set(applied.ports) == {"caller"}
        assert set(caller.sources) == {caller.to}
        assert len({got.ssrc for got in caller.heard}) == 1
        assert caller.gaps() == []


async def test_music_goes_on_while_an_agent_is_offered(media: Media) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        await media.dial(session, caller=caller)
        await caller.more(5)

        await media.apply(verbs.offer(session, "agent"))
        await caller.more(10)

        assert caller.gaps() == []
        assert not any(got.marker for got in caller.heard[1:])


async def test_a_supervisor_hears_both_and_is_heard_by_neither(media: Media) -> None:
    async with phone(0) as caller, phone(1, law=g711.PCMA) as agent, phone(2) as supervisor:
        session = talking(caller, agent)
        session = verbs.answer(session, "supervisor", supervisor.offer())
        session = verbs.listen(session, "supervisor", "caller", "agent")
        await media.dial(session, caller=caller, agent=agent, supervisor=supervisor)

        await supervisor.hears(400.0, 1000.0)
        await caller.hears(1000.0)
        await agent.hears(400.0)
        assert supervisor.gaps() == []


async def test_three_who_confer_hear_each_the_other_two(media: Media) -> None:
    async with phone(0) as a, phone(1) as b, phone(2, law=g711.PCMA) as c:
        session = CALL
        for name, who in (("a", a), ("b", b), ("c", c)):
            session = verbs.answer(session, name, who.offer())
        await media.dial(verbs.mix(session, "a", "b", "c"), a=a, b=b, c=c)

        await a.hears(1000.0, 1500.0)
        await b.hears(400.0, 1500.0)
        await c.hears(400.0, 1000.0)


async def test_a_recording_has_the_caller_left_and_what_he_heard_right(media: Media) -> None:
    async with phone(0) as caller, phone(1, law=g711.PCMA) as agent:
        session = verbs.record(talking(caller, agent), "call-1")
        await media.dial(session, caller=caller, agent=agent)
        await caller.hears(1000.0)
        await caller.more(20)
        await media.delete(session)

    left, right = read_wav(media, media.recordings / "call-1.wav")
    assert loudest(left) == 400.0
    assert loudest(right) == 1000.0


async def test_a_recording_goes_on_after_a_restart(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent:
        session = verbs.record(talking(caller, agent), "call-1")
        session = verbs.settled(session, await media.dial(session, caller=caller, agent=agent))
        await caller.more(75)
        await media.kill()
        await media.restart()
        await media.apply(session)
        await caller.more(75)

    left, right = read_wav(media, media.recordings / "call-1.wav")
    assert len(left) > 8_000 * 2  # a second at most is lost with the killed one
    assert loudest(left) == 400.0
    assert loudest(right) == 1000.0


async def test_a_sound_that_is_taken_away_goes_on_for_who_hears_it(media: Media) -> None:
    write_wav(media.sounds / "own.wav", 8000, [tone_sample(n) for n in range(8000)])
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "own", loop=True, play=1)
        await media.dial(session, caller=caller)
        await caller.hears(1000.0)

        (media.sounds / "own.wav").unlink()
        await media.apply(verbs.offer(session, "agent"))
        await caller.hears(1000.0)


async def test_a_sound_that_is_changed_is_heard_by_the_next(media: Media) -> None:
    write_wav(media.sounds / "own.wav", 8000, [tone_sample(n) for n in range(8000)])
    async with phone(0) as one, phone(0) as two:
        for caller, name in ((one, "a"), (two, "b")):
            session = verbs.answer(Session(name, "main", 1), "caller", caller.offer())
            session = verbs.play(session, "caller", "own", loop=True, play=1)
            await media.dial(session, caller=caller)
            await caller.more(5)
            write_wav(media.sounds / "own.wav", 8000, [tone_sample(2 * n) for n in range(8000)])

        await two.hears(2000.0)
        await one.hears(1000.0)


async def test_a_digit_is_told_once_and_goes_to_the_other_with_his_type(media: Media) -> None:
    async with phone(0, event=96) as caller, phone(1, event=110) as agent:
        await media.dial(talking(caller, agent), caller=caller, agent=agent)
        await agent.hears(400.0)

        for digit in "5#":
            await caller.press(digit)
        await media.until(lambda: len(media.events) == 2)

        assert media.events == [
            Digit("call-1", 1, "caller", "5"),
            Digit("call-1", 2, "caller", "#"),
        ]
        events = [got for got in agent.heard if got.payload_type == 110]
        assert {got.payload[0] for got in events} == {5, 11}
        assert agent.gaps() == []


async def test_a_phone_without_digits_is_sent_none_and_misses_none(media: Media) -> None:
    async with phone(0) as caller, phone(1, event=None) as agent:
        await media.dial(talking(caller, agent), caller=caller, agent=agent)
        await agent.hears(400.0)

        await caller.press("1")
        await media.until(lambda: bool(media.events))
        await agent.hears(400.0)

        assert {got.payload_type for got in agent.heard} == {0}
        assert agent.gaps() == []


async def test_events_come_again_to_who_asks_again_until_they_are_acknowledged(
    media: Media,
) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.dial(session, caller=caller)
        for digit in "12":
            await caller.press(digit)
        await media.until(lambda: len(media.events) == 2)
        media.events.clear()

        media.client.watch("main", 2)
        await media.until(lambda: len(media.events) == 2)
        assert [event.n for event in media.events] == [1, 2]
        media.events.clear()

        await media.apply(replace(session, epoch=2, seen=1))
        media.client.watch("main", 3)
        await media.until(lambda: bool(media.events))
        assert [event.n for event in media.events] == [2]
