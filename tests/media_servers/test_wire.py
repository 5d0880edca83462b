"""The control protocol: frames cut anywhere, and anything that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_servers.embedded import wire
from media_servers.verbs import Applied, Digit, Leg, Party, Session

MESSAGES: list[wire.Request] = [
    wire.Hello("n1", {"main": 3}),
    wire.Apply(1, Session("c", "main", 3, 4, legs=(Leg("a", "v=0", hears=(Party("b"),)),))),
    wire.Delete(2, "main", 3, "c"),
    wire.Query(3, "main", None),
    wire.Measure(4, ""),
]


@given(st.integers(1, 50))
def test_frames_survive_any_cutting(size: int) -> None:
    stream = b"".join(map(wire.frame, MESSAGES))
    frames, got = wire.Frames(), []
    for start in range(0, len(stream), size):
        frames.feed(stream[start : start + size])
        got += [wire.request(body) for body in frames]

    assert got == MESSAGES


def test_replies_survive_the_way() -> None:
    replies: list[wire.Reply] = [
        wire.Done(1, Applied("c", 4, {"a": "v=0"}, {"a": 30_000})),
        wire.No(2, "no_file", "x"),
        wire.Happened("main", Digit("c", 1, "a", "#")),
    ]

    assert [wire.reply(wire.frame(one)[4:]) for one in replies] == replies


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_bad_frame(data: bytes) -> None:
    for decode in (wire.request, wire.reply):
        try:
            decode(data)
        except wire.BadFrame:
            continue


def test_a_frame_that_is_too_long_is_refused_before_it_is_held() -> None:
    frames = wire.Frames()
    frames.feed((wire.MAX_FRAME + 1).to_bytes(4, "big"))

    with pytest.raises(wire.BadFrame):
        frames.take()
    with pytest.raises(wire.BadFrame):
        wire.frame(wire.Delete(1, "x" * wire.MAX_FRAME, 1, "c"))
