"""What a shard does with requests for numbers of other shards: it passes them on and keeps nothing.

No record, no transaction and no line in the ledger: the owner receives the call. A request that
another shard passed to us, and that we do not own either, gets no answer: one of us has not heard
of a change yet, and the caller's repeat in half a second finds us agreed.
"""

from collections.abc import Callable, Sequence

from calls.centre import Address
from calls.elsewhere import Elsewhere
from sip import relay
from sip.message import RETRY_AFTER_S, Message

RETRY_AFTER = ("Retry-After", str(RETRY_AFTER_S))

Answer = Callable[[Message, Address, int, Sequence[tuple[str, str]]], None]
"""(request, its source, status, headers): the final answer to it."""


class Relay:
    """One shard's."""

    def __init__(
        self,
        sip: Address,
        *,
        elsewhere: Callable[[Message], Elsewhere | None],
        is_shard: Callable[[Address], bool],
        is_late: Callable[[], bool],
        send: Callable[[bytes, Address], None],
        answer: Answer,
    ) -> None:
        """`elsewhere(request)`: where it belongs if not here, and how it gets there; `is_late()`:
        is this node so busy that new calls wait."""
        self._sent_by = f"{sip[0]}:{sip[1]}"
        self._elsewhere = elsewhere
        self._is_shard = is_shard
        self._is_late = is_late
        self._send = send
        self._answer = answer
        self.counters = dict.fromkeys(
            ("requests", "responses", "redirected", "refused", "unowned"), 0
        )

    def aside(self, msg: Message, datagram: bytes, source: Address) -> bool:
        """Has this message, which fits no transaction, been dealt with here?"""
        if not msg.method:
            return msg.branch.startswith(relay.BRANCH) and self._back(msg, datagram, source)
        found = self._elsewhere(msg)
        if found is None:
            return False
        is_call = msg.method == "INVITE" and not msg.to_tag
        if self._is_shard(source):
            self.counters["unowned"] += 1
        elif found.how == "redirect":
            if not is_call:
                return False
            self._redirect(msg, source, found.sip)
        elif is_call and self._is_late():
            self._refuse(msg, source, 503, (RETRY_AFTER,))
        else:
            self._forward(msg, datagram, source, found.sip)
        return True

    def _forward(self, msg: Message, datagram: bytes, source: Address, target: Address) -> None:
        try:
            passed = relay.forward(datagram, msg, source, sent_by=self._sent_by, target=target)
        except relay.NotRelayed as refused:
            self._refuse(msg, source, refused.status, refused.headers)
        else:
            self.counters["requests"] += 1
            self._send(passed, target)

    def _back(self, msg: Message, datagram: bytes, source: Address) -> bool:
        """Only shards answer what we relay: whoever else sends such an answer made it up."""
        found = relay.back(datagram, msg) if self._is_shard(source) else None
        if found is not None:
            self.counters["responses"] += 1
            self._send(*found)
        return True

    def _redirect(self, msg: Message, source: Address, target: Address) -> None:
        self.counters["redirected"] += 1
        contact = ("Contact", f"<{relay.retargeted(msg.uri, target)}>")
        self._answer(msg, source, 302, (contact,))

    def _refuse(
        self, msg: Message, source: Address, status: int, headers: Sequence[tuple[str, str]]
    ) -> None:
        self.counters["refused"] += 1
        if msg.method != "ACK":
            self._answer(msg, source, status, headers)
