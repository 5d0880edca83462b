"""WAV files of every usual kind become G.711, and all others are refused."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_servers.embedded import sound
from media_servers.embedded.mix import QUIET
from media_servers.embedded.sound import BadSound
from rtp import g711, tone
from rtp.g711 import PCMA, PCMU


def riff(
    rate: int, channels: int, bits: int, data: bytes, *, kind: int = 1, pad: bool = False
) -> bytes:
    layout = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0" if pad else b""
    chunks = extra + b"fmt " + struct.pack("<I", 16) + layout
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def whole(value: float, width: int) -> bytes:
    return round(value).to_bytes(width, "little", signed=True)


def wave(rate: int, frequency: float, seconds: float = 0.5) -> list[float]:
    count = int(rate * seconds)
    return [0.5 * math.sin(2 * math.pi * frequency * n / rate) for n in range(count)]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_keeps_the_pitch_and_the_level(rate: int) -> None:
    data = struct.pack(f"<{rate // 2}h", *(round(32_767 * v) for v in wave(rate, 1000)))

    samples = sound.resampled(*sound.linear(riff(rate, 1, 16, data)))

    assert len(samples) == pytest.approx(4_000, abs=1)
    assert tone.power(samples[400:3600], 1000) > 0.99
    assert max(samples[400:3600]) == pytest.approx(16_384, rel=0.02)


def test_what_lies_above_half_the_rate_does_not_come_back_as_whistling() -> None:
    samples = sound.resampled([round(16_384 * v / 0.5) for v in wave(44_100, 7_000)], 44_100)

    assert max(map(abs, samples[400:3600])) < 200


@pytest.mark.parametrize(
    ("kind", "bits", "data"),
    [
        (1, 8, bytes(round(128 + 127 * v) for v in wave(8000, 1000))),
        (1, 24, b"".join(whole(8e6 * v, 3) for v in wave(8000, 1000))),
        (1, 32, b"".join(whole(2e9 * v, 4) for v in wave(8000, 1000))),
        (3, 32, struct.pack("<4000f", *wave(8000, 1000))),
        (6, 8, g711.encode([round(32_767 * v) for v in wave(8000, 1000)], PCMA)),
        (7, 8, g711.encode([round(32_767 * v) for v in wave(8000, 1000)], PCMU)),
    ],
)  # fmt: skip
def test_any_usual_encoding_is_read(kind: int, bits: int, data: bytes) -> None:
    samples, rate = sound.linear(riff(8_000, 1, bits, data, kind=kind, pad=True))

    assert rate == 8_000
    assert tone.power(samples, 1000) > 0.99
    assert max(samples) == pytest.approx(16_000, rel=0.06)  # G.711 is coarse up there


def test_channels_become_one() -> None:
    left, right = tone.sine(400, 1600), tone.sine(1000, 1600)
    data = struct.pack("<3200h", *(v for pair in zip(left, right, strict=True) for v in pair))

    samples, _ = sound.linear(riff(8_000, 2, 16, data))

    assert tone.power(samples, 400) == pytest.approx(0.5, abs=0.02)


def test_frames_are_whole_and_the_last_is_filled_up_with_silence() -> None:
    encoded = sound.encoded(riff(8_000, 1, 16, struct.pack("<170h", *[8_000] * 170)))

    for law, frames in encoded.items():
        assert [len(frame) for frame in frames] == [160, 160]
        assert frames[1][10:] == QUIET[law][10:]


@pytest.mark.parametrize(
    "wav",
    [
        b"",
        b"RIFF",
        b"ID3" + bytes(100),
        riff(8_000, 0, 16, b""),
        riff(1, 1, 16, b""),
        riff(8_000, 1, 12, bytes(10)),
        riff(8_000, 1, 16, b"", kind=85),
        b"RIFF\0\0\0\0WAVEdata" + struct.pack("<I", 4) + bytes(4),
    ],
)
def test_what_is_no_usable_wav_is_said_so(wav: bytes) -> None:
    with pytest.raises(BadSound):
        sound.encoded(wav)


@given(st.binary(max_size=80))
def test_any_file_is_a_sound_or_said_not_to_be(data: bytes) -> None:
    for wav in (data, b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + data, riff(8_000, 1, 16, data)):
        try:
            sound.encoded(wav)
        except BadSound:
            continue
