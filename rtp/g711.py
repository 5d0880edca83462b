"""G.711: PCMU and PCMA to and from 16-bit linear, and into each other, by table (ITU-T G.711).

A law is named by its RTP payload type, 0 or 8 (RFC 3551 §6). Encoding saturates, so sums of
several voices may be encoded as they are.
"""

from collections.abc import Iterable

PCMU = 0
PCMA = 8

MIX_MAX = 8
"""Voices whose sum `encode` takes: samples in ±32768 * MIX_MAX."""

_BIAS = 132


def _decoded_u(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 7)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _decoded_a(code: int) -> int:
    code ^= 0x55
    segment, mantissa = code >> 4 & 7, code & 0x0F
    magnitude = (mantissa << 4) + 8 if segment == 0 else (mantissa << 4) + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def _encoded_u(sample: int) -> int:
    magnitude = min(abs(sample), 32635) + _BIAS
    segment = magnitude.bit_length() - 8
    code = segment << 4 | magnitude >> segment + 3 & 0x0F
    return (code | 0x80 if sample < 0 else code) ^ 0xFF


def _encoded_a(sample: int) -> int:
    magnitude = sample if sample >= 0 else -sample - 1
    if magnitude < 256:
        code = magnitude >> 4
    else:
        segment = magnitude.bit_length() - 8
        code = segment << 4 | magnitude >> segment + 3 & 0x0F
    return (code | 0x80 if sample >= 0 else code) ^ 0x55


def _encoding(law: int) -> bytes:
    """The code of every sum, at the sum's index; a negative sum counts from the end."""
    encoded = _encoded_u if law == PCMU else _encoded_a
    # Neither law distinguishes samples that differ in the lowest two bits only.
    up = b"".join(bytes((encoded(sample),)) * 4 for sample in range(0, 32768, 4))
    down = b"".join(bytes((encoded(sample),)) * 4 for sample in range(-32768, 0, 4))
    beyond = 32768 * (MIX_MAX - 1)
    return up + up[-1:] * beyond + down[:1] * beyond + down


_DECODED: dict[int, tuple[int, ...]] = {
    PCMU: tuple(_decoded_u(code) for code in range(256)),
    PCMA: tuple(_decoded_a(code) for code in range(256)),
}
_ENCODED: dict[int, bytes] = {PCMU: _encoding(PCMU), PCMA: _encoding(PCMA)}

_LOW = {law: bytes(sample & 0xFF for sample in table) for law, table in _DECODED.items()}
_HIGH = {law: bytes(sample >> 8 & 0xFF for sample in table) for law, table in _DECODED.items()}

INTO: dict[int, bytes] = {
    PCMU: bytes(_ENCODED[PCMU][sample] for sample in _DECODED[PCMA]),
    PCMA: bytes(_ENCODED[PCMA][sample] for sample in _DECODED[PCMU]),
}
"""`payload.translate(INTO[law])` is a payload of the other law in this one."""

SILENCE: dict[int, int] = {law: _ENCODED[law][0] for law in (PCMU, PCMA)}
"""The byte of silence."""


def encode(samples: Iterable[int], law: int) -> bytes:
    """16-bit samples, or sums of up to MIX_MAX of them, as payload."""
    return bytes(map(_ENCODED[law].__getitem__, samples))


def decode(payload: bytes | bytearray, law: int) -> list[int]:
    """The payload as 16-bit samples."""
    return list(map(_DECODED[law].__getitem__, payload))


def pcm16(payload: bytes | bytearray, law: int) -> bytearray:
    """The payload as little-endian 16-bit samples, as a WAV file holds them."""
    out = bytearray(2 * len(payload))
    out[0::2] = payload.translate(_LOW[law])
    out[1::2] = payload.translate(_HIGH[law])
    return out
