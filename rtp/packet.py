"""RTP packets (RFC 3550 §5.1): one header, written and read without copying the payload."""

import struct

import msgspec

VERSION = 0x80
"""Version 2, no padding, no extension, no contributing sources: the first byte of nearly all."""

HEADER = struct.Struct(">BBHII")
"""First byte, marker and payload type, sequence number, timestamp, SSRC."""

HEADER_SIZE = 12
MARKER = 0x80
MAX_PACKET = 1500
"""Longer datagrams are not RTP that a phone sends."""

FRAME_MS = 20
FRAME_SAMPLES = 160
"""One frame of 20 ms at 8 kHz; with G.711 also its bytes."""


class BadPacket(Exception):
    """Not RTP version 2, or cut short."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One RTP packet, its payload without padding."""

    payload_type: int
    marker: bool
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes


def build(
    payload_type: int,
    seq: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    *,
    marker: bool = False,
) -> bytes:
    """The datagram; sequence number and timestamp wrap."""
    return (
        HEADER.pack(
            VERSION,
            payload_type | MARKER if marker else payload_type,
            seq & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + payload
    )


def parse(datagram: bytes) -> Packet:
    """The packet in a datagram; BadPacket if it is none."""
    start, end = payload_span(datagram, len(datagram))
    _, second, seq, timestamp, ssrc = HEADER.unpack_from(datagram)
    return Packet(second & 0x7F, second >= MARKER, seq, timestamp, ssrc, datagram[start:end])


def payload_span(data: bytes | bytearray, size: int) -> tuple[int, int]:
    """Where the payload starts and ends in `size` bytes of `data`; BadPacket if nowhere."""
    if size < HEADER_SIZE or size > MAX_PACKET or data[0] & 0xC0 != VERSION:
        raise BadPacket(f"{size} bytes")
    first = data[0]
    start = HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:  # header extension, its length in words after two bytes of profile
        if size < start + 4:
            raise BadPacket("extension cut short")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = size
    if first & 0x20:  # padding, its length in the last byte
        end -= data[size - 1] or size
    if start > end:
        raise BadPacket("payload cut short")
    return start, end
