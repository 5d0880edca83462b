"""What a shard does with a request for another shard's number, and with what may be its answer."""

from collections.abc import Sequence

import pytest

from calls.centre import Address
from calls.elsewhere import Elsewhere
from node.relay import Relay
from sip.dialog import ack_failure, cancel, origin, respond
from sip.message import Message, parse
from sip.relay import BRANCH
from tests.sip.test_message import invite

HERE, OWNER, CALLER = ("127.0.0.1", 5060), ("127.0.0.1", 5062), ("127.0.0.2", 5060)
BYE = invite().replace(b"INVITE ", b"BYE ", 1).replace(b"1 INVITE", b"2 BYE", 1)


class Desk:
    """A relay, and what left it."""

    def __init__(self, how: str = "relay") -> None:
        self.how = how
        self.late = False
        self.sent: list[tuple[bytes, Address]] = []
        self.answers: list[tuple[str, int, dict[str, str]]] = []
        self.relay = Relay(
            HERE,
            elsewhere=lambda msg: Elsewhere(self.how, OWNER) if self.how else None,
            is_shard=lambda address: address in (HERE, OWNER),
            is_late=lambda: self.late,
            send=lambda datagram, address: self.sent.append((datagram, address)),
            answer=self._answer,
        )

    def _answer(
        self, msg: Message, source: Address, status: int, headers: Sequence[tuple[str, str]]
    ) -> None:
        self.answers.append((msg.method, status, dict(headers)))

    def takes(self, datagram: bytes, source: Address = CALLER) -> bool:
        return self.relay.aside(parse(datagram), datagram, source)

    def counted(self) -> dict[str, int]:
        return {kind: n for kind, n in self.relay.counters.items() if n}


def test_all_of_a_call_goes_on_and_its_answers_come_back() -> None:
    desk = Desk()
    refusal = parse(respond(origin(parse(invite()), CALLER), 486, to_tag="b"))
    for datagram in (invite(), cancel(invite()), ack_failure(invite(), refusal), BYE):
        assert desk.takes(datagram)
    assert [address for _, address in desk.sent] == [OWNER] * 4
    passed = parse(desk.sent[0][0])
    answer = respond(origin(passed, HERE), 200, to_tag="b", contact="sip:127.0.0.1:5062")
    assert desk.takes(answer, OWNER)
    assert desk.sent[4][1] == CALLER
    assert parse(desk.sent[4][0]).all("via") == passed.all("via")[1:]
    assert desk.counted() == {"requests": 4, "responses": 1}
    assert desk.answers == []


def test_an_answer_that_no_shard_sent_goes_nowhere() -> None:
    """Its Via says where it would go: anybody could aim it at anybody."""
    desk = Desk()
    desk.takes(invite())
    answer = respond(origin(parse(desk.sent[0][0]), HERE), 200, to_tag="b")
    assert desk.takes(answer, ("127.0.0.66", 5060))
    assert len(desk.sent) == 1
    ours = answer.replace(BRANCH.encode(), b"z9hG4bKmain-1-")
    assert not desk.takes(ours, OWNER)  # to a request of ours: the layer's user knows it


def test_a_request_that_a_shard_passed_to_the_wrong_one_gets_no_answer() -> None:
    """One of them has not heard of a change; the caller's repeat finds them agreed."""
    desk = Desk()
    desk.takes(invite())
    passed, _ = desk.sent[0]
    for how in ("relay", "redirect"):
        wrong = Desk(how)
        assert wrong.takes(passed, HERE)
        assert (wrong.sent, wrong.answers, wrong.counted()) == ([], [], {"unowned": 1})
    owner = Desk("")
    assert not owner.takes(passed, HERE)


def test_what_has_come_round_or_too_far_is_refused_and_an_ack_never() -> None:
    desk = Desk()
    looped = invite().replace(b"127.0.0.2:5060;rport", b"127.0.0.1:5060;rport", 1)
    too_far = BYE.replace(b"Max-Forwards: 69", b"Max-Forwards: 0")
    for datagram in (looped, too_far, too_far.replace(b"BYE", b"ACK")):
        assert desk.takes(datagram)
    assert [(method, status) for method, status, _ in desk.answers] == [
        ("INVITE", 482), ("BYE", 483),
    ]  # fmt: skip
    assert (desk.sent, desk.counted()) == ([], {"refused": 3})


def test_a_busy_node_turns_new_calls_away_and_passes_on_the_rest() -> None:
    desk = Desk()
    desk.late = True
    for datagram in (invite(), cancel(invite()), BYE):
        assert desk.takes(datagram)
    assert desk.answers == [("INVITE", 503, {"Retry-After": "2"})]
    assert desk.counted() == {"refused": 1, "requests": 2}


@pytest.mark.parametrize("late", [False, True])
def test_a_redirection_names_the_owner_and_is_for_new_calls_alone(late: bool) -> None:
    desk = Desk("redirect")
    desk.late = late
    assert desk.takes(invite())
    assert desk.answers == [("INVITE", 302, {"Contact": "<sip:4001@127.0.0.1:5062>"})]
    reinvite = invite().replace(b"To: <sip:4001@127.0.0.1:5060>", b"To: <sip:4001@127.0.0.1>;tag=b")
    for datagram in (cancel(invite()), BYE, reinvite):
        assert not desk.takes(datagram)
    assert (desk.sent, desk.counted()) == ([], {"redirected": 1})


def test_what_is_this_shards_own_is_left_alone() -> None:
    desk = Desk("")
    assert not desk.takes(invite())
    assert not desk.takes(BYE)
    assert (desk.sent, desk.answers, desk.counted()) == ([], [], {})
