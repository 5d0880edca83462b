"""What every media server does, by real RTP: sounds, order, refusals, restarts."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from media_servers import verbs
from media_servers.verbs import PlayEnded, Refused, Session
from rtp import g711
from sip import sdp
from tests.media_servers.calls import CALL, listening, many_legs, talking, tone_sample, write_wav
from tests.media_servers.drivers import DEADLINE_MS, Media
from tests.media_servers.phones import phone


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


async def test_what_follows_a_prompt_waits_for_nobody(media: Media) -> None:
    async with phone() as caller:
        session = verbs.answer(CALL, "caller", caller.offer())
        session = verbs.play(session, "caller", "welcome", loop=False, play=7, then="music")
        await media.dial(session, caller=caller)

        await caller.hears_music()
        assert media.events == [PlayEnded("call-1", 1, 7)]
        session = verbs.play(session, "caller", "music", loop=True, play=8)
        await media.apply(session)
        heard = await caller.more(100)

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
