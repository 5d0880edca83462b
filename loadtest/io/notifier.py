"""What virtual gateways tell by themselves, on the wire: traps, and informs until they are
acknowledged. Each comes from its gateway's own address."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from gateway_mgmt.snmp import pdu
from gateway_mgmt.snmp.inform import REFUSALS, Community, Outcome, User
from gateway_mgmt.snmp.pdu import Pdu
from loadtest.gateway_traps import Told
from sip.uri import Address

TRIES_MAX = 5
"""An inform that nobody acknowledges goes out so often, and then no more."""
TRY_S = 1.0
CORRECTIONS_MAX = 4
"""So often one inform is sent anew at once, because the receiver reported who or when it is."""
OPEN_MAX = 1_000
"""Informs under way, each with a socket; beyond it they are given up unsent."""
MAX_DATAGRAM = 65_535


class Counted(msgspec.Struct):
    """`informs` is the sum of those acknowledged, given up, lost, and still under way."""

    traps: int = 0
    informs: int = 0
    acknowledged: int = 0
    given_up: int = 0
    lost: int = 0
    """Their gateway died, or started anew, before they were acknowledged."""
    repeats: int = 0
    refused: str = ""
    """What the receiver of informs last said was wrong with one."""

    def line(self) -> str:
        """For a person."""
        under_way = self.informs - self.acknowledged - self.given_up - self.lost
        refused = f"; the receiver says: {self.refused}" if self.refused else ""
        return (
            f"traps: {self.traps}; informs: {self.informs}, {self.acknowledged} acknowledged, "
            f"{self.given_up} given up, {self.lost} lost with their gateway, "
            f"{under_way} under way, {self.repeats} repeats{refused}"
        )


class _Open:
    """An inform under way."""

    def __init__(self, number: int, told: Pdu, sock: socket.socket) -> None:
        self.number = number
        self.told = told
        self.sock = sock
        self.tries = 0
        self.corrections = 0
        self.timer: asyncio.TimerHandle | None = None


class Notifier:
    """Of all gateways of a run."""

    def __init__(
        self,
        host: Callable[[int], str],
        *,
        traps: Address | None,
        trap: Callable[[int, Pdu], bytes],
        informs: Address | None,
        speaker: Callable[[int], Community | User],
    ) -> None:
        """`trap`: the message of a gateway's trap. `speaker`: how it speaks to who gets informs."""
        self.counted = Counted()
        self._host = host
        self.traps = traps
        self._trap = trap
        self.informs = informs
        self._speaker = speaker
        self._speakers: dict[int, Community | User] = {}
        self._open: set[_Open] = set()
        self._told = int.from_bytes(os.urandom(3), "big")

    def tell(self, number: int, told: Told) -> None:
        """A gateway tells this."""
        self._told += 1
        if self.traps is not None:
            self.counted.traps += 1
            message = self._trap(number, Pdu(pdu.TRAP, self._told, varbinds=told))
            with suppress(OSError), self._socket(number) as sock:
                sock.sendto(message, self.traps)
        if self.informs is not None:
            self._inform(number, Pdu(pdu.INFORM, self._told, varbinds=told))

    def forget(self, number: int) -> None:
        """The gateway forgets what is under way, and what it knows of the receiver."""
        self._speakers.pop(number, None)
        for one in [one for one in self._open if one.number == number]:
            self.counted.lost += 1
            self._end(one)

    def close(self) -> None:
        for one in list(self._open):
            self._end(one)

    def _socket(self, number: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind((self._host(number), 0))
        except OSError:
            sock.close()
            raise
        return sock

    def _inform(self, number: int, told: Pdu) -> None:
        self.counted.informs += 1
        try:
            if len(self._open) >= OPEN_MAX:
                raise OSError
            one = _Open(number, told, self._socket(number))
        except OSError:
            self.counted.given_up += 1
            return
        self._open.add(one)
        asyncio.get_running_loop().add_reader(one.sock.fileno(), self._readable, one)
        self._try(one)

    def _try(self, one: _Open) -> None:
        if one.tries == TRIES_MAX:
            self.counted.given_up += 1
            self._end(one)
            return
        self.counted.repeats += one.tries > 0
        one.tries += 1
        self._send(one)
        one.timer = asyncio.get_running_loop().call_later(TRY_S, self._try, one)

    def _send(self, one: _Open) -> None:
        assert self.informs is not None
        message = self._speaks(one.number).message(one.told, time.time())
        with suppress(OSError):
            one.sock.sendto(message, self.informs)

    def _speaks(self, number: int) -> Community | User:
        if number not in self._speakers:
            self._speakers[number] = self._speaker(number)
        return self._speakers[number]

    def _readable(self, one: _Open) -> None:
        while one in self._open:
            try:
                datagram, source = one.sock.recvfrom(MAX_DATAGRAM)
            except OSError:  # nothing more, or nobody is there
                return
            if source == self.informs:
                self._received(one, datagram)

    def _received(self, one: _Open, datagram: bytes) -> None:
        speaker = self._speaks(one.number)
        outcome = speaker.receive(datagram, one.told, time.time())
        self.counted.refused = REFUSALS.get(speaker.refused_by, self.counted.refused)
        if outcome is Outcome.ACKNOWLEDGED:
            self.counted.acknowledged += 1
            self._end(one)
        elif outcome is Outcome.AGAIN and one.corrections < CORRECTIONS_MAX:
            one.corrections += 1
            self._send(one)

    def _end(self, one: _Open) -> None:
        self._open.discard(one)
        if one.timer is not None:
            one.timer.cancel()
        asyncio.get_running_loop().remove_reader(one.sock.fileno())
        one.sock.close()
