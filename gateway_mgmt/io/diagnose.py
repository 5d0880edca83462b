"""Why does a device not answer SNMPv3? Asked by hand: not every library tells what reports say."""

import asyncio
import os
import socket

from gateway_mgmt import oids
from gateway_mgmt.access import User
from gateway_mgmt.inventory import Address
from gateway_mgmt.io.poller import Target
from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.pdu import Pdu

WRONG = {
    usm.UNKNOWN_USER: "snmp.user: it knows no such user",
    usm.WRONG_DIGEST: "snmp.auth: the key is another one there",
    usm.DECRYPTION_ERROR: "snmp.privacy: the key is another one there",
    usm.UNSUPPORTED_LEVEL: "snmp.user: there it has no authentication and privacy",
}
NO_WORD = (
    "snmp.privacy: it says who it is, and nothing to what we encrypt; is the key right, and may "
    "we ask from here?"
)
MAX_DATAGRAM = 65_535


async def diagnose(target: Target, timeout_ms: int) -> str:
    """What is wrong; empty: it is silent, or well."""
    user, keys = target.credentials.access, target.credentials.keys
    assert isinstance(user, User)
    assert keys is not None
    try:
        who = usm.read_head(await _ask(target.address, usm.discovery(1), timeout_ms))
    except (TimeoutError, OSError, Malformed):
        return ""
    asked = Pdu(pdu.GET, 2, varbinds=[pdu.Varbind(ber.oid_bytes(oids.SYS_UPTIME), ber.NULL, b"")])
    sealed = usm.seal(
        message_id=2,
        flags=usm.REPORTABLE,
        engine_id=who.engine_id,
        boots=who.boots,
        time_s=who.time_s,
        user=user.user.encode(),
        scoped=usm.scoped_pdu(who.engine_id, asked),
        keys=usm.localized(keys, who.engine_id),
        salt=int.from_bytes(os.urandom(8), "big"),
    )
    try:
        return said(await _ask(target.address, sealed, timeout_ms))
    except TimeoutError:
        return NO_WORD
    except (OSError, Malformed):
        return ""


def said(datagram: bytes) -> str:
    """What a report in clear says is wrong. Raises Malformed."""
    head = usm.read_head(datagram)
    if head.flags & usm.PRIVACY:
        return ""
    report = usm.unseal(datagram, head, None).pdu
    names = [ber.oid_text(one.oid) for one in report.varbinds]
    return next((WRONG[name] for name in names if name in WRONG), "")


async def _ask(address: Address, question: bytes, timeout_ms: int) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(address)
        async with asyncio.timeout(timeout_ms / 1_000):
            await loop.sock_sendall(sock, question)
            return await loop.sock_recv(sock, MAX_DATAGRAM)
