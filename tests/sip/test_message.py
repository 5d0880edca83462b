"""What a datagram says: limits, leniency, a round trip of every byte, and no foreign exception from
any bytes.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sip.dialog import origin, reply_address, respond
from sip.grammar import SPELLINGS, SPELLINGS_MAX, split_commas
from sip.message import (
    MAX_DATAGRAM,
    BadMessage,
    Message,
    build_request,
    check,
    parse,
    refusal_headers,
    unsupported,
)
from sip.uri import (
    BadUri,
    display_name_of,
    is_address,
    parse_uri,
    split_host,
    tag_of,
    uri_of,
    user_of,
)
from tests.sip.clockwork import HERE, Clockwork, ask

VIA = "SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1"


def invite(*, size: int = 1_200) -> bytes:
    """An INVITE of `size` bytes, as a desk phone behind an edge sends it."""
    head = (
        "INVITE sip:4001@127.0.0.1:5060 SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 127.0.0.2:5060;rport;branch=z9hG4bK-1234-1-0\r\n"
        "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK-9934-1-0;received=10.1.1.1\r\n"
        "Max-Forwards: 69\r\nRecord-Route: <sip:127.0.0.2;lr;ftag=abc>\r\n"
        'From: "Caller" <sip:100@127.0.0.2:5060>;tag=1234SIPpTag001\r\n'
        "To: <sip:4001@127.0.0.1:5060>\r\nCall-ID: 1-1234@127.0.0.2\r\nCSeq: 1 INVITE\r\n"
        "Contact: <sip:100@127.0.0.2:5060>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE\r\n"
        "Supported: timer, replaces, 100rel\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n"
        "User-Agent: phone/1.0\r\nSubject: Performance Test\r\nContent-Type: application/sdp\r\n"
    )
    body = (
        "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\n"
        "t=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\na=x:"
    )
    rest = size - len(head) - len("Content-Length: nnn\r\n\r\n") - len(body) - 2
    body += "z" * rest + "\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def text(**changes: str) -> bytes:
    """An OPTIONS with some header values changed; "" leaves the header field out."""
    headers = {
        "Via": VIA,
        "Max-Forwards": "70",
        "From": "<sip:a@127.0.0.2>;tag=1",
        "To": "<sip:b@127.0.0.1>",
        "Call-ID": "c1",
        "CSeq": "1 OPTIONS",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return build_request("OPTIONS", "sip:b@127.0.0.1", [h for h in headers.items() if h[1]])


def refusal(datagram: bytes) -> tuple[int, str]:
    """What a datagram is refused with, by `parse` or by `check`."""
    try:
        found = check(parse(datagram))
    except BadMessage as bad:
        return bad.status, bad.reason
    assert found is not None
    return found


def test_a_parser_is_fast_enough_for_the_figures_to_hold() -> None:
    datagram = invite()
    assert len(datagram) == 1_200
    msg = parse(datagram)
    where = ("127.0.0.2", 5060)
    asked = origin(msg, where)
    work: dict[str, Callable[[], object]] = {
        "parse": lambda: parse(datagram),
        "check": lambda: check(msg),
        "origin": lambda: origin(msg, where),
        "respond": lambda: respond(asked, 200, to_tag="t", contact="sip:k@127.0.0.1", body="x"),
    }
    for name, run in work.items():
        best = 1e9
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(500):
                run()
            best = min(best, (time.perf_counter() - start) / 500)
        print(f"{name} of a 1.2 kB INVITE: {best * 1e6:.1f} us")
    assert check(msg) is None


def test_what_a_request_says() -> None:
    msg = parse(invite())

    assert (msg.method, msg.uri, msg.status) == ("INVITE", "sip:4001@127.0.0.1:5060", 0)
    assert (msg.branch, msg.sent_by) == ("z9hG4bK-1234-1-0", "127.0.0.2:5060")
    assert (msg.cseq, msg.cseq_method, msg.call_id) == (1, "INVITE", "1-1234@127.0.0.2")
    assert (msg.from_tag, msg.to_tag) == ("1234SIPpTag001", "")
    assert msg.all("supported") == ["timer", "replaces", "100rel"]
    assert msg.get("no-such-header") == ""
    assert msg.all("no-such-header") == []
    assert msg.body.startswith("v=0\r\n")
    assert "1-1234" not in repr(msg)  # what goes into a log names nobody


def test_every_byte_of_a_body_and_a_value_survives() -> None:
    every = "".join(map(chr, range(256)))
    value = every.replace("\r", "").replace("\n", "").strip(" \t")
    datagram = build_request(
        "OPTIONS",
        "sip:b@127.0.0.1",
        [
            ("Via", VIA),
            ("From", "<sip:a@b>;tag=1"),
            ("To", "<sip:b@c>"),
            ("Call-ID", "c"),
            ("CSeq", "1 OPTIONS"),
            ("X-A", value),
            ("X-B", "\xc3\xa0"),
            ("X-C", "\x85"),
        ],
        every,
        "application/octet-stream",
    )
    msg = parse(datagram)

    assert msg.body == every
    assert (msg.get("x-a"), msg.get("x-b"), msg.get("x-c")) == (value, "\xc3\xa0", "\x85")


def test_text_beyond_latin_1_cannot_make_a_content_length_a_lie() -> None:
    datagram = build_request("MESSAGE", "sip:b@c", [("Subject", "сто")], "сто", "text/plain")

    assert datagram.endswith(b"Content-Length: 3\r\n\r\n???")


# -- limits


def test_a_full_datagram_of_64_kib_is_read() -> None:
    msg = parse(invite(size=65_507))

    assert msg.method == "INVITE"


def test_a_datagram_longer_than_udp_can_carry_is_refused() -> None:
    assert refusal(invite(size=MAX_DATAGRAM + 1))[0] == 513


def test_seventy_vias_are_read_and_a_hundred_are_too_many_hops() -> None:
    def hops(count: int) -> list[str]:
        return [VIA.replace("bK1", f"bK{n}") for n in range(count)]

    assert len(parse(text(Via="\r\nVia: ".join(hops(70)))).all("via")) == 70
    assert refusal(text(Via="\r\nVia: ".join(hops(100)))) == (483, "Too Many Hops")
    assert refusal(text(Via=", ".join(hops(100)))) == (483, "Too Many Hops")


def test_a_message_of_more_than_256_header_lines_is_refused() -> None:
    assert refusal(text(X="\r\nX: ".join("x" * 300))) == (400, "Too Many Header Fields")
    assert refusal(text(X="\r\nX: ".join("x" * 9_000))) == (400, "Too Many Header Fields")


@pytest.mark.parametrize("digits", [10, 11, 4_301, 1_000_000])
def test_a_cseq_too_long_is_refused_however_long(digits: int) -> None:
    datagram = text(CSeq="9" * digits + " OPTIONS")

    assert refusal(datagram[:MAX_DATAGRAM])[0] == 400
    assert refusal(datagram)[0] == (513 if digits > MAX_DATAGRAM else 400)


def test_the_highest_cseq_is_read_and_the_next_is_not() -> None:
    assert parse(text(CSeq="2147483647 OPTIONS")).cseq == 2**31 - 1
    assert refusal(text(CSeq="2147483648 OPTIONS")) == (400, "Malformed CSeq")


def test_spellings_of_header_names_do_not_fill_the_memory() -> None:
    for n in range(SPELLINGS_MAX + 100):
        parse(text(**{f"X{n}": "1"}))

    assert len(SPELLINGS) <= SPELLINGS_MAX
    assert parse(text(BrandNew="1")).get("brandnew") == "1"


# -- what is refused, and what is not


@pytest.mark.parametrize(
    ("datagram", "refused"),
    [
        (text(Via=""), (400, "Missing Via")),
        (text(Via="nonsense"), (400, "Malformed Via")),
        (text(Via="SIP/2.0/UDP ;branch=z9hG4bK1"), (400, "Malformed Via")),
        (text(Via="SIP/2.0/UDP a b;branch=z9hG4bK1"), (400, "Malformed Via")),
        (text(Via="SIP/3.0/UDP a;branch=z9hG4bK1"), (400, "Malformed Via")),
        (text(Via=VIA + ", nonsense"), (400, "Malformed Via")),
        (text(From=""), (400, "Missing From")),
        (text(To="sip:a@b?x=y"), (400, "Malformed To")),
        (text(To="nobody"), (400, "Malformed To")),
        (text(To="<sip:b@127.0.0.1"), (400, "Malformed To")),
        (text(To="<sip:b@127.0.0.1:70000>"), (400, "Malformed To")),
        (text(To="<sip:@127.0.0.1>"), (400, "Malformed To")),
        (text(To="<sip:b%4@127.0.0.1>"), (400, "Malformed To")),
        (text(To="<sip:b@127.0.0.1>;tag"), None),
        (text(To="<sip:b@127.0.0.1>;tag=a@b/c=="), None),
        (text(To="<sip:b@127.0.0.1>;tag=a b"), (400, "Malformed To")),
        (text(Call_ID="a b"), (400, "Malformed Call-ID")),
        (text(Call_ID="\r\nX: y"), (400, "Malformed Call-ID")),
        (text(CSeq="OPTIONS"), (400, "Malformed CSeq")),
        (text(CSeq="1"), (400, "Malformed CSeq")),
        (text(CSeq="-1 OPTIONS"), (400, "Malformed CSeq")),
        (text(CSeq="\xb2 OPTIONS"), (400, "Malformed CSeq")),
        (text(CSeq="1 OPTIONS x"), (400, "Malformed CSeq")),
        (text(CSeq="0000000000000001 OPTIONS"), None),
        (text(Max_Forwards="x"), (400, "Malformed Max-Forwards")),
        (text(Max_Forwards=""), None),
        (text(X="y\nZ: z"), (400, "Bare CR or LF")),
        (text(X="y\rZ: z"), (400, "Bare CR or LF")),
        (text(**{"X Y": "z"}), (400, "Malformed Header Field")),
        (text(X="y\r\nno colon"), (400, "Malformed Header Field")),
        (text(X="y\r\n: z"), (400, "Malformed Header Field")),
        (text(Record_Route="sip:a@b"), (400, "Malformed Record-Route")),
        (text(Route="<sip:a;lr>, <sip:b;lr"), (400, "Malformed Route")),
        (text(Contact="*"), (400, "Malformed Contact")),
        (text(Expires="1.5"), (400, "Malformed Expires")),
        (b"\r\n\r\n" + text(), None),
        (text().replace(b"SIP/2.0\r\n", b"sip/2.0\r\n", 1), None),
        (text().replace(b"SIP/2.0\r\n", b"SIP/2\r\n", 1), (400, "Malformed Request-Line")),
        (text().replace(b"OPTIONS sip", b"OPT(ONS sip"), (400, "Malformed Method")),
        (text().replace(b"sip:b@127.0.0.1 SIP", b"sips:b@c SIP", 1), (416, None)),
        (text().replace(b"sip:b@127.0.0.1 SIP", b"tel:+4930;x=y SIP", 1), None),
        (text().rstrip(), (400, "No End of Header Fields")),
        (text().replace(b"Length: 0", b"Length: \xb9"), (400, "Malformed or Wrong Content-Length")),
        (text(CSeq="007\t  OPTIONS"), None),
        (text(CSeq="000 OPTIONS"), None),
        (text(CSeq="00000000000000 OPTIONS"), None),
        (text(CSeq="0" * 60_000 + "x OPTIONS"), (400, "Malformed CSeq")),
    ],
)
def test_what_is_refused_and_how(datagram: bytes, refused: tuple[int, str | None] | None) -> None:
    if refused is None:
        assert check(parse(datagram)) is None
    elif refused[1] is None:
        assert refusal(datagram)[0] == refused[0]
    else:
        assert refusal(datagram) == refused


@pytest.mark.parametrize(
    ("method", "changes", "refused"),
    [
        ("INVITE", {"Content-Type": "application/sdp;charset=utf-8"}, None),
        ("INVITE", {"Content-Type": "Application/SDP"}, None),
        ("INVITE", {"Content-Type": "multipart/mixed;boundary=x"}, 415),
        ("INVITE", {"Content-Type": "application/sdp", "Content-Encoding": "gzip"}, 415),
        ("INVITE", {}, 400),
        ("UPDATE", {"Content-Type": "text/plain"}, 415),
        ("MESSAGE", {"Content-Type": "text/plain"}, None),
        ("INVITE", {"Content-Type": "application/sdp", "Accept": "application/*"}, None),
        ("INVITE", {"Content-Type": "application/sdp", "Accept": "text/plain, */*;q=0.1"}, None),
        ("INVITE", {"Content-Type": "application/sdp", "Require": "100rel"}, 420),
    ],
)
def test_bodies_and_extensions(method: str, changes: dict[str, str], refused: int | None) -> None:
    msg = parse(ask("OPTIONS"))
    msg.method = msg.cseq_method = method
    msg.body = "v=0\r\n"
    msg.headers |= {name.lower(): [value] for name, value in changes.items()}
    found = check(msg)

    assert (found and found[0]) == refused


def test_an_ack_and_a_cancel_are_not_refused_for_what_they_require() -> None:
    for method in ("ACK", "CANCEL"):
        msg = parse(ask(method))
        msg.headers["require"] = ["100rel"]
        assert check(msg) is None


def test_an_option_that_is_supported_may_be_required() -> None:
    msg = parse(ask("INVITE"))
    msg.headers["require"] = ["100rel, Timer", "replaces"]

    assert unsupported(msg, frozenset(("timer",))) == ["100rel", "replaces"]
    assert check(msg, frozenset(("timer", "100rel", "replaces"))) is None
    assert refusal_headers(msg, 420) == [("Unsupported", "100rel, Timer, replaces")]
    assert refusal_headers(msg, 486) == []


def test_commas_in_quotes_and_brackets_do_not_part() -> None:
    value = r'"a, \", b" <sip:a,b@c;x=y>;q=1 , <sip:d@e>,sip:f@g'

    assert split_commas(value) == [r'"a, \", b" <sip:a,b@c;x=y>;q=1', "<sip:d@e>", "sip:f@g"]
    assert split_commas('"a, b') == ['"a, b']
    assert split_commas("<a, b") == ["<a, b"]


# -- fuzz

PIECES = (
    "INVITE sip:a@b SIP/2.0", "SIP/2.0 200 OK", "ACK sip:a@b SIP/2.0", "Via: " + VIA, "v:", "Via:",
    "To: <sip:b@c>;tag=1", "From: \"x\\\" <sip:a@b>;tag=2", "Call-ID: 1@2", "CSeq: 1 INVITE",
    "CSeq: 1", "Content-Length: 5", "l: 999999999999", "Contact: <sip:[::1]:5060>",
    "Max-Forwards: 0",
    "Route: <sip:a;lr>,", "Require: x,,y", "\r\n", "\r\n\r\n", "\r\n ", "\n", "\r", " ", ";", ",",
    '"', "\\", "<", ">", "%", "@", ":", "\0", "\xb2", "\x85", "z9hG4bK", ";branch=", ";rport", "[",
)  # fmt: skip


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    """Whole messages, damaged in a few places, and heaps of pieces."""
    if draw(st.booleans()):
        joined = "\r\n".join(draw(st.lists(st.sampled_from(PIECES), max_size=12)))
        return (joined + draw(st.sampled_from(("", "\r\n\r\n", "\r\n\r\nbody")))).encode("latin-1")
    damaged = bytearray(draw(st.sampled_from((ask("INVITE", body="v=0\r\n"), invite(), text()))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(damaged)))
        until = min(len(damaged), at + draw(st.integers(0, 8)))
        new = draw(
            st.one_of(st.sampled_from(PIECES).map(lambda p: p.encode("latin-1")), st.binary())
        )
        damaged[at:until] = new
    return bytes(damaged)


@settings(max_examples=600, deadline=None)
@given(st.one_of(datagrams(), st.binary(max_size=300)))
@example(b"\xb2 sip:a SIP/2.0\r\nCSeq: \xb2 A\r\nVia: SIP/2.0/UDP a\r\n\r\n")
@example(b'A sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch="\r\n\r\n')
def test_no_bytes_raise_anything_but_bad_message_and_none_pass_the_layer(datagram: bytes) -> None:
    msg = parsed(datagram)
    if isinstance(msg, BadMessage):
        assert 400 <= msg.status < 600
        assert msg.message is None or msg.message.method not in ("", "ACK")
    else:
        answerable(msg)
    node = Clockwork()
    node.receive(datagram, HERE)
    node.until(100)
    assert node.faults == []
    for (_, sent), dst in zip(node.sent, node.destinations, strict=True):
        assert dst[0] == HERE[0]
        assert sent.startswith(b"SIP/2.0 ")
        assert sent.count(b"\r\n\r\n") == 1
        assert re.fullmatch(rb"(?:[^\r\n]+\r\n)+\r\n", sent)  # no line can be smuggled in


def parsed(datagram: bytes) -> Message | BadMessage:
    try:
        return parse(datagram)
    except BadMessage as bad:
        return bad


def answerable(msg: Message) -> None:
    """Whatever `check` lets pass can be answered, and the answer can be read."""
    if msg.method and check(msg) is None:
        asked = origin(msg, HERE)
        answer = parse(respond(asked, 200, to_tag="t"))
        assert answer.cseq == msg.cseq
        assert reply_address(asked)[0] == HERE[0]


HOSTILE = (
    '"\\',
    '\\"',
    '"',
    "<",
    "a ",
    "a,",
    ";a=",
    ' "a"',
    "%",
    "[",
    "(",
    " ",
    ";",
    "; ",
    "\t",
    "\r\n ",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_value_costs_no_more_than_its_length(piece: str) -> None:
    """Backtracking over 60 kB would take minutes; the bound is far above what a slow machine
    needs.
    """
    value = piece * (60_000 // len(piece))
    node = Clockwork()
    start = time.perf_counter()
    for name in ("To", "Via", "Contact", "Route", "Call_ID", "Require", "CSeq", "X_A"):
        node.receive(text(**{name: value}), HERE)
        node.receive(text(**{name: f"a{value}a\r\n a"}), HERE)
    node.receive(text(Via=f"{VIA};a{value}b;received=1.2.3.4"), HERE)
    for hostile in (value, f"a{value}b", f",{value}", f"{value},", f"<a:b>{value}", f"sip:{value}"):
        for read in (split_commas, uri_of, tag_of, user_of, display_name_of, is_address):
            read(hostile)
        with suppress(BadUri):
            parse_uri(hostile)
        with suppress(BadUri):
            split_host(hostile)
    assert time.perf_counter() - start < 5
    assert node.faults == []
