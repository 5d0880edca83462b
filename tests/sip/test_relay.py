"""A request that goes on and its answers that go back, with nothing kept in between."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip import relay
from sip.dialog import ack_failure, cancel, origin, respond
from sip.message import BadMessage, Message, parse
from sip.relay import NotRelayed, back, branch_of, forward
from sip.transaction import Layer
from sip.uri import Address
from tests.sip.test_message import datagrams, invite

CALLER: Address = ("127.0.0.2", 5060)
RELAY: Address = ("127.0.0.8", 5060)
OWNER: Address = ("127.0.0.9", 5080)
US = "127.0.0.8:5060"


def on(datagram: bytes, source: Address = CALLER) -> bytes:
    """The request as RELAY sends it to OWNER."""
    return forward(datagram, parse(datagram), source, sent_by=US, target=OWNER)


def with_lines(*lines: str, uri: str = "sip:4001@127.0.0.8") -> bytes:
    """An INVITE with these header lines on top of the necessary ones."""
    head = (
        f"INVITE {uri} SIP/2.0",
        *lines,
        "From: <sip:100@127.0.0.2>;tag=1",
        "To: <sip:4001@127.0.0.8>",
        "Call-ID: 1@a",
        "CSeq: 1 INVITE",
    )
    return "\r\n".join((*head, "Content-Length: 0", "", "")).encode("latin-1")


VIA = "Via: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1"


def test_only_what_a_proxy_must_change_is_changed() -> None:
    sent = invite().decode("latin-1")
    passed = on(invite()).decode("latin-1")
    assert passed == (
        sent.replace("sip:4001@127.0.0.1:5060 SIP/2.0", "sip:4001@127.0.0.9:5080 SIP/2.0", 1)
        .replace(
            "Via: SIP/2.0/UDP 127.0.0.2:5060;rport;branch=z9hG4bK-1234-1-0",
            f"Via: SIP/2.0/UDP {US};branch={branch_of(parse(invite()))}\r\n"
            "Via: SIP/2.0/UDP 127.0.0.2:5060;rport=5060;branch=z9hG4bK-1234-1-0;received=127.0.0.2",
            1,
        )
        .replace("Max-Forwards: 69", "Max-Forwards: 68", 1)
    )


def test_the_branch_is_the_same_on_every_node_and_for_every_repeat() -> None:
    assert on(invite()) == on(invite())
    # Of the request alone: no seed, no process, no moment.
    assert branch_of(parse(invite())) == "z9hG4bK~575049395f8ec05caafaa2e8"
    assert branch_of(parse(with_lines(VIA))) != branch_of(parse(with_lines(VIA + "2")))


@pytest.mark.parametrize("via", [VIA, "Via: SIP/2.0/UDP 127.0.0.2:5060"], ids=["3261", "2543"])
def test_cancel_and_the_ack_to_a_refusal_go_the_way_of_their_invite(via: str) -> None:
    asked = with_lines(via)
    refusal = parse(respond(origin(parse(asked), CALLER), 486, to_tag="b"))
    branches = {
        parse(on(datagram)).branch
        for datagram in (asked, cancel(asked), ack_failure(asked, refusal))
    }
    assert len(branches) == 1
    assert branches.pop().startswith(relay.BRANCH)


def test_hops_are_counted_down_and_end_at_zero() -> None:
    def hops(*lines: str) -> str:
        return parse(on(with_lines(VIA, *lines))).get("max-forwards")

    assert hops("Max-Forwards: 1") == "0"
    assert hops("max-FORWARDS :255") == "254"
    assert hops() == "70"
    for written, status in (("0", 483), ("00", 483), ("many", 400), ("9" * 5_000, 400)):
        with pytest.raises(NotRelayed) as refused:
            hops(f"Max-Forwards: {written}")
        assert refused.value.status == status


def test_what_has_been_here_before_is_a_loop() -> None:
    with pytest.raises(NotRelayed) as refused:
        on(on(invite()))
    assert refused.value.status == 482
    spelled = f"v : SIP / 2.0 / UDP {RELAY[0]} : {RELAY[1]} ;branch=z9hG4bK0"
    with pytest.raises(NotRelayed):
        on(with_lines(VIA, spelled))


def test_two_relays_that_take_each_other_for_the_owner_end_after_one_round() -> None:
    there = forward(
        on(invite()), parse(on(invite())), RELAY, sent_by="127.0.0.9:5080", target=RELAY
    )
    with pytest.raises(NotRelayed) as refused:
        on(there, OWNER)
    assert refused.value.status == 482


def test_an_extension_that_proxies_must_know_is_refused_by_name() -> None:
    asked = with_lines(VIA, "Proxy-Require: foo, bar")
    with pytest.raises(NotRelayed) as refused:
        on(asked)
    assert refused.value.status == 420
    assert refused.value.headers == [("Unsupported", "foo, bar")]
    assert on(asked.replace(b"INVITE", b"CANCEL"))


def test_a_route_to_us_ends_here_and_others_go_on() -> None:
    def routes(*lines: str) -> list[str]:
        return parse(on(with_lines(VIA, *lines))).all("route")

    assert routes(f"Route: <sip:{US};lr>") == []
    assert routes(f"Route: <sip:{US};lr>, <sip:127.0.0.7;lr>") == ["<sip:127.0.0.7;lr>"]
    assert routes("Route: <sip:127.0.0.8;lr>", "Route: <sip:127.0.0.7;lr>") == [
        "<sip:127.0.0.7;lr>"
    ]
    assert routes("Route: <sip:proxy.example;lr>") == ["<sip:proxy.example;lr>"]


@pytest.mark.parametrize(
    ("uri", "user"),
    [
        ("sip:4001@127.0.0.8;transport=udp;maddr=127.0.0.7", "4001"),
        ("sip:%34001:word@127.0.0.8", "%34001:word"),
        ("tel:+4001;phone-context=x", "+4001"),
        ("SIP:4001@127.0.0.8", "4001"),
    ],
)
def test_the_number_goes_on_and_nothing_else_of_the_uri(uri: str, user: str) -> None:
    assert parse(on(with_lines(VIA, uri=uri))).uri == f"sip:{user}@127.0.0.9:5080"


@pytest.mark.parametrize(
    ("via", "source", "answered_at"),
    [
        ("127.0.0.2:5070", ("127.0.0.2", 6_000), ("127.0.0.2", 5_070)),
        ("127.0.0.2", ("127.0.0.2", 6_000), ("127.0.0.2", 5_060)),
        ("127.0.0.2:5070;rport", ("127.0.0.2", 6_000), ("127.0.0.2", 6_000)),
        ("phone.example:5070", ("127.0.0.2", 6_000), ("127.0.0.2", 5_070)),
        ("10.0.0.1:5070;rport", ("127.0.0.2", 6_000), ("127.0.0.2", 6_000)),
        # An answer shall find the sender, not whom he names.
        ("127.0.0.2:5070;received=127.0.0.66", ("127.0.0.2", 6_000), ("127.0.0.2", 5_070)),
        ("127.0.0.2:5070;rport=9", ("127.0.0.2", 6_000), ("127.0.0.2", 6_000)),
        ("127.0.0.2:5070;maddr=127.0.0.66", ("127.0.0.2", 6_000), ("127.0.0.2", 5_070)),
    ],
)
def test_an_answer_goes_back_to_where_the_request_came_from(
    via: str, source: Address, answered_at: Address
) -> None:
    for spelled in (
        with_lines(f"Via: SIP/2.0/UDP {via};branch=z9hG4bK1"),
        with_lines(f"v: SIP/2.0/UDP {via};branch=z9hG4bK1, SIP/2.0/UDP 10.0.0.3;branch=z9hG4bK0"),
    ):
        asked = parse(on(spelled, source))
        answer = respond(origin(asked, RELAY), 200, to_tag="b", contact="sip:o@127.0.0.9")
        found = back(answer, parse(answer))
        assert found is not None
        datagram, address = found
        assert address == answered_at
        assert parse(datagram).branch == "z9hG4bK1"
        # All that was in front of it is gone, and nothing else.
        assert datagram.split(b"\r\n")[1:] == [
            line for line in answer.split(b"\r\n")[1:] if relay.BRANCH.encode() not in line
        ]


def test_our_via_is_taken_off_a_line_that_holds_others_too() -> None:
    answer = respond(origin(parse(on(with_lines(VIA))), RELAY), 180).decode()
    one_line = answer.replace("\r\nVia: SIP/2.0/UDP 127.0.0.2", ", SIP/2.0/UDP 127.0.0.2").encode()
    assert back(one_line, parse(one_line)) == back(answer.encode(), parse(answer.encode()))


def test_an_answer_that_leads_nowhere_is_not_sent() -> None:
    ours = f"SIP/2.0/UDP {US};branch={relay.BRANCH}1"
    for via in ("", ", SIP/2.0/UDP phone.example;branch=z9hG4bK1",
                ", SIP/2.0/UDP 127.0.0.2:0;branch=z9hG4bK1", ", nonsense",
                ", SIP/2.0/UDP 127.0.0.2;received=phone.example;branch=z9hG4bK1"):  # fmt: skip
        answer = (
            f"SIP/2.0 200 OK\r\nVia: {ours}{via}\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\n"
            "Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        ).encode()
        assert back(answer, parse(answer)) is None


# -- a caller, a relay and an owner ----------------------------------------------------------------


class Way:
    """Two layers with transactions, and between them one who keeps nothing; datagrams get lost."""

    def __init__(self, lost: frozenset[int] = frozenset()) -> None:
        self.now_ms = 0
        self.lost = lost
        self.count = 0
        self.heard: list[Message] = []
        self.asked: list[Message] = []
        self.faults: list[Exception] = []
        self._wire: list[tuple[bytes, Address, Address]] = []
        self.caller = Layer(
            lambda data, dst: self._wire.append((data, CALLER, dst)),
            self, 0, sent_by="127.0.0.2:5060", on_fault=self.faults.append,
        )  # fmt: skip
        self.owner = Layer(
            lambda data, dst: self._wire.append((data, OWNER, dst)),
            self, 0, sent_by="127.0.0.9:5080", on_fault=self.faults.append,
        )  # fmt: skip

    def on_request(self, msg: Message, source: Address) -> None:
        assert source == RELAY
        self.asked.append(msg)

    def on_response(self, msg: Message, source: Address) -> None:
        assert source == RELAY
        self.heard.append(msg)

    def on_timeout(self, branch: str, method: str) -> None:
        raise AssertionError(f"{method} had no answer")

    def run(self, ms: int) -> None:
        until = self.now_ms + ms
        while True:
            while self._wire:
                datagram, source, dst = self._wire.pop(0)
                self.count += 1
                if self.count not in self.lost:
                    self._deliver(datagram, source, dst)
            due = [due for layer in (self.caller, self.owner) if (due := layer.next_ms) is not None]
            if min(due, default=until + 1) > until:
                break
            self.now_ms = max(self.now_ms, min(due))
            for layer in (self.caller, self.owner):
                layer.tick(self.now_ms)
        self.now_ms = until

    def _deliver(self, datagram: bytes, source: Address, dst: Address) -> None:
        if dst == RELAY:
            msg = parse(datagram)
            if msg.method:
                self._wire.append(
                    (forward(datagram, msg, source, sent_by=US, target=OWNER), RELAY, OWNER)
                )
            else:
                assert msg.branch.startswith(relay.BRANCH)
                found = back(datagram, msg)
                assert found is not None
                self._wire.append((found[0], RELAY, found[1]))
        else:
            layer = self.caller if dst == CALLER else self.owner
            layer.receive(datagram, source, self.now_ms)

    def ask(self, datagram: bytes) -> None:
        msg = parse(datagram)
        self.caller.request(msg.method, msg.branch, datagram, RELAY, self.now_ms)

    def answer(self, method: str, status: int) -> None:
        """The owner answers the last request of this method."""
        asked = origin([msg for msg in self.asked if msg.method == method][-1], RELAY)
        data = respond(asked, status, to_tag="b", contact="sip:o@127.0.0.9:5080")
        self.owner.respond(asked, status, data, self.now_ms)

    def statuses(self, method: str) -> list[int]:
        return [msg.status for msg in self.heard if msg.cseq_method == method]


LOST = st.frozensets(st.integers(1, 24), max_size=4)
# Four losses in a row cost 7.5 s: what is asked comes within 8 s.


@settings(max_examples=60, deadline=None)
@given(LOST)
def test_a_refused_call_is_refused_once_whatever_is_lost(lost: frozenset[int]) -> None:
    way = Way(lost)
    way.ask(invite())
    way.run(8_000)
    way.answer("INVITE", 486)
    way.run(30_000)
    assert [msg.method for msg in way.asked] == ["INVITE"]
    assert way.statuses("INVITE") == [486]
    assert way.faults == []
    way.run(40_000)
    assert len(way.owner) == len(way.caller) == 0


@settings(max_examples=60, deadline=None)
@given(LOST)
def test_a_cancelled_call_ends_whatever_is_lost(lost: frozenset[int]) -> None:
    way = Way(lost)
    way.ask(invite())
    way.run(8_000)
    way.answer("INVITE", 180)
    way.run(8_000)
    way.ask(cancel(invite()))
    way.run(8_000)
    invited, cancelled = way.asked
    assert (invited.method, cancelled.method) == ("INVITE", "CANCEL")
    assert invited.branch == cancelled.branch
    way.answer("CANCEL", 200)
    way.answer("INVITE", 487)
    way.run(30_000)
    assert way.statuses("INVITE")[-1] == 487
    assert way.statuses("CANCEL") == [200]
    assert way.faults == []


def test_a_call_that_is_answered_goes_on_without_us() -> None:
    way = Way()
    way.ask(invite())
    way.run(100)
    way.answer("INVITE", 200)
    way.run(100)
    (ok,) = way.heard
    assert ok.get("contact") == "<sip:o@127.0.0.9:5080>"
    assert ok.all("record-route") == ["<sip:127.0.0.2;lr;ftag=abc>"]  # the caller's edge, not ours


# -- any bytes -------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.one_of(datagrams(), st.binary(max_size=300)), st.booleans())
def test_no_bytes_raise_anything_but_a_refusal_and_what_goes_on_can_be_read(
    datagram: bytes, swap: bool
) -> None:
    if swap:
        datagram = datagram.replace(b"SIP/2.0 2", b"INVITE sip:4001@x SIP/2.0\r\nx: ", 1)
    with suppress(BadMessage, NotRelayed):
        msg = parse(datagram)
        if not msg.method:
            found = back(datagram, msg)
            if found is not None:
                assert parse(found[0]).body == msg.body
                assert parse(found[0]).all("via") == msg.all("via")[1:]
            return
        passed = on(datagram)
        assert passed == on(datagram)
        read = parse(passed)
        assert (read.method, read.body, read.call_id, read.cseq) == (
            msg.method, msg.body, msg.call_id, msg.cseq,
        )  # fmt: skip
        assert read.all("via")[2:] == msg.all("via")[1:]
        kept = {"via", "max-forwards", "route"}
        assert {k: v for k, v in read.headers.items() if k not in kept} == {
            k: v for k, v in msg.headers.items() if k not in kept
        }


# -- the layer -------------------------------------------------------------------------------------


def test_the_layer_shows_only_what_fits_no_transaction_and_keeps_nothing_of_it() -> None:
    shown: list[str] = []
    told: list[str] = []

    class User:
        def on_request(self, msg: Message, source: Address) -> None:
            told.append(msg.method)

        def on_response(self, msg: Message, source: Address) -> None:
            told.append(str(msg.status))

        def on_timeout(self, branch: str, method: str) -> None: ...

    def aside(msg: Message, datagram: bytes, source: Address) -> bool:
        assert parse(datagram).branch == msg.branch
        shown.append(msg.method or str(msg.status))
        return "4002" in msg.uri or msg.branch.startswith(relay.BRANCH)

    layer = Layer(lambda data, dst: None, User(), 0, aside=aside)
    ours, others = invite(), invite().replace(b"4001", b"4002").replace(b"bK-1234", b"bK-1235")
    for datagram in (ours, ours, others, others, cancel(others)):
        layer.receive(datagram, CALLER, 0)
    assert shown == ["INVITE"] * 3 + ["CANCEL"]
    assert told == ["INVITE"]
    assert len(layer) == 1
    asked = origin(parse(ours), CALLER)
    layer.respond(asked, 486, respond(asked, 486, to_tag="b"), 0)
    for datagram in (ours, others):
        refusal = parse(respond(origin(parse(datagram), CALLER), 486, to_tag="b"))
        layer.receive(ack_failure(datagram, refusal), CALLER, 0)
    assert shown[4:] == ["ACK"]  # the other one ended our own refusal
    layer.receive(respond(origin(parse(on(others)), RELAY), 180), OWNER, 0)
    layer.receive(respond(origin(parse(others), CALLER), 180), OWNER, 0)
    assert shown[5:] == ["180", "180"]
    assert told == ["INVITE", "180"]
    assert layer.counters["aside"] == 5
