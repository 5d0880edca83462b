"""G.711 against the values of the recommendation and against itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp import g711
from rtp.g711 import PCMA, PCMU

LAWS = (PCMU, PCMA)


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        (PCMU, 0xFF, 0),
        (PCMU, 0x7F, 0),
        (PCMU, 0x80, 32124),
        (PCMU, 0x00, -32124),
        (PCMU, 0xF0, 120),
        (PCMA, 0xD5, 8),
        (PCMA, 0x55, -8),
        (PCMA, 0xAA, 32256),
        (PCMA, 0x2A, -32256),
        (PCMA, 0xC5, 264),
    ],
)
def test_a_code_stands_for_its_sample(law: int, code: int, sample: int) -> None:
    assert g711.decode(bytes((code,)), law) == [sample]


@pytest.mark.parametrize("law", LAWS)
def test_every_code_survives_the_way_through_linear(law: int) -> None:
    codes = bytes(range(256))

    again = g711.encode(g711.decode(codes, law), law)

    differing = [code for code in codes if again[code] != code]
    assert differing == ([0x7F] if law == PCMU else [])  # PCMU has two zeros


@pytest.mark.parametrize("law", LAWS)
@given(sample=st.integers(-32_768, 32_767))
def test_a_sample_becomes_the_nearest_code(law: int, sample: int) -> None:
    (nearest,) = g711.decode(g711.encode([sample], law), law)

    step = max(16, 2 ** (max(1, abs(sample)).bit_length() - 4))
    assert abs(nearest - sample) <= step + (644 if abs(sample) > 32_000 else 0)


@pytest.mark.parametrize("law", LAWS)
def test_a_sum_that_is_too_loud_saturates(law: int) -> None:
    loudest = g711.encode([32_767, -32_768], law)

    assert g711.encode([32_767 * g711.MIX_MAX, -32_768 * g711.MIX_MAX], law) == loudest


def test_one_law_becomes_the_other_by_table() -> None:
    voice = g711.encode([round(9_000 * math.sin(n / 5)) for n in range(400)], PCMU)

    other = voice.translate(g711.INTO[PCMA])

    assert other == g711.encode(g711.decode(voice, PCMU), PCMA)
    pairs = zip(g711.decode(other, PCMA), g711.decode(voice, PCMU), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 512


@pytest.mark.parametrize("law", LAWS)
def test_samples_for_a_file_are_little_endian(law: int) -> None:
    codes = bytes(range(256))

    raw = g711.pcm16(codes, law)

    samples = [int.from_bytes(raw[n : n + 2], "little", signed=True) for n in range(0, len(raw), 2)]
    assert samples == g711.decode(codes, law)


@pytest.mark.parametrize("law", LAWS)
def test_silence_is_silent(law: int) -> None:
    assert abs(g711.decode(bytes((g711.SILENCE[law],)), law)[0]) <= 8
