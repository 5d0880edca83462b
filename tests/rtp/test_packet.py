"""RTP headers, written and read, and everything that is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp import packet
from rtp.packet import BadPacket, Packet


def test_a_packet_is_laid_out_as_in_rfc_3550() -> None:
    datagram = packet.build(8, 0x1234, 0x01020304, 0xAABBCCDD, b"\x55\x66", marker=True)

    assert datagram == bytes.fromhex("80 88 1234 01020304 aabbccdd 5566")


@given(
    payload_type=st.integers(0, 127),
    seq=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
)
def test_what_was_built_is_parsed(
    payload_type: int, seq: int, timestamp: int, ssrc: int, payload: bytes, marker: bool
) -> None:
    datagram = packet.build(payload_type, seq, timestamp, ssrc, payload, marker=marker)

    assert packet.parse(datagram) == Packet(payload_type, marker, seq, timestamp, ssrc, payload)


def test_numbers_wrap() -> None:
    got = packet.parse(packet.build(0, 65_536 + 3, 0x1_0000_0005, 1, b""))

    assert (got.seq, got.timestamp) == (3, 5)


@pytest.mark.parametrize(
    ("header", "extra", "tail"),
    [
        ("82", "00000001 00000002", ""),  # two contributing sources
        ("90", "abcd 0001 11223344", ""),  # a header extension of one word
        ("a0", "", "00 00 03"),  # three bytes of padding
        ("b1", "00000001 abcd 0000", "01"),
    ],
)
def test_the_payload_is_found_among_all_that_may_surround_it(
    header: str, extra: str, tail: str
) -> None:
    datagram = bytes.fromhex(f"{header} 00 0001 00000002 00000003 {extra} c0ffee {tail}")

    assert packet.parse(datagram).payload == bytes.fromhex("c0ffee")


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x80" * 11,
        b"\x40" + bytes(20),  # version 1
        b"\x8f" + bytes(20),  # fifteen sources, none there
        b"\x90" + bytes(13),
        b"\x90" + bytes(13) + b"\xff\xff",  # an extension longer than the datagram
        b"\xa0" + bytes(20) + b"\xff",  # more padding than packet
        b"\xa0" + bytes(20),  # padding of none
        b"\x80" + bytes(1500),
        b"OPTIONS sip:a@b SIP/2.0\r\n\r\n",
    ],
)
def test_what_is_no_packet_is_refused(datagram: bytes) -> None:
    with pytest.raises(BadPacket):
        packet.parse(datagram)


@given(st.binary(max_size=64))
def test_any_datagram_is_a_packet_or_refused(datagram: bytes) -> None:
    try:
        got = packet.parse(datagram)
    except BadPacket:
        return
    assert len(got.payload) <= len(datagram) - packet.HEADER_SIZE
