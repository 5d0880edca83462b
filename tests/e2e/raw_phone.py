"""A phone that sends whatever a test wants to send, and waits for answers."""

import itertools
import re
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sip import dialog
from sip.message import Message, build_request, parse
from sip.sdp import offer
from sip.uri import Address

REPEAT_S = 0.5
"""T1: a request goes again so often until it is answered."""

Headers = tuple[tuple[str, str], ...]


class RawPhone:
    """One UDP port, and at most one call over it."""

    def __init__(self, host: str, shard: Address) -> None:
        self.shard = shard
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.address: Address = self.socket.getsockname()
        self.call_id = f"raw-{self.address[1]}@{host}"
        self.to = ""
        self._cseq = itertools.count(1)
        self._branch = itertools.count(1)
        self.got: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def request(self, method: str, number: str, *extra: tuple[str, str], body: str = "") -> bytes:
        """The bytes of a request, in the call if there is one."""
        host, port = self.address
        at = f"{self.shard[0]}:{self.shard[1]}"
        values = {
            "Via": f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{port}x{next(self._branch)}",
            "Max-Forwards": "70",
            "From": f"<sip:raw@{host}>;tag=raw{port}",
            "To": self.to or f"<sip:{number}@{at}>",
            "Call-ID": self.call_id,
            "CSeq": f"{next(self._cseq)} {method}",
            "Contact": f"<sip:raw@{host}:{port}>",
        }
        changed = dict(extra)
        headers = [(name, changed.pop(name, value)) for name, value in values.items()]
        return build_request(method, f"sip:{number}@{at}", [*headers, *changed.items()], body)

    def sdp(self) -> str:
        """An offer of audio, to a port where nobody listens."""
        return offer(address=self.address[0], port=9, session_id=1, version=1)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.shard)

    def answer_to(self, datagram: bytes, timeout_s: float = 10.0) -> Message:
        """The final answer to a request, which is sent again like any over UDP."""
        sent = parse(datagram)

        def is_final(msg: Message) -> bool:
            same = msg.branch == sent.branch and msg.cseq_method == sent.method
            return same and msg.status >= 200

        return self.await_message(is_final, timeout_s, again=datagram)

    def status_of(self, datagram: bytes, timeout_s: float = 10.0) -> int:
        """The status of the final answer to something that `parse` would not read."""
        found = re.search(rb"branch=([^;,\s]+)", datagram)
        assert found
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.send(datagram)
            for answer in self.drain(REPEAT_S):
                if answer.startswith(b"SIP/2.0 ") and found[1] in answer and answer[8:9] != b"1":
                    return int(answer[8:11])
        raise AssertionError(f"not within {timeout_s} s: an answer to {datagram[:200]!r}")

    def await_message(
        self,
        fact: Callable[[Message], bool],
        timeout_s: float = 10.0,
        *,
        again: bytes = b"",
    ) -> Message:
        """The first message of which `fact` is true; requests of others get their 200."""
        end = time.monotonic() + timeout_s
        due = 0.0
        while (now := time.monotonic()) < end:
            if again and now >= due:
                self.send(again)
                due = now + REPEAT_S
            self.socket.settimeout(0.1)
            try:
                data, source = self.socket.recvfrom(65_535)
            except TimeoutError:
                continue
            msg = parse(data)
            self.got.append(msg)
            if msg.method and msg.method != "ACK":
                tag = "" if msg.to_tag else "raw"
                self.socket.sendto(
                    dialog.respond(dialog.origin(msg, source), 200, to_tag=tag), source
                )
            if fact(msg):
                return msg
        raise AssertionError(f"not within {timeout_s} s; there came {self.got}")

    def call(self, number: str, *extra: tuple[str, str]) -> Message:
        """Dial; the final answer, acknowledged if it is a success."""
        invite = self.request("INVITE", number, *extra, body=self.sdp())
        answer = self.answer_to(invite)
        if answer.status < 300:
            self.to = answer.get("to")
            self.send(self.request("ACK", number, ("CSeq", f"{answer.cseq} ACK")))
        return answer

    def drain(self, quiet_s: float = 0.2) -> list[bytes]:
        """Everything that comes until nothing comes for so long."""
        found = []
        self.socket.settimeout(quiet_s)
        while True:
            try:
                found.append(self.socket.recv(65_535))
            except TimeoutError:
                return found
