"""What every media server does, by real RTP. `Media` gives each command twice."""

import math
import struct
import wave
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from media_servers import verbs
from media_servers.verbs import Digit, PlayEnded, Refused, Session
from rtp import g711, packet, tone
from sip import sdp
from tests.media_servers.drivers import DEADLINE_MS, Media
from tests.media_servers.phones import Phone, phone

CALL = Session("call-1", "main", 1)


def talking(caller: Phone, agent: Phone) -> Session:
    """A caller and an agent who hear each other."""
    session = verbs.answer(CALL, "caller", caller.offer())
    session = verbs.offer(session, "agent")
    return verbs.connect(session, "caller", "agent", remote=agent.offer())


# --- answer, play, stop ---


async def test_a_caller_is_answered_at_an_even_port_with_his_codec_and_digits(media: Media) -> None:
    async with phone(law=g711.PCMA, event=96) as caller:
        applied = await media.apply(verbs.answer(CALL, "caller", caller.offer()))

        ours = sdp.audio(sdp.parse(applied.sdps["caller"]))
        assert ours is not None
        assert (ours.address, ours.port) == ("127.0.0.1", applied.ports["caller"])
        assert ours.port % 2 == 0
        assert [name for _, name, _ in ours.codecs] == ["PCMA"]
        assert ours.telephone_event == 96


async def test_a_prompt_is_heard_to_its_end_which_is_told_once(media: Media) -> None:
    async with phone() as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "welcome", loop=False, play=7)
        await media.dial(session, caller=caller)

        heard = await caller.more(70)
        await media.apply(session)  # again: neither started anew nor ended twice
        await media.until(lambda: bool(media.events))
        session = verbs.play(session, "caller", "music", loop=True, play=8)
        await media.apply(session)
        await caller.hears_music()

        assert media.events == [PlayEnded("call-1", 1, 7)]
        assert heard[0].marker
        assert caller.gaps() == []
        assert {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in pairwise(heard)} == {160}


async def test_a_phone_that_never_sends_hears_on_and_stays(media: Media) -> None:
    async with phone(talks=False) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.apply(verbs.play(session, "caller", "music", loop=True, play=1))

        await caller.more(100)

        assert await media.client.query("main", 1) == {"call-1": 2}


async def test_stop_is_silence(media: Media) -> None:
    async with phone(0) as caller, phone(1) as other:
        heard = await listening(media, other)
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        await media.dial(session, caller=caller)
        await caller.hears_music()

        await media.apply(verbs.stop(session, "caller"))
        await heard.more(3)
        before = len(caller.heard)
        await heard.more(10)

        assert len(caller.heard) == before


async def test_all_who_hear_a_loop_hear_the_same_place_of_it(media: Media) -> None:
    async with phone(0) as one, phone(1) as two:
        for name, who in (("a", one), ("b", two)):
            session = verbs.answer(Session(name, "main", 1), "caller", who.offer())
            await media.apply(verbs.play(session, "caller", "music", loop=True, play=1))
        await two.more(20)

        assert {got.payload for got in two.heard[5:15]} <= {got.payload for got in one.heard}


async def test_a_looped_sound_has_no_hole_where_it_begins_again(media: Media) -> None:
    write_wav(media.sounds / "blip.wav", 8000, [n // 160 * 4000 for n in range(800)])
    async with phone() as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.dial(verbs.play(session, "caller", "blip", loop=True, play=1), caller=caller)

        heard = await caller.more(25)  # five times around

        assert len({got.payload for got in heard}) == 5
        assert [got.payload for got in heard[:5]] * 5 == [got.payload for got in heard]


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (16_000, 1), (11_025, 1)])
async def test_a_sound_of_any_rate_is_heard_at_its_pitch(
    media: Media, rate: int, channels: int
) -> None:
    samples = [tone_sample(n, rate) for n in range(rate * 4) for _ in range(channels)]
    write_wav(media.sounds / "long.wav", rate, samples, channels)
    async with phone(law=g711.PCMA) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.dial(verbs.play(session, "caller", "long", loop=True, play=1), caller=caller)

        await caller.hears(1000.0)


async def test_a_sound_that_cannot_be_played_ends_at_once(media: Media) -> None:
    (media.sounds / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    async with phone() as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.apply(verbs.play(session, "caller", "broken", loop=False, play=3))

        await media.until(lambda: media.events == [PlayEnded("call-1", 1, 3)])


# --- connect, hold, resume, re-point ---


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


# --- agents come and go ---


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


# --- listening, mixing, recording ---


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


# --- digits ---


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


# --- order, epochs, refusals ---


async def test_what_was_overtaken_is_not_done_and_answered_with_what_is(media: Media) -> None:
    async with phone(0) as caller:
        old = verbs.answer(CALL, "caller", caller.offer())
        new = verbs.play(old, "caller", "music", loop=True, play=1)
        await media.dial(new, caller=caller)
        await caller.hears_music()

        assert (await media.client.apply(old, DEADLINE_MS)).counter == new.counter
        await caller.more(10)


async def test_an_older_epoch_is_refused_whatever_it_wants(media: Media) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        await media.dial(verbs.play(session, "caller", "music", loop=True, play=1), caller=caller)
        newer = replace(session, epoch=2)
        await media.client.query("main", 2)

        for command in (
            media.client.apply(session, DEADLINE_MS),
            media.client.delete("main", 1, "call-1"),
            media.client.query("main", 1),
        ):
            with pytest.raises(Refused) as refused:
                await command
            assert refused.value.reason == "old_epoch"
        await caller.more(5)  # and nothing was touched

        assert (await media.apply(newer)).counter == newer.counter
        assert await media.client.query("other", 1) == {}


async def test_a_refused_change_leaves_all_as_it_was(media: Media) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        before = await media.dial(session, caller=caller)
        bad = {
            "bad_sdp": verbs.answer(session, "x", "hello"),
            "not_acceptable": verbs.answer(
                session, "x", caller.offer().replace("PCMU", "G729").replace(" 0 ", " 18 ")
            ),
            "no_file": verbs.play(session, "caller", "../../etc/passwd", loop=False, play=9),
            "overload": verbs.mix(many_legs(session, caller)),
        }
        for reason, wanted in bad.items():
            with pytest.raises(Refused) as refused:
                await media.client.apply(wanted, DEADLINE_MS)
            assert refused.value.reason == reason

        await caller.hears_music()
        assert await media.apply(session) == before
        assert await media.client.query("main", 1) == {"call-1": session.counter}


async def test_a_taken_port_is_refused_and_given_once_it_is_free(media: Media) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        port = (await media.apply(session)).ports["caller"]
        wanted = verbs.answer(Session("call-2", "main", 1), "caller", caller.offer())
        (leg,) = wanted.legs
        wanted = replace(wanted, legs=(replace(leg, port=port),))

        with pytest.raises(Refused) as refused:
            await media.client.apply(wanted, DEADLINE_MS)
        assert refused.value.reason == "no_ports"
        await media.delete(session)

        assert (await media.apply(wanted)).ports == {"caller": port}


async def test_a_deleted_session_is_gone_with_its_port(media: Media) -> None:
    async with phone(0) as caller, phone(1) as other:
        clock = await listening(media, other)
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "music", loop=True, play=1)
        await media.dial(session, caller=caller)
        await caller.more(3)

        await media.delete(session)
        await clock.more(2)
        before = len(caller.heard)
        await clock.more(10)

        assert len(caller.heard) == before
        assert await media.client.query("main", 1) == {"clock": 2}


async def test_a_new_active_finds_every_session_of_its_shard(media: Media) -> None:
    for n in range(2_300):  # more than one slice
        await media.client.apply(Session(f"call-{n}", "many", 1, n), DEADLINE_MS)

    assert await media.client.query("many", 2) == {f"call-{n}": n for n in range(2_300)}


# --- restart ---


async def test_a_restarted_server_goes_on_at_the_recorded_ports(media: Media) -> None:
    async with phone(0) as caller, phone(1) as agent, phone(2) as waiting:
        session = talking(caller, agent)
        first = await media.dial(session, caller=caller, agent=agent)
        session = verbs.settled(session, first)
        queued = verbs.answer(Session("call-2", "main", 1), "caller", waiting.offer())
        queued = verbs.play(queued, "caller", "music", loop=True, play=4)
        queued = verbs.settled(queued, await media.dial(queued, caller=waiting))
        await caller.hears(1000.0)
        await waiting.hears_music()

        await media.kill()
        await media.restart()
        assert await media.client.query("main", 1) == {}
        second = await media.apply(session)
        await media.apply(queued)
        await caller.more(20)
        await caller.hears(1000.0)
        await agent.hears(400.0)
        await waiting.hears_music()

        assert second == first  # so no phone need be told
        assert caller.stream.missing == 0
        assert caller.stream.largest_gap_ms < 2_000


async def test_a_prompt_starts_again_on_a_restarted_server(media: Media) -> None:
    async with phone(0) as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "welcome", loop=False, play=7)
        session = verbs.settled(session, await media.dial(session, caller=caller))
        await media.until(lambda: bool(media.events))
        media.events.clear()

        await media.kill()
        await media.restart()
        await media.apply(replace(session, seen=1))
        await media.until(lambda: bool(media.events))

        assert media.events == [PlayEnded("call-1", 2, 7)]


# --- helpers ---


async def listening(media: Media, who: Phone) -> Phone:
    """A phone that hears music in a session of its own: its packets are a clock."""
    session = verbs.answer(Session("clock", "main", 1), "caller", who.offer())
    await media.dial(verbs.play(session, "caller", "music", loop=True, play=1), caller=who)
    await who.more(1)
    return who


def many_legs(session: Session, caller: Phone) -> Session:
    for n in range(verbs.MAX_LEGS):
        session = verbs.answer(session, f"leg-{n}", caller.offer())
    return session


def tone_sample(n: int, rate: int = 8000) -> int:
    """A tone of 1000 Hz."""
    return round(8000 * math.sin(2 * math.pi * 1000 * n / rate))


def write_wav(path: Path, rate: int, samples: list[int], channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def read_wav(media: Media, path: Path) -> tuple[list[int], list[int]]:
    """Both sides of a recording, once the server, told to stop, has written all of it."""
    media.process.terminate()
    assert media.process.wait(5) == 0
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        data = file.readframes(file.getnframes())
    samples = struct.unpack(f"<{len(data) // 2}h", data)
    return list(samples[0::2]), list(samples[1::2])


def loudest(samples: list[int]) -> float | None:
    assert len(samples) > 20 * packet.FRAME_SAMPLES
    return tone.dominant(samples[-10 * packet.FRAME_SAMPLES :], (400.0, 1000.0))
