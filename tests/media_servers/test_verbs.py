"""Verbs are values: what each wants, that it raises the counter, that a repeat wants the same."""

from collections.abc import Callable

import pytest

from media_servers import verbs
from media_servers.verbs import Applied, File, Leg, Party, Session, UnknownLeg

EMPTY = Session("c", "main", 1)
TWO = Session("c", "main", 1, 5, legs=(Leg("a", "sdp a"), Leg("b", "sdp b", version=3)))
MUSIC = File("music", loop=True, play=0)

VERBS: dict[str, tuple[Callable[[Session], Session], tuple[Leg, ...]]] = {
    "answer": (
        lambda s: verbs.answer(s, "c", "sdp c"),
        (Leg("a", "sdp a"), Leg("b", "sdp b", version=3), Leg("c", "sdp c")),
    ),
    "answer anew": (
        lambda s: verbs.answer(s, "b", "new"),
        (Leg("a", "sdp a"), Leg("b", "new", version=4)),
    ),
    "offer": (
        lambda s: verbs.offer(s, "c"),
        (Leg("a", "sdp a"), Leg("b", "sdp b", version=3), Leg("c", offers=True)),
    ),
    "offer anew": (
        lambda s: verbs.offer(s, "b"),
        (Leg("a", "sdp a"), Leg("b", "sdp b", offers=True, version=4)),
    ),
    "answered": (
        lambda s: verbs.answered(s, "b", "theirs"),
        (Leg("a", "sdp a"), Leg("b", "theirs", version=3)),
    ),
    "connect": (
        lambda s: verbs.connect(s, "a", "b"),
        (
            Leg("a", "sdp a", hears=(Party("b"),)),
            Leg("b", "sdp b", version=3, hears=(Party("a"),)),
        ),
    ),
    "connect with an answer": (
        lambda s: verbs.connect(s, "a", "b", remote="theirs"),
        (
            Leg("a", "sdp a", hears=(Party("b"),)),
            Leg("b", "theirs", version=3, hears=(Party("a"),)),
        ),
    ),
    "play": (
        lambda s: verbs.play(s, "a", "hi", loop=False, play=7),
        (Leg("a", "sdp a", hears=(File("hi", False, 7),)), Leg("b", "sdp b", version=3)),
    ),
    "stop": (lambda s: verbs.stop(s, "a"), TWO.legs),
    "hold": (
        lambda s: verbs.hold(s, "a", "music"),
        (Leg("a", "sdp a"), Leg("b", "sdp b", version=3, hears=(MUSIC,))),
    ),
    "repoint": (
        lambda s: verbs.repoint(s, "a", "new"),
        (Leg("a", "new", version=2), Leg("b", "sdp b", version=3)),
    ),
    "repoint to where it is": (lambda s: verbs.repoint(s, "a", "sdp a"), TWO.legs),
    "listen": (
        lambda s: verbs.listen(s, "a", "b"),
        (Leg("a", "sdp a", hears=(Party("b"),)), Leg("b", "sdp b", version=3)),
    ),
    "remove": (lambda s: verbs.remove(s, "a"), (Leg("b", "sdp b", version=3),)),
    "remove who is not there": (lambda s: verbs.remove(s, "x"), TWO.legs),
}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_wants_what_it_says_and_raises_the_counter_by_one(name: str) -> None:
    verb, legs = VERBS[name]

    after = verb(TWO)

    assert after.legs == legs
    assert after.counter == TWO.counter + 1


@pytest.mark.parametrize("name", sorted(set(VERBS) - {"offer anew", "answer anew"}))
def test_a_verb_repeated_wants_nothing_else(name: str) -> None:
    verb, legs = VERBS[name]

    assert verb(verb(TWO)).legs == legs


def test_a_first_offer_repeated_is_the_same_offer() -> None:
    once = verbs.offer(EMPTY, "a")

    assert verbs.offer(once, "a").legs == once.legs


def test_who_is_removed_is_heard_by_nobody() -> None:
    session = verbs.mix(verbs.answer(TWO, "c", "sdp c"), "a", "b", "c")

    assert [leg.hears for leg in verbs.remove(session, "b").legs] == [
        (Party("c"),),
        (Party("a"),),
    ]


def test_resume_lets_everyone_hear_everyone_else() -> None:
    held = verbs.hold(verbs.connect(TWO, "a", "b"), "a", "music")

    assert verbs.resume(held).legs == verbs.connect(TWO, "a", "b").legs


def test_recording_is_named_and_ended() -> None:
    recording = verbs.record(TWO, "c.wav")

    assert recording.record == "c.wav"
    assert verbs.record(recording, "").record == ""


def test_ports_are_taken_over_without_wanting_anything_new() -> None:
    settled = verbs.settled(TWO, Applied("c", 5, {}, {"a": 30_000, "b": 30_002}))

    assert [leg.port for leg in settled.legs] == [30_000, 30_002]
    assert settled.counter == TWO.counter


@pytest.mark.parametrize(
    "verb",
    [
        lambda: verbs.play(EMPTY, "a", "hi", loop=False, play=1),
        lambda: verbs.connect(TWO, "a", "x"),
        lambda: verbs.repoint(TWO, "x", "sdp"),
        lambda: verbs.mix(TWO, "a", "x"),
    ],
)
def test_a_verb_about_a_leg_that_is_not_there_is_an_error(verb: Callable[[], Session]) -> None:
    with pytest.raises(UnknownLeg):
        verb()
