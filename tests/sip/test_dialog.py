"""Answers and dialogs as records: what another node needs to go on, and what goes over the wire."""

import msgspec
import pytest

from sip.dialog import (
    Dialog,
    Origin,
    ack_failure,
    answered,
    cancel,
    incoming,
    origin,
    outgoing,
    refresh,
    refuse,
    reply_address,
    request,
    respond,
)
from sip.message import Message, check, parse
from sip.uri import Address, BadUri
from tests.sip.clockwork import HERE, THERE, ask, asked, dialog


def with_headers(datagram: bytes, *lines: str) -> Message:
    """A message with header lines added in front of its CSeq."""
    added = "".join(f"{line}\r\n" for line in lines).encode()
    return parse(datagram.replace(b"CSeq: ", added + b"CSeq: ", 1))


def with_via(via: str) -> Message:
    head, _, rest = ask("INVITE").partition(b"Via: ")
    return parse(head + b"Via: " + via.encode() + b"\r\n" + rest.partition(b"\r\n")[2])


# -- answering


def test_an_answer_repeats_what_the_request_said_and_adds_a_tag() -> None:
    msg = with_headers(
        ask("INVITE"), "Record-Route: <sip:127.0.0.8;lr>", "Record-Route: <sip:p2;lr>"
    )
    datagram = respond(
        origin(msg, HERE),
        200,
        to_tag="ours",
        contact="sip:k@127.0.0.3",
        headers=[("Allow", "INVITE")],
        body="v=0\r\n",
    )
    answer = parse(datagram)

    assert datagram.startswith(b"SIP/2.0 200 OK\r\n")
    for name in ("from", "call-id", "cseq", "record-route"):
        assert answer.headers[name] == msg.headers[name]
    assert answer.get("to") == "<sip:b@127.0.0.3>;tag=ours"
    assert answer.get("contact") == "<sip:k@127.0.0.3>"
    assert (answer.get("content-type"), answer.get("allow")) == ("application/sdp", "INVITE")
    assert answer.body == "v=0\r\n"


def test_an_answer_inside_a_dialog_keeps_the_tag_it_was_asked_with() -> None:
    msg = parse(ask("BYE").replace(b"To: <sip:b@127.0.0.3>", b"To: <sip:b@127.0.0.3>;tag=old"))

    assert parse(respond(origin(msg, HERE), 481, to_tag="new")).to_tag == "old"


def test_only_a_100_and_a_refusal_leave_the_record_route_out() -> None:
    msg = with_headers(ask("INVITE"), "Record-Route: <sip:127.0.0.8;lr>")
    routed = [
        status
        for status in (100, 180, 200, 302, 486)
        if parse(respond(origin(msg, HERE), status)).get("record-route")
    ]

    assert routed == [180, 200]


@pytest.mark.parametrize(
    ("via", "answered_with", "goes_to"),
    [
        ("SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1", "", ("127.0.0.2", 5060)),
        ("SIP/2.0/UDP 127.0.0.2:5080;branch=z9hG4bK1", "", ("127.0.0.2", 5080)),
        ("SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1", "", ("127.0.0.2", 5060)),
        (
            "SIP/2.0/UDP 10.0.0.9:5080;branch=z9hG4bK1",
            "SIP/2.0/UDP 10.0.0.9:5080;branch=z9hG4bK1;received=127.0.0.2",
            ("127.0.0.2", 5080),
        ),
        (
            "SIP/2.0/UDP 10.0.0.9:5080;rport;branch=z9hG4bK1",
            "SIP/2.0/UDP 10.0.0.9:5080;rport=40000;branch=z9hG4bK1;received=127.0.0.2",
            ("127.0.0.2", 40000),
        ),
        (
            "SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1;rport",
            "SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1;rport=40000;received=127.0.0.2",
            ("127.0.0.2", 40000),
        ),
        (
            "SIP/2.0/UDP phone.example;branch=z9hG4bK1;received=6.6.6.6;rport=1"
            ", SIP/2.0/UDP b;branch=2",
            "SIP/2.0/UDP phone.example;branch=z9hG4bK1;rport=40000;received=127.0.0.2"
            ", SIP/2.0/UDP b;branch=2",
            ("127.0.0.2", 40000),
        ),
        ("SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKrport", "", ("127.0.0.2", 5060)),
        ("SIP/2.0/UDP 127.0.0.2;maddr=6.6.6.6;branch=z9hG4bK1", "", ("127.0.0.2", 5060)),
    ],
)
def test_where_an_answer_goes_and_what_its_via_says(
    via: str, answered_with: str, goes_to: Address
) -> None:
    asked_with = origin(with_via(via), ("127.0.0.2", 40000))

    assert asked_with.vias == [answered_with or via]
    assert reply_address(asked_with) == goes_to


def test_an_origin_and_a_dialog_survive_the_log_and_answer_the_same() -> None:
    msg = with_headers(ask("INVITE"), "Record-Route: <sip:127.0.0.8;lr>")
    first = origin(msg, HERE)
    there = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=Origin)
    assert there == first
    assert respond(there, 180, to_tag="t") == respond(first, 180, to_tag="t")
    assert reply_address(there) == reply_address(first)

    call = incoming(msg, HERE, "t")
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=Dialog)
    assert copy == call
    made = [request(d, "BYE", cseq=2, branch="z9hG4bKx", sent_by="127.0.0.3") for d in (call, copy)]
    assert made[0] == made[1]


def test_a_stateless_refusal_says_the_same_every_time_and_can_carry_headers() -> None:
    msg = parse(ask("INVITE"))
    one = refuse(msg, HERE, 503, headers=[("Retry-After", "2")])
    answer = parse(one)

    assert one == refuse(msg, HERE, 503, headers=[("Retry-After", "2")])
    assert (answer.status, answer.reason) == (503, "Service Unavailable")
    assert (answer.get("retry-after"), bool(answer.to_tag)) == ("2", True)


def test_a_status_without_a_phrase_of_its_own_has_that_of_its_class() -> None:
    lines = [respond(asked(ask("BYE")), status).partition(b"\r\n")[0] for status in (299, 499, 699)]

    assert lines == [b"SIP/2.0 299 OK", b"SIP/2.0 499 Bad Request", b"SIP/2.0 699 Global Failure"]
    assert respond(asked(ask("BYE")), 200, "Fine").startswith(b"SIP/2.0 200 Fine\r\n")


# -- making a dialog


def test_a_call_taken_knows_both_sides() -> None:
    call = incoming(parse(ask("INVITE", cseq=7)), HERE, "theirs")

    assert (call.call_id, call.local_tag, call.remote_tag) == ("call1", "theirs", "ours")
    assert (call.local_uri, call.remote_uri) == ("sip:b@127.0.0.3", "sip:a@127.0.0.2")
    assert (call.target, call.routes, call.next_hop) == ("sip:a@127.0.0.2", [], HERE)
    assert (call.local_cseq, call.remote_cseq) == (0, 7)


@pytest.mark.parametrize(
    ("via_host", "contact", "routes", "source", "hop"),
    [
        ("127.0.0.2", "<sip:a@127.0.0.9:5070>", [], ("127.0.0.2", 5060), ("127.0.0.9", 5070)),
        ("127.0.0.2", "<sip:a@pc.example>", [], ("127.0.0.2", 5060), ("127.0.0.2", 5060)),
        ("10.0.0.9", "<sip:a@10.0.0.9>", [], ("127.0.0.2", 40000), ("127.0.0.2", 40000)),
        ("shard.example", "<sip:a@127.0.0.9>", [], ("127.0.0.2", 5060), ("127.0.0.9", 5060)),
        ("10.0.0.9", "<sip:a@10.0.0.9>", ["<sip:127.0.0.8;lr>"], HERE, ("127.0.0.8", 5060)),
        ("10.0.0.9", "<sip:a@10.0.0.9>", ["<sip:edge.example;lr>"], HERE, HERE),
        ("127.0.0.2", "", [], HERE, HERE),
    ],
)
def test_where_requests_inside_a_call_taken_go(
    via_host: str, contact: str, routes: list[str], source: Address, hop: Address
) -> None:
    msg = with_via(f"SIP/2.0/UDP {via_host}:5060;branch=z9hG4bK1")
    msg.headers["contact"] = [contact] if contact else []
    msg.headers["record-route"] = routes

    assert incoming(msg, source, "t").next_hop == hop


def test_a_call_made_takes_tag_target_and_routes_from_the_answer() -> None:
    call = dialog()
    assert (call.local_cseq, call.remote_tag, call.next_hop) == (1, "", THERE)
    answer = with_headers(
        respond(asked(ask("INVITE")), 200, to_tag="theirs", contact="sip:b@127.0.0.7:5077"),
        "Record-Route: <sip:127.0.0.9;lr>, <sip:127.0.0.8:5088;lr>",
        "Record-Route: <sip:127.0.0.6;lr>",
    )
    answered(call, answer)

    assert (call.remote_tag, call.target) == ("theirs", "sip:b@127.0.0.7:5077")
    assert call.routes == ["<sip:127.0.0.6;lr>", "<sip:127.0.0.8:5088;lr>", "<sip:127.0.0.9;lr>"]
    assert call.next_hop == ("127.0.0.6", 5060)
    bye = parse(request(call, "BYE", cseq=2, branch="z9hG4bK2", sent_by="127.0.0.2"))
    assert bye.uri == "sip:b@127.0.0.7:5077"
    assert bye.headers["route"] == call.routes
    assert bye.get("to") == "<sip:b@127.0.0.3>;tag=theirs"
    assert bye.get("max-forwards") == "70"
    assert check(bye) is None


def test_an_answer_from_a_name_keeps_the_next_hop() -> None:
    call = dialog()
    answered(
        call, parse(respond(asked(ask("INVITE")), 200, to_tag="t", contact="sip:b@pc.example"))
    )

    assert (call.target, call.next_hop) == ("sip:b@pc.example", THERE)


def test_a_call_to_a_name_is_refused_before_it_begins() -> None:
    with pytest.raises(BadUri):
        outgoing("c", "t", "sip:a@b", "sip:b@c", "sip:b@name.example")
    call = outgoing("c", "t", "sip:a@b", "sip:b@c", "sip:b@name.example", ["<sip:127.0.0.8;lr>"])
    assert call.next_hop == ("127.0.0.8", 5060)


def test_a_re_invite_moves_the_target_and_not_the_routes() -> None:
    call = incoming(with_headers(ask("INVITE"), "Record-Route: <sip:127.0.0.8;lr>"), HERE, "t")
    moved = with_headers(ask("INVITE", cseq=5), "Record-Route: <sip:127.0.0.9;lr>")
    moved.headers["contact"] = ["<sip:a@127.0.0.77>"]
    refresh(call, moved)

    assert (call.target, call.remote_cseq) == ("sip:a@127.0.0.77", 5)
    assert (call.routes, call.next_hop) == (["<sip:127.0.0.8;lr>"], ("127.0.0.8", 5060))
    refresh(call, parse(respond(asked(ask("UPDATE", cseq=9)), 200)))  # no Contact, a response
    assert (call.target, call.remote_cseq) == ("sip:a@127.0.0.77", 5)


def test_a_strict_router_gets_its_own_address_in_the_request_line() -> None:
    call = dialog()
    call.routes = ["<sip:127.0.0.8?x=y>", "<sip:127.0.0.9;lr>"]
    bye = parse(request(call, "BYE", cseq=2, branch="z9hG4bK2", sent_by="127.0.0.2"))

    assert bye.uri == "sip:127.0.0.8"
    assert bye.headers["route"] == ["<sip:127.0.0.9;lr>", "<sip:b@127.0.0.3>"]


def test_a_request_may_name_another_fork_or_none() -> None:
    call = dialog()
    call.remote_tag = "one"
    tags = [
        parse(request(call, "ACK", cseq=1, branch="z9hG4bK2", sent_by="h", to_tag=tag)).to_tag
        for tag in (None, "two", "")
    ]

    assert tags == ["one", "two", ""]


def test_a_name_shown_stands_in_front_of_the_address() -> None:
    call = outgoing("c", "t", '"Desk, 1" <sip:a@b>', "sip:b@c", "sip:b@127.0.0.1")
    msg = parse(
        request(call, "INVITE", cseq=1, branch="z9hG4bK2", sent_by="h", contact="<sip:a@b>;x=y")
    )

    assert msg.get("from") == '"Desk, 1" <sip:a@b>;tag=t'
    assert msg.get("contact") == "<sip:a@b>;x=y"
    assert check(msg) is None


# -- companions of an INVITE


def test_a_cancel_is_the_invite_with_another_method() -> None:
    call = dialog()
    call.routes = ["<sip:127.0.0.8;lr>"]
    invite = request(
        call,
        "INVITE",
        cseq=3,
        branch="z9hG4bK2",
        sent_by="127.0.0.2",
        headers=[("Require", "x"), ("Content-Type", "text/plain")],
        body="hello",
    )
    sent, made = parse(invite), parse(cancel(invite))

    assert (made.method, made.uri, made.cseq, made.branch) == ("CANCEL", sent.uri, 3, "z9hG4bK2")
    for name in ("from", "to", "call-id", "route", "via"):
        assert made.headers[name] == sent.headers[name]
    assert (made.get("require"), made.get("contact"), made.body) == ("", "", "")


def test_an_ack_to_a_refusal_has_the_refusals_to() -> None:
    invite = ask("INVITE", cseq=3)
    made = parse(ack_failure(invite, parse(respond(asked(invite), 486, to_tag="theirs"))))

    assert (made.method, made.cseq, made.cseq_method) == ("ACK", 3, "ACK")
    assert (made.to_tag, made.branch) == ("theirs", parse(invite).branch)
