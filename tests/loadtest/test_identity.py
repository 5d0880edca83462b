"""Voices: any single frame tells who speaks."""

import pytest

from loadtest import identity
from loadtest.identity import Ears
from rtp import g711, tone


def test_no_two_people_sound_alike() -> None:
    callers = [identity.tones(identity.caller(n)) for n in range(identity.CALLERS_MAX)]
    agents = [identity.tones(identity.agent(n)) for n in range(identity.AGENTS_MAX)]
    assert len({*callers, *agents}) == identity.CALLERS_MAX + identity.AGENTS_MAX


@pytest.mark.parametrize("law", identity.LAWS)
@pytest.mark.parametrize("number", [0, 1, 17, 101, 1_023, 4_095])
def test_a_frame_tells_who_speaks_even_cut_elsewhere_and_transcoded(number: int, law: int) -> None:
    for voice in (identity.caller(number), identity.agent(number)):
        frame = identity.frame(voice, law)
        other = g711.PCMA if law == g711.PCMU else g711.PCMU
        assert identity.guess(frame[57:] + frame[:57], law) == voice.name
        assert identity.guess(frame.translate(g711.INTO[other]), other) == voice.name


def test_known_people_are_recognised_without_measuring() -> None:
    ears = Ears()
    ears.add(identity.caller(17))
    frame = identity.frame(identity.caller(17), g711.PCMU)
    there = frame.translate(g711.INTO[g711.PCMA])
    back = there.translate(g711.INTO[g711.PCMU])
    assert [ears.known[payload] for payload in (frame, there, back)] == ["c17"] * 3
    assert ears.guesses == 0


@pytest.mark.parametrize(
    ("hz", "what"),
    [
        (600.0, "prompt"),
        (750.0, "prompt"),
        (523.25, "music"),
        (659.25, "music"),
        (783.99, "music"),
    ],
)
def test_prompt_and_music_are_told_from_people(hz: float, what: str) -> None:
    for start in (0, 40, 111):
        payload = g711.encode(tone.sine(hz, 160, level=0.1, start=start), g711.PCMU)
        assert identity.guess(payload, g711.PCMU) == what


def test_silence_and_two_people_at_once_are_no_voice() -> None:
    assert identity.guess(bytes([g711.SILENCE[0]]) * 160, g711.PCMU) == "silence"
    both = zip(
        *(
            g711.decode(identity.frame(voice, g711.PCMU), g711.PCMU)
            for voice in (identity.caller(3), identity.agent(9))
        ),
        strict=True,
    )
    assert identity.guess(g711.encode(map(sum, both), g711.PCMU), g711.PCMU) == "several"


def test_guesses_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "CACHE_MAX", 4)
    ears = Ears()
    ears.add(identity.agent(1))
    known = len(ears.known)
    for n in range(9):
        ears.guess(g711.encode(tone.sine(600, 160, start=n), g711.PCMU), g711.PCMU)
    assert known < len(ears.known) <= known + 4
