"""WAV files into G.711 frames: any rate, any number of channels, 8 to 32 bits or G.711 itself."""

import math
import struct
from collections.abc import Sequence
from operator import mul

from rtp.g711 import PCMA, PCMU, SILENCE, decode, encode
from rtp.packet import FRAME_SAMPLES

RATE = 8000
MAX_SECONDS = 1800
"""A longer sound is not taken: it would be kept in memory, 16 kB a second."""

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_TAPS = 32


class BadSound(Exception):
    """Not a WAV file that we can play; the message says why."""


def encoded(wav: bytes) -> dict[int, list[bytes]]:
    """The sound in frames of 20 ms, by law. Raises BadSound."""
    samples = resampled(*linear(wav))
    return {law: frames(encode(samples, law), law) for law in (PCMU, PCMA)}


def frames(payload: bytes, law: int) -> list[bytes]:
    """Cut into frames, the last one filled up with silence."""
    payload += bytes((SILENCE[law],)) * (-len(payload) % FRAME_SAMPLES)
    return [payload[n : n + FRAME_SAMPLES] for n in range(0, len(payload), FRAME_SAMPLES)]


def linear(wav: bytes) -> tuple[list[int], int]:
    """The file's 16-bit samples, all channels as one, and their rate. Raises BadSound."""
    if len(wav) < 12 or wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
        raise BadSound("not a WAV file")
    layout: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(wav):
        name, size = wav[at : at + 4], int.from_bytes(wav[at + 4 : at + 8], "little")
        body = wav[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if kind == _EXTENSIBLE and len(body) >= 26:
                kind = int.from_bytes(body[24:26], "little")
            layout = (kind, channels, rate, bits)
        elif name == b"data" and layout is not None:
            kind, channels, rate, bits = layout
            if not (1 <= channels <= 8 and 4000 <= rate <= 192_000):
                raise BadSound(f"{channels} channels at {rate} Hz")
            if len(body) > MAX_SECONDS * rate * channels * max(1, bits // 8):
                raise BadSound(f"longer than {MAX_SECONDS} s")
            return _joined(_samples(body, kind, bits), channels), rate
        at += 8 + size + size % 2
    raise BadSound("no samples in it")


def resampled(samples: Sequence[int], rate: int) -> list[int]:
    """At 8 kHz: a windowed sinc, so that what lies above 4 kHz does not come back as whistling."""
    if rate == RATE:
        return list(samples)
    divisor = math.gcd(rate, RATE)
    up, down = RATE // divisor, rate // divisor
    cut = min(1.0, RATE / rate) * 0.94  # of half the file's rate
    half = math.ceil(_TAPS / 2 / cut)
    filters = [_filter(phase / up, half, cut) for phase in range(up)]
    padded = [0] * half + list(samples) + [0] * (half + 1)
    out = []
    for n in range(len(samples) * up // down):
        at, phase = divmod(n * down, up)
        value = round(sum(map(mul, filters[phase], padded[at : at + 2 * half])))
        out.append(max(-32768, min(32767, value)))
    return out


def _filter(offset: float, half: int, cut: float) -> list[float]:
    """Weights of the 2 * half samples around a point `offset` after the middle one."""
    weights = []
    for n in range(2 * half):
        x = n - half - offset
        window = 0.5 + 0.5 * math.cos(math.pi * x / half) if abs(x) < half else 0.0
        angle = math.pi * cut * x
        weights.append((math.sin(angle) / angle if angle else 1.0) * window)
    total = sum(weights)
    return [weight / total for weight in weights]


def _samples(body: bytes, kind: int, bits: int) -> Sequence[int]:
    if kind in (_ALAW, _ULAW):
        return decode(body, PCMA if kind == _ALAW else PCMU)
    if kind == _FLOAT and bits == 32:
        count = len(body) // 4
        return [
            0 if math.isnan(value) else round(32767 * max(-1.0, min(1.0, value)))
            for value in struct.unpack(f"<{count}f", body[: 4 * count])
        ]
    if kind != _PCM or bits not in (8, 16, 24, 32):
        raise BadSound(f"format {kind} with {bits} bits")
    if bits == 8:
        return [(byte - 128) << 8 for byte in body]
    if bits == 16:
        return struct.unpack(f"<{len(body) // 2}h", body[: len(body) // 2 * 2])
    width = bits // 8
    top = bytearray(len(body) // width * 2)
    whole = body[: len(body) // width * width]
    top[0::2], top[1::2] = whole[width - 2 :: width], whole[width - 1 :: width]
    return struct.unpack(f"<{len(top) // 2}h", top)


def _joined(samples: Sequence[int], channels: int) -> list[int]:
    if channels == 1:
        return list(samples)
    whole = len(samples) // channels * channels
    return [
        sum(parts) // channels
        for parts in zip(*(samples[n:whole:channels] for n in range(channels)), strict=True)
    ]
