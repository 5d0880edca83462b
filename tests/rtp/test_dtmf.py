"""RFC 4733 digits: sent as the RFC says, and each told once, whatever the network did to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp import dtmf

Sent = list[tuple[int, bytes]]


def told(*packets: tuple[int, bytes], every_ms: int = 20) -> str:
    receiver = dtmf.Receiver()
    return "".join(
        receiver.receive(timestamp, payload, n * every_ms)
        for n, (timestamp, payload) in enumerate(packets)
    )


def sent(digit: str, timestamp: int) -> Sent:
    return [(timestamp, payload) for payload in dtmf.payloads(digit)]


def test_a_digit_is_sent_with_growing_duration_and_three_ends() -> None:
    assert [payload.hex() for payload in dtmf.payloads("#", duration_ms=60)] == [
        "0b0a00a0",
        "0b0a0140",
        "0b8a01e0",
        "0b8a01e0",
        "0b8a01e0",
    ]


@pytest.mark.parametrize("digit", dtmf.EVENTS)
def test_each_digit_is_told_once(digit: str) -> None:
    assert told(*sent(digit, 160)) == digit


def test_the_same_digit_twice_is_two_digits() -> None:
    assert told(*sent("1", 160), *sent("1", 4_000)) == "11"


def test_one_end_of_three_is_enough() -> None:
    assert told(sent("7", 160)[-1]) == "7"


def test_a_digit_whose_ends_were_lost_is_told_when_the_next_begins() -> None:
    assert told(*sent("7", 160)[:-3], *sent("8", 4_000)) == "78"


def test_a_digit_whose_ends_were_lost_is_told_after_a_silence() -> None:
    receiver = dtmf.Receiver()
    for timestamp, payload in sent("7", 160)[:-3]:
        receiver.receive(timestamp, payload, 1_000)

    was_open = receiver.is_open
    asked = (1_000 + dtmf.SILENT_MS - 1, 1_000 + dtmf.SILENT_MS, 10_000)
    assert [receiver.expired(now_ms) for now_ms in asked] == ["", "7", ""]
    assert (was_open, receiver.is_open) == (True, False)


def test_a_late_packet_of_the_last_digit_is_not_a_digit() -> None:
    first, second = sent("7", 160), sent("8", 4_000)

    assert told(*first[:-1], *second[:2], first[-1], *second[2:]) == "78"


@pytest.mark.parametrize("payload", [b"", b"\x01\x8a\x00", bytes.fromhex("108a0320")])
def test_what_is_no_digit_is_ignored(payload: bytes) -> None:
    assert told((160, payload)) == ""


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), max_size=60),
)
def test_no_order_or_doubling_tells_a_digit_twice(order: list[tuple[int, int]]) -> None:
    packets = [sent(digit, 1_000 * n) for n, digit in enumerate("1234")]
    arriving = [packets[which][n % len(packets[which])] for which, n in order]

    digits = told(*arriving)

    assert len(digits) == len(set(digits))
