"""The sounds that are committed are those that the arithmetic gives, and sound as promised."""

from pathlib import Path

import pytest

import media_servers.embedded
from media_servers.embedded import chimes, sound
from rtp import g711, tone

FOLDER = Path(media_servers.embedded.__file__).parent / "sounds"
SOUNDS = {
    "welcome.wav": (chimes.welcome, chimes.WELCOME, 1.5),
    "music.wav": (chimes.music, chimes.MUSIC, 7.2),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_is_what_its_arithmetic_gives(name: str) -> None:
    made, notes, seconds = SOUNDS[name]
    wav = (FOLDER / name).read_bytes()

    assert wav == made()
    frames = sound.encoded(wav)[g711.PCMU]
    assert len(frames) == round(seconds * 50)
    for frame in frames:
        assert tone.dominant(g711.decode(frame, g711.PCMU), notes) is not None


def test_the_sounds_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000
