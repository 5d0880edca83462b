"""Session descriptions: reading, the rules of offer and answer, and what two sides agree on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip import sdp
from sip.sdp import BadSdp, NotAcceptable

PHONE = """v=0
o=phone 1 1 IN IP4 127.0.0.9
s=-
c=IN IP4 127.0.0.9
b=AS:84
t=0 0
a=group:BUNDLE x
m=audio 4000 RTP/AVP 96 8 0 18 101 13
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:30
a=sendrecv
m=video 4002 RTP/AVP 31
c=IN IP4 127.0.0.8
a=rtpmap:31 H261/90000
"""


def changed(*changes: tuple[str, str]) -> str:
    text = PHONE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def ours(text: str, codecs: tuple[str, ...] = ("PCMU", "PCMA")) -> sdp.Sdp:
    return sdp.parse(
        sdp.answer(text, address="127.0.0.1", port=30_000, session_id=7, version=2, codecs=codecs)
    )


# -- reading


def test_a_description_is_written_as_it_was_read() -> None:
    assert sdp.build(sdp.parse(PHONE)) == PHONE.replace("\n", "\r\n")
    crlf = PHONE.replace("\n", "\r\n")
    assert sdp.build(sdp.parse(crlf)) == crlf
    assert sdp.parse(changed(("m=audio 4000", "m=audio 4000/2"))).media[0].count == "2"
    assert "m=audio 4000/2 " in sdp.build(sdp.parse(changed(("m=audio 4000", "m=audio 4000/2"))))


def test_what_an_audio_stream_says() -> None:
    view = sdp.audio(sdp.parse(PHONE))

    assert view is not None
    assert (view.address, view.port, view.ptime, view.index) == ("127.0.0.9", 4000, 30, 0)
    assert view.codecs == [
        (96, "opus", 48000),
        (8, "PCMA", 8000),
        (0, "PCMU", 8000),
        (18, "G729", 8000),
        (13, "CN", 8000),
    ]
    assert (view.telephone_event, view.direction) == (101, "sendrecv")


@pytest.mark.parametrize(
    "change",
    [
        ("m=audio 4000", "m=audio 0"),
        ("m=audio", "m=image"),
        ("RTP/AVP 96", "RTP/SAVP 96"),
        ("c=IN IP4 127.0.0.9", "c=IN IP4 phone.example"),
        ("c=IN IP4 127.0.0.9\n", ""),
        ("c=IN IP4 127.0.0.9", "c=IN"),
    ],
)
def test_an_audio_stream_that_is_of_no_use(change: tuple[str, str]) -> None:
    assert sdp.audio(sdp.parse(changed(change))) is None
    with pytest.raises(NotAcceptable):
        ours(changed(change))


def test_the_second_audio_stream_is_used_when_the_first_is_refused() -> None:
    text = changed(("m=audio 4000", "m=audio 0")) + "m=audio 4100 RTP/AVP 0\na=recvonly\n"
    view = sdp.audio(sdp.parse(text))

    assert view is not None
    assert (view.index, view.port, view.direction) == (2, 4100, "recvonly")
    answer = ours(text)
    assert [m.port for m in answer.media] == [0, 0, 30_000]


@pytest.mark.parametrize(
    ("changes", "direction", "is_held"),
    [
        ((), "sendrecv", False),
        ((("a=sendrecv", "a=sendonly"),), "sendonly", True),
        ((("a=sendrecv", "a=recvonly"),), "recvonly", False),
        ((("a=sendrecv", "a=inactive"),), "inactive", True),
        ((("a=sendrecv\n", ""), ("b=AS:84", "a=sendonly")), "sendonly", True),
        ((("a=sendrecv", "a=recvonly"), ("b=AS:84", "a=sendonly")), "recvonly", False),
        ((("c=IN IP4 127.0.0.9", "c=IN IP4 0.0.0.0"),), "sendonly", True),
        (
            (("c=IN IP4 127.0.0.9", "c=IN IP4 0.0.0.0"), ("a=sendrecv", "a=recvonly")),
            "inactive",
            True,
        ),
    ],
)
def test_who_may_speak_and_who_holds(
    changes: tuple[tuple[str, str], ...], direction: str, is_held: bool
) -> None:
    read = sdp.parse(changed(*changes))
    view = sdp.audio(read)

    assert view is not None
    assert view.direction == direction
    assert sdp.on_hold(read) is is_held


@pytest.mark.parametrize(
    "text",
    [
        "", "\r\n", "hello", "v=0\nhello", "o=x\nv=0\n", "v=0\nm=audio\n",
        "v=0\nm=audio x RTP/AVP 0\n", "v=0\nm=audio 65536 RTP/AVP 0\n",
        "v=0\nm=audio -1 RTP/AVP 0\n", "v=0\nm=audio 1/x RTP/AVP 0\n",
        "v=0\nm=audio \xb2 RTP/AVP 0\n", "v=0\n" + "a=x\n" * 5_000,
        "v=0\n" + "m=audio 1 RTP/AVP 0\n" * 33,
    ],
)  # fmt: skip
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(BadSdp) as refused:
        sdp.parse(text)
    assert refused.value.status == 400


# -- offer and answer


def test_an_answer_has_the_offers_streams_in_its_order_and_one_codec() -> None:
    answer = ours(PHONE)

    assert answer.lines == [
        "v=0",
        "o=- 7 2 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
    ]
    assert [(m.kind, m.port, m.formats) for m in answer.media] == [
        ("audio", 30_000, ["8", "101"]),
        ("video", 0, ["31"]),
    ]
    assert answer.media[0].lines == [
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
    ]


def test_an_answer_takes_the_offers_order_among_our_codecs() -> None:
    assert ours(PHONE, ("PCMU",)).media[0].formats == ["0", "101"]
    assert ours(PHONE, ("PCMU", "PCMA")).media[0].formats == ["8", "101"]
    with pytest.raises(NotAcceptable) as refused:
        ours(PHONE, ("G722",))
    assert refused.value.status == 488


def test_an_answer_speaks_in_the_offers_payload_types() -> None:
    text = changed(("96 8 0 18 101", "111 100"), ("rtpmap:8 PCMA", "rtpmap:111 pcma"))
    text = text.replace("rtpmap:101", "rtpmap:100")

    assert ours(text).media[0].formats == ["111", "100"]


@pytest.mark.parametrize(
    ("offered", "mirrored"),
    [
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
    ],
)
def test_an_answer_mirrors_the_direction(offered: str, mirrored: str) -> None:
    answer = ours(changed(("a=sendrecv", f"a={offered}")))

    assert answer.media[0].lines[-1] == f"a={mirrored}"


def test_an_offer_lists_our_codecs_in_our_order() -> None:
    made = sdp.parse(
        sdp.offer(
            address="::1",
            port=30_000,
            session_id=7,
            version=3,
            codecs=("PCMA", "PCMU"),
            direction="inactive",
        )
    )

    assert "c=IN IP6 ::1" in made.lines
    assert made.media[0].formats == ["8", "0", "101"]
    view = sdp.audio(made)
    assert view is not None
    assert (view.direction, view.telephone_event) == ("inactive", 101)
    silent = sdp.parse(
        sdp.offer(address="127.0.0.1", port=2, session_id=1, version=1, telephone_event=None)
    )
    assert silent.media[0].formats == ["0", "8"]


# -- what was agreed


def test_both_sides_agree_on_the_same_stream() -> None:
    answer = sdp.build(ours(PHONE))
    here = sdp.negotiated(answer, PHONE)
    there = sdp.negotiated(PHONE, answer)

    assert (here.codec, here.send_type, here.receive_type) == ("PCMA", 8, 8)
    assert (here.send_event, here.receive_event) == (101, 101)
    assert (here.remote, here.send, here.receive, here.ptime) == (
        ("127.0.0.9", 4000),
        True,
        True,
        30,
    )
    assert (there.codec, there.remote) == ("PCMA", ("127.0.0.1", 30_000))


def test_each_direction_has_its_own_payload_types() -> None:
    mine = sdp.offer(address="127.0.0.1", port=30_000, session_id=1, version=1, telephone_event=96)
    theirs = changed(("96 8 0 18 101", "111 100"), ("rtpmap:8 PCMA", "rtpmap:111 PCMA"))
    agreed = sdp.negotiated(mine, theirs.replace("rtpmap:101", "rtpmap:100"))

    assert (agreed.send_type, agreed.receive_type) == (111, 8)
    assert (agreed.send_event, agreed.receive_event) == (100, 96)


@pytest.mark.parametrize(
    ("direction", "send", "receive"),
    [
        ("sendrecv", True, True),
        ("sendonly", False, True),
        ("recvonly", True, False),
        ("inactive", False, False),
    ],
)
def test_who_may_send_after_a_hold(direction: str, send: bool, receive: bool) -> None:
    theirs = changed(("a=sendrecv", f"a={direction}"))
    agreed = sdp.negotiated(sdp.build(ours(theirs)), theirs)

    assert (agreed.send, agreed.receive) == (send, receive)


def test_no_telephone_event_on_one_side_is_none_on_both() -> None:
    theirs = changed((" 101 13", ""))
    agreed = sdp.negotiated(
        sdp.offer(address="127.0.0.1", port=30_000, session_id=1, version=1), theirs
    )

    assert (agreed.send_event, agreed.receive_event) == (None, None)


def test_nothing_in_common_is_not_acceptable() -> None:
    mine = sdp.offer(address="127.0.0.1", port=1, session_id=1, version=1, codecs=("G722",))
    with pytest.raises(NotAcceptable):
        sdp.negotiated(mine, PHONE)
    with pytest.raises(NotAcceptable):
        sdp.negotiated(mine, changed(("m=audio 4000", "m=audio 0")))
    with pytest.raises(BadSdp):
        sdp.negotiated(mine, "")


LINES = (
    *PHONE.split("\n"),
    "m=audio 1 RTP/AVP", "m=audio 1/2/3 RTP/AVP 0", "a=rtpmap:x", "a=rtpmap:0 /",
    "a=ptime:\xb2", "c=IN IP4", "c=", "a", "=", "a=", "a=rtpmap:300 X/8000",
    "m=audio 9 RTP/AVP 300 \xb2 999999999999",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=8)), max_size=14))
def test_no_text_raises_anything_but_a_sip_error(lines: list[str]) -> None:
    text = "v=0\n" + "\n".join(lines)
    try:
        read = sdp.parse(text)
        assert sdp.parse(sdp.build(read)) == read
        sdp.on_hold(read)
        answer = ours(text)
        assert len(answer.media) == len(read.media)
        sdp.negotiated(sdp.build(answer), text)
    except (BadSdp, NotAcceptable):
        pass
