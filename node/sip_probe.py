"""Asks a shard that this node serves by OPTIONS through its address (see `failover.grey`)."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from calls.centre import Address
from cluster.core import LATE_MS
from failover.grey import ASK_MS, Sight, Unproven, is_dead, step
from sip.message import build_request

MAX_DATAGRAM = 2_048


class SipProbe:
    """One shard's, while it is served here.

    `excused()`: was this node late, or can nothing be committed? `hand_over()`: give it away.
    """

    def __init__(
        self, sip: Address, *, excused: Callable[[], bool], hand_over: Callable[[], None]
    ) -> None:
        self._sip = sip
        self._excused = excused
        self._hand_over = hand_over
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sight: Sight = Unproven()
        self._branch = ""
        self._asked = 0
        self._answered = True  # nothing has been asked yet
        self._due = 0.0
        self.address: Address | None = None
        """Where its questions come from."""

    @property
    def is_dead(self) -> bool:
        """Has the shard's address not answered for a while?"""
        return self._socket is not None and is_dead(self._sight)

    def start(self) -> None:
        """Begin to ask. Where no socket is to be had, nothing is asked."""
        self.stop()
        with suppress(OSError):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket = sock
            sock.bind((self._sip[0], 0))
            self.address = sock.getsockname()
            asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
            self._sight = Unproven()
            self._answered = True
            self._ask()

    def stop(self) -> None:
        """The shard is not served here any more. May be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self.address = None

    def _ask(self) -> None:
        assert self._socket is not None
        assert self.address is not None
        host, port = self.address
        self._asked += 1
        self._answered = False
        self._branch = f"z9hG4bKprobe{port}x{self._asked}"
        uri = f"sip:{self._sip[0]}:{self._sip[1]}"
        question = build_request(
            "OPTIONS",
            uri,
            [
                ("Via", f"SIP/2.0/UDP {host}:{port};rport;branch={self._branch}"),
                ("Max-Forwards", "1"),
                ("From", f"<sip:probe@{host}>;tag=probe{port}"),
                ("To", f"<{uri}>"),
                ("Call-ID", f"probe-{port}-{self._asked}@{host}"),
                ("CSeq", "1 OPTIONS"),
            ],
        )
        with suppress(OSError):
            self._socket.sendto(question, self._sip)
        loop = asyncio.get_running_loop()
        self._due = loop.time() + ASK_MS / 1_000
        self._timer = loop.call_at(self._due, self._look)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, source = self._socket.recvfrom(MAX_DATAGRAM)
        except OSError:
            return
        if source == self._sip and self._branch.encode() in data:
            self._answered = True

    def _look(self) -> None:
        late_s = asyncio.get_running_loop().time() - self._due
        self._sight, give_away = step(
            self._sight,
            answered=self._answered,
            is_excused=self._excused() or late_s > LATE_MS / 1_000,
        )
        self._ask()
        if give_away:
            self._hand_over()
