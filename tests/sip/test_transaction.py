"""The timers of RFC 3261 §17 and RFC 6026 on virtual time, against the tables of the RFCs."""

import pytest

from sip.dialog import respond
from sip.message import Message, parse
from sip.transaction import T1_MS, T2_MS, Layer
from sip.uri import Address
from tests.sip.clockwork import BASE_MS, BRANCH, HERE, THERE, Clockwork, ack_for, ask, asked

GIVEN_UP_MS = 64 * T1_MS
INVITE_CLIENT_MS = [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]
"""Timer A doubles without limit (§17.1.1.2)."""
OTHER_CLIENT_MS = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
"""Timer E doubles up to T2 (§17.1.2.2)."""


# -- client, INVITE


def test_an_unanswered_invite_goes_seven_times_and_is_given_up_after_64_t1() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.until(GIVEN_UP_MS + 60_000)

    assert node.times(invite) == INVITE_CLIENT_MS
    assert node.timeouts == [(GIVEN_UP_MS, BRANCH, "INVITE")]
    assert len(node.layer) == 0
    assert node.layer.counters["retransmitted"] == 6


def test_a_provisional_ends_the_repeats_of_an_invite_and_timer_b() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.until(600)
    node.receive(respond(asked(invite), 100))
    node.until(40_000)

    assert node.times(invite) == [0, 500]
    assert node.timeouts == []
    assert [msg.status for msg in node.responses] == [100]


def test_a_refused_invite_is_acknowledged_once_and_again_for_each_repeat() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    busy = respond(asked(invite), 486, to_tag="theirs")
    node.receive(busy)
    node.until(31_000)
    node.receive(busy)

    (first, again) = [sent for _, sent in node.sent if sent.startswith(b"ACK ")]
    assert first == again
    ack = parse(first)
    assert (ack.branch, ack.to_tag, ack.cseq) == (BRANCH, "theirs", 1)
    assert [msg.status for msg in node.responses] == [486]

    node.until(GIVEN_UP_MS + 10)  # timer D is over
    assert len(node.layer) == 0
    assert node.timeouts == []


def test_each_repeat_of_a_200_is_told_until_timer_m() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    ok = respond(asked(invite), 200, to_tag="theirs")
    other = respond(asked(invite), 200, to_tag="another-fork")
    for ms, answer in ((100, ok), (700, ok), (900, other)):
        node.until(ms)
        node.receive(answer)
    node.receive(respond(asked(invite), 180, to_tag="late"))

    assert [msg.to_tag for msg in node.responses] == ["theirs", "theirs", "another-fork"]
    assert node.times(invite) == [0]
    assert len(node.layer) == 1
    node.until(100 + GIVEN_UP_MS)
    assert len(node.layer) == 0
    node.receive(ok)  # a stray now, and still told: only the records know if it needs an ACK
    assert len(node.responses) == 4
    assert node.layer.counters["strays"] == 1


def test_the_ack_to_a_refusal_may_be_left_to_the_user_who_hears_each_repeat_until_he_sends_it() -> (
    None
):
    node, invite = Clockwork(acks_refusals=False), ask("INVITE")
    node.ask(invite)
    busy = respond(asked(invite), 486, to_tag="theirs")
    node.receive(busy)
    node.until(600)
    node.receive(busy)

    assert [msg.status for msg in node.responses] == [486, 486]
    assert node.times(invite) == [0]
    assert [sent for _, sent in node.sent if sent.startswith(b"ACK ")] == []

    node.until(GIVEN_UP_MS + 10)  # timer D is over
    assert len(node.layer) == 0
    assert node.timeouts == []


def test_a_200_behind_a_refusal_is_told_so_that_it_can_be_acknowledged_and_ended() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.receive(respond(asked(invite), 486, to_tag="one"))
    node.receive(respond(asked(invite), 200, to_tag="other"))

    assert [msg.status for msg in node.responses] == [486, 200]


def test_a_cancelled_invite_is_given_up_64_t1_after_the_cancel() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.receive(respond(asked(invite), 180, to_tag="theirs"))
    node.until(20_000)
    cancel = ask("CANCEL")
    node.ask(cancel)
    node.receive(respond(asked(cancel), 200))
    node.until(26_000)
    node.receive(respond(asked(invite), 180, to_tag="theirs"))  # does not prolong it
    node.until(60_000)

    assert node.timeouts == [(20_000 + GIVEN_UP_MS, BRANCH, "INVITE")]
    assert len(node.layer) == 0


def test_a_ringing_invite_that_nobody_ends_does_not_stay_for_ever() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.receive(respond(asked(invite), 180, to_tag="theirs"))
    node.until(200_000)
    node.receive(respond(asked(invite), 180, to_tag="theirs"))
    node.until(499_990)
    assert node.timeouts == []
    node.until(500_000)

    assert node.timeouts == [(500_000, BRANCH, "INVITE")]


# -- client, others


def test_an_unanswered_bye_goes_eleven_times_and_is_given_up_after_64_t1() -> None:
    node, bye = Clockwork(), ask("BYE")
    node.ask(bye)
    node.until(GIVEN_UP_MS + 60_000)

    assert node.times(bye) == OTHER_CLIENT_MS
    assert node.timeouts == [(GIVEN_UP_MS, BRANCH, "BYE")]


def test_a_provisional_slows_the_repeats_of_a_bye_to_t2() -> None:
    node, bye = Clockwork(), ask("BYE")
    node.ask(bye)
    node.until(400)
    node.receive(respond(asked(bye), 100))
    node.until(GIVEN_UP_MS)

    assert node.times(bye) == [0, 500, *range(500 + T2_MS, GIVEN_UP_MS, T2_MS)]
    assert node.timeouts == [(GIVEN_UP_MS, BRANCH, "BYE")]


def test_a_final_answer_to_a_bye_is_told_once_and_forgotten_after_t4() -> None:
    node, bye = Clockwork(), ask("BYE")
    node.ask(bye)
    node.until(100)
    ok = respond(asked(bye), 200)
    node.receive(ok)
    node.receive(ok)
    node.until(5_090)
    assert len(node.layer) == 1
    node.until(5_100)

    assert len(node.layer) == 0
    assert len(node.responses) == 1
    assert node.timeouts == []


def test_a_request_asked_again_while_it_lives_sends_the_first_bytes_once_more() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.until(100)
    node.ask(invite + b"other bytes")
    node.until(499)
    assert node.sent == [(0, invite), (100, invite)]

    node.receive(respond(asked(invite), 200, to_tag="t"))
    node.ask(invite)
    assert len(node.sent) == 2


# -- server, INVITE


def test_a_repeated_invite_is_silent_before_an_answer_and_gets_the_last_provisional_after() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    node.receive(invite, HERE)
    assert node.sent == []

    ringing = respond(asked(invite), 180, to_tag="ours")
    node.answer(asked(invite), 180, ringing)
    node.receive(invite, HERE)

    assert [sent for _, sent in node.sent] == [ringing, ringing]
    assert node.destinations == [HERE, HERE]
    assert len(node.requests) == 1
    assert node.layer.counters["repeated"] == 2


def test_a_200_to_an_invite_is_repeated_up_to_t2_until_64_t1() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    ok = respond(asked(invite), 200, to_tag="ours")
    node.answer(asked(invite), 200, ok)
    node.until(GIVEN_UP_MS + 60_000)

    assert node.times(ok) == OTHER_CLIENT_MS  # the same doubling up to T2 (§13.3.1.4)
    assert len(node.layer) == 0


def test_a_repeated_invite_behind_its_200_is_absorbed() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    node.answer(asked(invite), 200, respond(asked(invite), 200, to_tag="ours"))
    node.receive(invite, HERE)

    assert len(node.sent) == 1
    assert len(node.requests) == 1


def test_the_ack_to_a_200_is_told_and_acked_ends_the_repeats() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    node.answer(asked(invite), 200, respond(asked(invite), 200, to_tag="ours"))
    node.until(600)
    node.receive(ack_for(invite, branch="z9hG4bKack"), HERE)
    assert [msg.method for msg in node.requests] == ["INVITE", "ACK"]
    node.layer.acked(asked(invite))
    node.layer.acked(asked(invite))
    node.receive(invite, HERE)  # still absorbed
    node.until(GIVEN_UP_MS - 10)

    assert len(node.sent) == 2
    assert len(node.requests) == 2
    assert len(node.layer) == 1
    node.until(GIVEN_UP_MS)  # timer L
    assert len(node.layer) == 0


def test_an_ack_that_wrongly_keeps_the_branch_is_told_when_it_is_to_a_200() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    node.answer(asked(invite), 200, respond(asked(invite), 200, to_tag="ours"))
    node.receive(ack_for(invite), HERE)

    assert [msg.method for msg in node.requests] == ["INVITE", "ACK"]


def test_a_refusal_is_repeated_by_timer_g_until_timer_h() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    busy = respond(asked(invite), 486, to_tag="ours")
    node.answer(asked(invite), 486, busy)
    node.until(GIVEN_UP_MS + 60_000)

    assert node.times(busy) == OTHER_CLIENT_MS
    assert len(node.layer) == 0


def test_the_ack_to_a_refusal_is_absorbed_with_its_repeats_until_timer_i() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    busy = respond(asked(invite), 486, to_tag="ours")
    node.answer(asked(invite), 486, busy)
    node.receive(invite, HERE)  # Completed: the refusal again, at once
    node.until(200)
    node.receive(ack_for(invite), HERE)
    node.receive(ack_for(invite), HERE)
    node.receive(invite, HERE)  # Confirmed: nothing
    node.answer(asked(invite), 486, busy)
    node.until(5_190)
    assert len(node.layer) == 1
    node.until(5_200)

    assert len(node.layer) == 0
    assert node.times(busy) == [0, 0]
    assert len(node.requests) == 1


def test_an_ack_before_any_final_answer_is_dropped() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    node.receive(ack_for(invite), HERE)

    assert len(node.requests) == 1
    assert node.layer.counters["dropped"] == 1


def test_an_ack_that_fits_nothing_is_told() -> None:
    node = Clockwork()
    node.receive(ack_for(ask("INVITE")), HERE)

    assert [msg.method for msg in node.requests] == ["ACK"]


# -- server, others


def test_a_repeated_bye_gets_its_answer_again_until_timer_j() -> None:
    node, bye = Clockwork(), ask("BYE")
    node.receive(bye, HERE)
    node.receive(bye, HERE)
    assert node.sent == []
    ok = respond(asked(bye), 200)
    node.answer(asked(bye), 200, ok)
    node.until(GIVEN_UP_MS - 10)
    node.receive(bye, HERE)
    assert node.times(ok) == [0, GIVEN_UP_MS - 10]
    assert len(node.requests) == 1
    node.until(GIVEN_UP_MS)

    assert len(node.layer) == 0
    node.receive(bye, HERE)
    assert len(node.requests) == 2


def test_a_cancel_is_a_transaction_of_its_own() -> None:
    node, invite, cancel = Clockwork(), ask("INVITE"), ask("CANCEL")
    node.receive(invite, HERE)
    node.receive(cancel, HERE)
    node.receive(cancel, HERE)

    assert [msg.method for msg in node.requests] == ["INVITE", "CANCEL"]
    ok = respond(asked(cancel), 200, to_tag="ours")
    node.answer(asked(cancel), 200, ok)
    node.answer(asked(invite), 487, respond(asked(invite), 487, to_tag="ours"))
    node.receive(ack_for(invite), HERE)
    node.until(GIVEN_UP_MS)

    assert [parse(sent).status for _, sent in node.sent] == [200, 487]
    assert len(node.layer) == 0


def test_a_request_never_answered_is_forgotten() -> None:
    node = Clockwork()
    node.receive(ask("OPTIONS"), HERE)
    node.receive(ask("INVITE"), HERE)
    node.until(GIVEN_UP_MS)
    assert len(node.layer) == 1
    node.until(300_000)

    assert len(node.layer) == 0
    assert node.sent == []


# -- a node that has taken over


def test_a_node_that_took_over_answers_with_the_origin_alone() -> None:
    invite = ask("INVITE")
    origin = asked(invite)
    node = Clockwork()
    ok = respond(origin, 200, to_tag="ours")
    node.answer(origin, 200, ok)
    node.receive(invite, HERE)  # the caller repeats: absorbed here as on the dead node
    node.until(600)

    assert node.times(ok) == [0, 500]
    assert node.requests == []
    assert node.destinations == [HERE, HERE]


def test_a_final_answer_given_again_is_the_first_one_sent_again() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.receive(invite, HERE)
    ok = respond(asked(invite), 200, to_tag="ours")
    node.answer(asked(invite), 200, ok)
    node.until(100)
    node.answer(asked(invite), 200, ok)
    node.answer(asked(invite), 500, respond(asked(invite), 500, to_tag="ours"))

    assert node.sent == [(0, ok), (100, ok), (100, ok)]


# -- what may go wrong


def test_a_response_for_another_sent_by_is_dropped_when_ours_is_known() -> None:
    invite = ask("INVITE")
    ok = respond(asked(invite), 200, to_tag="theirs")
    strict, lenient = Clockwork(sent_by="127.0.0.9:5060"), Clockwork()
    for node in (strict, lenient):
        node.ask(invite)
        node.receive(ok)

    assert (len(strict.responses), len(lenient.responses)) == (0, 1)
    assert strict.layer.counters["dropped"] == 1


def test_beyond_the_bound_new_requests_get_503_and_old_ones_go_on() -> None:
    node = Clockwork(max_transactions=2)
    for n in range(4):
        node.receive(ask("OPTIONS", branch=f"{BRANCH}{n}"), HERE)
    answers = [parse(sent) for _, sent in node.sent]

    assert len(node.requests) == 2
    assert [(msg.status, bool(msg.get("retry-after"))) for msg in answers] == [(503, True)] * 2
    first = asked(ask("OPTIONS", branch=f"{BRANCH}0"))
    node.answer(first, 200, respond(first, 200))
    assert parse(node.sent[-1][1]).status == 200
    node.receive(ask("BYE", branch="z9hG4bKbye"), HERE)
    assert len(node.layer) == 2


def test_beyond_the_bound_a_request_of_ours_is_given_up_at_the_next_tick() -> None:
    node = Clockwork(max_transactions=1)
    node.ask(ask("BYE"))
    node.ask(ask("BYE", branch="z9hG4bKsecond"))
    assert node.timeouts == []
    node.until(10)

    assert node.timeouts == [(0, "z9hG4bKsecond", "BYE")]
    assert len(node.sent) == 1


@pytest.mark.parametrize("datagram", [b"\r\n\r\n", b"\r\n", b"\0", b"\0\0\0\0", b"", b" "])
def test_a_keepalive_is_nothing_more(datagram: bytes) -> None:
    node = Clockwork()
    node.receive(datagram)

    assert node.layer.counters["keepalives"] == 1
    assert node.layer.counters["malformed"] == 0
    assert node.sent == []


@pytest.mark.parametrize(
    "datagram",
    [
        b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),  # STUN
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 20x OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n",
        b"ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n",
        b"ACK sip:a@b SIP/2.0",
        b"INVITE",
        b"x" * 65535,
        "INVITE sip:ü@b SIP/2.0\r\n\r\n".encode("utf-16"),
    ],
)
def test_what_nobody_can_answer_is_dropped_and_counted(datagram: bytes) -> None:
    node = Clockwork()
    node.receive(datagram)

    assert (node.layer.counters["malformed"], node.layer.counters["dropped"]) == (1, 1)
    assert node.sent == []
    assert node.faults == []


def test_an_ack_at_fault_is_dropped_and_a_bye_at_fault_is_answered() -> None:
    node = Clockwork()
    for method in ("ACK", "BYE"):
        node.receive(ask(method).replace(b"CSeq: 1 ", b"CSeq: 1 X"), HERE)

    ((_, datagram),) = node.sent
    answer = parse(datagram.replace(b"1 XBYE", b"1 BYE"))
    assert (answer.status, answer.reason) == (400, "CSeq Method Mismatch")
    assert node.layer.counters["dropped"] == 1
    assert node.requests == []


def test_a_stateless_refusal_is_the_same_for_each_repeat() -> None:
    node = Clockwork()
    for _ in range(2):
        node.receive(ask("INVITE").replace(b"CSeq: 1 ", b"Require: x\r\nCSeq: 1 "), HERE)

    (one, two) = [sent for _, sent in node.sent]
    assert one == two
    assert parse(one).to_tag
    assert len(node.layer) == 0


class Breaks:
    """A user with a bug."""

    def on_request(self, msg: Message, source: Address) -> None:
        raise KeyError("a bug")

    def on_response(self, msg: Message, source: Address) -> None:
        raise KeyError("a bug")

    def on_timeout(self, branch: str, method: str) -> None:
        raise KeyError("a bug")


def test_a_bug_of_the_user_costs_one_datagram_and_is_told() -> None:
    sent: list[bytes] = []
    faults: list[Exception] = []
    layer = Layer(lambda datagram, _: sent.append(datagram), Breaks(), 0, on_fault=faults.append)
    layer.receive(ask("BYE"), HERE, 0)
    layer.receive(respond(asked(ask("INVITE")), 200), THERE, 0)
    layer.request("BYE", "z9hG4bKone", ask("BYE"), THERE, 0)
    layer.request("BYE", "z9hG4bKtwo", ask("BYE"), THERE, 0)
    layer.tick(40_000)
    layer.tick(80_000)
    layer.tick(120_000)

    assert layer.counters["broken"] == 4
    assert [type(fault) for fault in faults] == [KeyError] * 4
    assert len(layer) == 0


def test_a_blocked_loop_does_not_make_a_burst_of_repeats() -> None:
    node, invite = Clockwork(), ask("INVITE")
    node.ask(invite)
    node.now_ms = BASE_MS + 10_000
    node.layer.tick(node.now_ms)
    node.layer.tick(node.now_ms)

    assert node.times(invite) == [0, 10_000]
