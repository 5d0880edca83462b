"""Tells an SNMP manager by informs, which it answers: v2c, or v3 with authentication and privacy.

Who the manager's engine is and what its clock says is asked anew for each message (RFC 3414 §4):
a manager that was started again, or replaced, is found, and nothing is remembered that gets old.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway_mgmt.access import Community, User
from gateway_mgmt.alarms.inform import inform
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.inventory import Address
from gateway_mgmt.io.courier import Refused, Unsent
from gateway_mgmt.io.credentials import CredentialError, Credentials, Resolved
from gateway_mgmt.io.diagnose import NO_WORD, WRONG
from gateway_mgmt.receivers import ARC, ENTERPRISE
from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.pdu import Pdu

ANSWERS_MAX = 64
"""Datagrams that wait to be read; more are no answers of a manager, and are dropped."""
SILENT = "no answer to SNMP; are address and {} right, and may we tell it from here?"

T = TypeVar("T")


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
                answer = await (_by_v2c if known.keys is None else _by_v3)(line, told, known)
        except (CredentialError, _Wrong) as error:
            raise Unsent(f"snmp {host}:{port}: {error}") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unsent(f"snmp {host}:{port}: {why}") from None
        if answer.error:
            raise Refused(f"answers error-status {answer.error}")


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

    async def ask(self, question: bytes, read: Callable[[bytes], T | None], silent: str) -> T:
        """The first answer that `read` finds to be one. `silent`: what it means that none comes.

        Raises OSError, _Wrong.
        """
        self.transport.sendto(question)
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    came = await self._came.get()
                    if isinstance(came, OSError):
                        raise came
                    try:
                        answer = read(came)
                    except (Malformed, usm.WrongDigest, usm.Undecipherable):
                        continue  # who may have made it up does not end the wait
                    if answer is not None:
                        return answer
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


async def _by_v2c(line: _Line, told: Pdu, known: Resolved) -> Pdu:
    assert known.community is not None

    def read(datagram: bytes) -> Pdu | None:
        found = pdu.decode_v2c(datagram).pdu
        return found if _answers(found, told) else None

    question = pdu.encode_v2c(known.community, told)
    return await line.ask(question, read, SILENT.format("community"))


async def _by_v3(line: _Line, told: Pdu, known: Resolved) -> Pdu:
    assert isinstance(known.access, User)
    assert known.keys is not None
    user = known.access.user.encode()
    clock = await _discovered(line)
    engine_id, keys = clock.engine_id, usm.localized(known.keys, clock.engine_id)
    for _ in range(2):  # at most once it says that its clock stands otherwise
        message_id = _random(31)

        def read(datagram: bytes, message_id: int = message_id) -> tuple[usm.Head, Pdu] | None:
            head = usm.read_head(datagram)
            if (head.message_id, head.engine_id) != (message_id, engine_id):
                return None
            found = _opened(datagram, head, keys)
            return (head, found) if found.kind == pdu.REPORT or _answers(found, told) else None

        question = usm.seal(
            message_id=message_id,
            flags=usm.REPORTABLE,
            engine_id=engine_id,
            boots=clock.boots,
            time_s=clock.time_s,
            user=user,
            scoped=usm.scoped_pdu(engine_id, told),
            keys=keys,
            salt=_random(64),
        )
        clock, found = await line.ask(question, read, NO_WORD)
        if found.kind != pdu.REPORT:
            return found
        said = [ber.oid_text(one.oid) for one in found.varbinds]
        if usm.NOT_IN_WINDOW not in said:
            raise _Wrong(next((WRONG[oid] for oid in said if oid in WRONG), f"reports {said}"))
    raise _Wrong("its clock is never the one that it tells")


async def _discovered(line: _Line) -> usm.Head:
    """Who the manager's engine is, and its clock."""
    message_id = _random(31)

    def read(datagram: bytes) -> usm.Head | None:
        head = usm.read_head(datagram)
        shortest, longest = usm.ENGINE_ID_BYTES
        is_engine = shortest <= len(head.engine_id) <= longest
        return head if head.message_id == message_id and is_engine else None

    return await line.ask(usm.discovery(message_id), read, SILENT.format("port"))


def _opened(datagram: bytes, head: usm.Head, keys: usm.Keys) -> Pdu:
    """Raises Malformed, WrongDigest, Undecipherable.

    Hidden is all but reports; a report about time is authentic: a clock is set by it (RFC 3414 §4).
    """
    if head.flags & usm.PRIVACY:
        return usm.unseal(datagram, head, keys).pdu
    found = usm.unseal(datagram, head, None).pdu
    if found.kind != pdu.REPORT:
        raise Malformed("in clear")
    if any(one.oid == ber.oid_bytes(usm.NOT_IN_WINDOW) for one in found.varbinds):
        usm.check_digest(datagram, head, keys)
    return found


def _answers(found: Pdu, told: Pdu) -> bool:
    return found.kind == pdu.RESPONSE and found.request_id == told.request_id


def _random(bits: int) -> int:
    return int.from_bytes(os.urandom(8), "big") >> 64 - bits
