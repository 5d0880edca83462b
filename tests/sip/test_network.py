"""Two Layers over a network that loses, doubles and reorders datagrams, on virtual time.

Each request ends in a final answer or one timeout (and in both only when the answer came after it);
nothing raises; what is sent again is the bytes that were sent first; and when all is quiet neither
side keeps anything.
"""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sip.dialog import Origin, ack_failure, origin, outgoing, request, respond
from sip.message import Message, parse
from sip.transaction import Layer
from sip.uri import Address

CALLER: Address = ("127.0.0.2", 5060)
CALLEE: Address = ("127.0.0.3", 5060)
QUIET_MS = 400_000
"""After this nothing can still be under way: longer than any timer, and twice a transaction's
life.
"""


class Side:
    """A user that writes down what it is told, acknowledges each 200, and answers when it is made
    to.
    """

    def __init__(self, address: Address, machine: "LossyNetwork") -> None:
        self.address = address
        self.machine = machine
        self.layer = self.new_layer()
        self.finals: set[tuple[str, str]] = set()
        self.timeouts: Counter[tuple[str, str]] = Counter()
        self.waiting: list[Origin] = []
        self.answered: dict[str, tuple[Origin, int, bytes]] = {}
        self.acked: list[str] = []

    def new_layer(self) -> Layer:
        return Layer(self.send, self, self.machine.now_ms, on_fault=self.machine.faults.append)

    def send(self, datagram: bytes, dst: Address) -> None:
        self.machine.sent(self.address, datagram, dst)

    def on_request(self, msg: Message, source: Address) -> None:
        if msg.method == "ACK":
            known = self.answered.get(msg.call_id)
            if known is not None:
                self.layer.acked(known[0])
                self.acked.append(msg.call_id)
            return
        known = self.answered.get(msg.call_id)
        asked = origin(msg, source)
        if known is not None and known[0].branch == asked.branch:
            self.layer.respond(known[0], known[1], known[2], self.machine.now_ms)
        elif asked.branch not in [waiting.branch for waiting in self.waiting]:
            self.waiting.append(asked)

    def on_response(self, msg: Message, source: Address) -> None:
        if msg.status < 200:
            return
        key = (msg.branch, msg.cseq_method)
        self.finals.add(key)
        if msg.cseq_method == "INVITE" and msg.status < 300:
            ack = ack_failure(self.machine.asked[key], msg)
            branch = msg.branch.encode()
            self.layer.send(ack.replace(branch, branch + b"ack", 1), CALLEE)

    def on_timeout(self, branch: str, method: str) -> None:
        key = (branch, method)
        assert key not in self.finals
        self.timeouts[key] += 1


class LossyNetwork(RuleBasedStateMachine):
    """Hypothesis drives who asks, who answers, and what becomes of each datagram under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 5
        self.faults: list[Exception] = []
        self.under_way: list[tuple[bytes, Address, Address]] = []
        self.first: dict[tuple[str, str, int, Address], bytes] = {}
        self.asked: dict[tuple[str, str], bytes] = {}
        self.caller = Side(CALLER, self)
        self.callee = Side(CALLEE, self)

    def sent(self, source: Address, datagram: bytes, dst: Address) -> None:
        msg = parse(datagram)
        known = self.first.setdefault(
            (msg.branch, msg.method or msg.cseq_method, msg.status, source), datagram
        )
        assert known == datagram
        self.under_way.append((datagram, source, dst))

    def deliver(self, index: int, *, keep: bool = False) -> None:
        datagram, source, dst = self.under_way[index]
        if not keep:
            del self.under_way[index]
        side = self.caller if dst == CALLER else self.callee
        side.layer.receive(datagram, source, self.now_ms)

    @rule(method=st.sampled_from(("INVITE", "INVITE", "BYE", "OPTIONS")))
    def ask(self, method: str) -> None:
        n = len(self.asked)
        branch = f"z9hG4bKn{n}"
        dialog = outgoing(f"call{n}", "a", "sip:a@127.0.0.2", "sip:b@127.0.0.3", "sip:b@127.0.0.3")
        datagram = request(dialog, method, cseq=1, branch=branch, sent_by="127.0.0.2:5060")
        self.asked[branch, method] = datagram
        self.caller.layer.request(method, branch, datagram, CALLEE, self.now_ms)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A takeover asks again for what its records say is pending."""
        (branch, method) = data.draw(st.sampled_from(sorted(self.asked)))
        key = (branch, method)
        if key not in self.caller.finals and not self.caller.timeouts[key]:
            self.caller.layer.request(
                method, branch, self.asked[branch, method], CALLEE, self.now_ms
            )

    @precondition(lambda self: self.callee.waiting)
    @rule(data=st.data(), status=st.sampled_from((100, 180, 200, 200, 404, 486)))
    def answer(self, data: st.DataObject, status: int) -> None:
        asked = data.draw(st.sampled_from(self.callee.waiting))
        datagram = respond(asked, status, to_tag="b")
        if status >= 200:
            self.callee.waiting.remove(asked)
            self.callee.answered[asked.call_id] = (asked, status, datagram)
        self.callee.layer.respond(asked, status, datagram, self.now_ms)

    @precondition(lambda self: self.callee.answered)
    @rule()
    def callee_is_taken_over(self) -> None:
        """Another node goes on with the records: its Layer is empty, and it answers all anew."""
        self.callee.layer = self.callee.new_layer()
        for call_id, (asked, status, datagram) in self.callee.answered.items():
            if call_id not in self.callee.acked:
                self.callee.layer.respond(asked, status, datagram, self.now_ms)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), fate=st.sampled_from(("arrives", "arrives", "arrives", "twice", "lost")))
    def something_happens_to_a_datagram(self, data: st.DataObject, fate: str) -> None:
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        if fate == "lost":
            del self.under_way[index]
        else:
            self.deliver(index, keep=fate == "twice")

    @rule(ms=st.sampled_from((1, 40, 499, 500, 4_000, 5_000, 33_000)))
    def time_passes(self, ms: int) -> None:
        until = self.now_ms + ms
        while True:
            due = [side.layer.next_ms for side in (self.caller, self.callee)]
            next_ms = min((ms for ms in due if ms is not None), default=until)
            if next_ms > until:
                break
            self.now_ms = max(self.now_ms, next_ms)
            self.caller.layer.tick(self.now_ms)
            self.callee.layer.tick(self.now_ms)
            if next_ms >= until:
                break
        self.now_ms = until

    @invariant()
    def nothing_raised(self) -> None:
        assert self.faults == []
        for side in (self.caller, self.callee):
            assert side.layer.counters["broken"] == side.layer.counters["malformed"] == 0

    @invariant()
    def nothing_ends_twice(self) -> None:
        for key in self.asked:
            assert self.caller.timeouts[key] <= 1

    def teardown(self) -> None:
        """All the rest is lost, and time runs out: every request has ended, and nothing is kept."""
        self.under_way.clear()
        self.time_passes(QUIET_MS)
        self.under_way.clear()
        self.nothing_raised()
        for key in self.asked:
            assert key in self.caller.finals or self.caller.timeouts[key] == 1
        assert len(self.caller.layer) == 0
        assert len(self.callee.layer) == 0


LossyNetwork.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLossyNetwork = LossyNetwork.TestCase


def test_on_a_network_that_loses_nothing_every_call_is_answered_and_acknowledged() -> None:
    network = LossyNetwork()
    for n in range(20):
        network.ask("INVITE" if n % 2 else "BYE")
        while network.under_way:
            network.deliver(0)
        (asked,) = network.callee.waiting
        network.callee.waiting.clear()
        answer = respond(asked, 200, to_tag="b")
        network.callee.answered[asked.call_id] = (asked, 200, answer)
        network.callee.layer.respond(asked, 200, answer, network.now_ms)
        while network.under_way:
            network.deliver(0)

    assert len(network.caller.finals) == 20
    assert len(network.callee.acked) == 10
    network.time_passes(100)
    assert network.caller.layer.counters["retransmitted"] == 0
    network.teardown()
