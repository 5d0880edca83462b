"""Tells an SNMP manager by informs, which it answers: v2c, or v3 with authentication and privacy.

Who the manager's engine is and what its clock says is asked anew for each message (RFC 3414 §4):
a manager that was started again, or replaced, is found, and nothing is remembered that gets old.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.inform import inform
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.inventory import Address
from gateway_mgmt.io.courier import Refused, Unsent
from gateway_mgmt.io.credentials import CredentialError, Credentials, Resolved
from gateway_mgmt.io.diagnose import NO_WORD, WRONG
from gateway_mgmt.receivers import ARC, ENTERPRISE
from gateway_mgmt.snmp import inform as snmp
from gateway_mgmt.snmp.inform import Outcome
from gateway_mgmt.snmp.pdu import Pdu

ANSWERS_MAX = 64
"""Datagrams that wait to be read; more are no answers of a manager, and are dropped."""
QUESTIONS_MAX = 4
"""Who it is, what its clock says, the message, and that once more if it started again meanwhile."""
SILENT = "no answer to SNMP; are address and {} right, and may we tell it from here?"


class Inform:
    """`gateway_mgmt.io.courier.Sender`: one InformRequest for each notice, in order."""

    most = 1
    apart_ms = 0

    def __init__(
        self,
        address: Address,
        access: Community | User,
        *,
        enterprise: str = ENTERPRISE,
        timeout_s: float = 5,
    ) -> None:
        """`timeout_s` is for each answer that is waited for."""
        if not ARC.fullmatch(enterprise):
            raise ValueError(f"enterprise {enterprise!r}: it is an OID as {ENTERPRISE}")
        self._address = address
        self._access = access
        self._enterprise = enterprise
        self._timeout_s = timeout_s

    async def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self._tell(message)

    async def _tell(self, message: Message) -> None:
        host, port = self._address
        told = inform(
            message,
            request_id=_random(31),
            ticks=int(time.monotonic() * 100),
            enterprise=self._enterprise,
        )
        try:
            # In a thread: files are read, and megabytes hashed.
            known = await asyncio.to_thread(Credentials().resolve, self._access)
            async with _line(self._address, self._timeout_s) as line:
                declined = await _exchanged(line, told, known)
        except (CredentialError, _Wrong) as error:
            raise Unsent(f"snmp {host}:{port}: {error}") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unsent(f"snmp {host}:{port}: {why}") from None
        if declined:
            raise Refused(f"answers error-status {declined}")


class _Wrong(Exception):
    """The manager does not take it now; the text says why."""


class _Line(asyncio.DatagramProtocol):
    """A connected socket: nobody else's datagrams arrive."""

    def __init__(self, timeout_s: float) -> None:
        self.transport: asyncio.DatagramTransport
        self._timeout_s = timeout_s
        self._came: asyncio.Queue[bytes | OSError] = asyncio.Queue(ANSWERS_MAX)

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self._came.full():
            self._came.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and not self._came.full():
            self._came.put_nowait(exc)

    async def ask(self, question: bytes, silent: str) -> AsyncGenerator[bytes, None]:
        """What comes, once this is sent. `silent`: what it means that nothing comes in time.

        Raises OSError, _Wrong.
        """
        self.transport.sendto(question)
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    came = await self._came.get()
                    if isinstance(came, OSError):
                        raise came
                    yield came
        except TimeoutError:
            raise _Wrong(silent) from None


@asynccontextmanager
async def _line(address: Address, timeout_s: float) -> AsyncGenerator[_Line, None]:
    loop = asyncio.get_running_loop()
    transport, line = await loop.create_datagram_endpoint(
        lambda: _Line(timeout_s), remote_addr=address
    )
    line.transport = transport
    try:
        yield line
    finally:
        transport.close()


async def _exchanged(line: _Line, told: Pdu, known: Resolved) -> int:
    """The error-status of the manager's answer. Raises OSError, _Wrong."""
    speaks = _speaker(known)
    for _ in range(QUESTIONS_MAX):
        outcome = await _asked(line, speaks, told)
        if outcome is not Outcome.AGAIN:
            return speaks.declined
    raise _Wrong("its clock is never the one that it tells")


async def _asked(line: _Line, speaks: snmp.Community | snmp.User, told: Pdu) -> Outcome:
    if isinstance(speaks, snmp.Community):
        silent = SILENT.format("community")
    else:
        silent = NO_WORD if speaks.engine_id else SILENT.format("port")
    question = speaks.message(told, time.monotonic())
    async with aclosing(line.ask(question, silent)) as answers:
        async for datagram in answers:
            outcome = speaks.receive(datagram, told, time.monotonic())
            if speaks.refused_by:
                raise _Wrong(WRONG[speaks.refused_by])
            if outcome is not Outcome.NOTHING:
                return outcome
    raise AssertionError("ask() raises")


def _speaker(known: Resolved) -> snmp.Community | snmp.User:
    if known.keys is None:
        assert known.community is not None
        return snmp.Community(known.community)
    assert isinstance(known.access, User)
    return snmp.User(known.access.user.encode(), known.keys, context=b"", salt=_random(64))


def _random(bits: int) -> int:
    return int.from_bytes(os.urandom(8), "big") >> 64 - bits
