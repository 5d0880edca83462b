"""SNMPv3 with the user-based security model (RFC 3412, 3414, 3826, 7860): authPriv, nothing less.

A password is made a master key once (a megabyte is hashed), and that a key for each engine (cheap).
"""

import hashlib
import hmac
import struct
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from gateway_mgmt.snmp import ber, pdu
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.pdu import Pdu

AUTH = 1
PRIVACY = 2
REPORTABLE = 4
USM = 3
MESSAGE_MAX = 65_507
MAC_BYTES = {"sha": 12, "sha256": 24}
HASH = {"sha": "sha1", "sha256": "sha256"}
PRIVACY_KEY_BYTES = 16
PASSWORD_BYTES_MIN = 8
WINDOW_S = 150
ENGINE_ID_BYTES = (5, 32)

STATISTICS = "1.3.6.1.6.3.15.1.1"
UNSUPPORTED_LEVEL = f"{STATISTICS}.1.0"
NOT_IN_WINDOW = f"{STATISTICS}.2.0"
UNKNOWN_USER = f"{STATISTICS}.3.0"
UNKNOWN_ENGINE = f"{STATISTICS}.4.0"
WRONG_DIGEST = f"{STATISTICS}.5.0"
DECRYPTION_ERROR = f"{STATISTICS}.6.0"


class WrongDigest(Exception):
    """Whoever sent it has another key."""


class Undecipherable(Exception):
    """It is authentic, and the privacy key is another one."""


class Master(NamedTuple):
    """What passwords come to, for every engine."""

    protocol: str
    auth: bytes
    privacy: bytes

    def __repr__(self) -> str:
        return f"Master({self.protocol})"


class Keys(NamedTuple):
    """For one engine."""

    protocol: str
    auth: bytes
    privacy: bytes

    def __repr__(self) -> str:
        return f"Keys({self.protocol})"


def master(protocol: str, auth: bytes, privacy: bytes) -> Master:
    return Master(protocol, master_key(protocol, auth), master_key(protocol, privacy))


def master_key(protocol: str, password: bytes) -> bytes:
    """RFC 3414 §A.2: of a megabyte of the password."""
    repeated = (password * (1_048_576 // len(password) + 1))[:1_048_576]
    return hashlib.new(HASH[protocol], repeated).digest()


def localized(keys: Master, engine_id: bytes) -> Keys:
    def of(key: bytes) -> bytes:
        return hashlib.new(HASH[keys.protocol], key + engine_id + key).digest()

    return Keys(keys.protocol, of(keys.auth), of(keys.privacy)[:PRIVACY_KEY_BYTES])


class Head(NamedTuple):
    """What stands in clear in a message."""

    message_id: int
    flags: int
    engine_id: bytes
    boots: int
    time_s: int
    user: bytes
    mac: tuple[int, int]
    """Where its digest begins and ends."""
    salt: bytes
    body: tuple[int, int]
    """Where the scoped PDU, or what hides it, begins and ends."""


class Scoped(NamedTuple):
    context: bytes
    """Its engine id and name as they were encoded."""
    pdu: Pdu


def read_head(datagram: bytes) -> Head:
    """Raises Malformed."""
    version, at, end = pdu.version_of(datagram)
    if version != pdu.V3:
        raise Malformed(f"not SNMPv3: {version}")
    inner, after = ber.expect(datagram, at, end, ber.SEQUENCE)
    message_id, inner = ber.number_at(datagram, inner, after)
    _, inner = ber.number_at(datagram, inner, after)
    flags, inner = ber.octets_at(datagram, inner, after)
    model, _ = ber.number_at(datagram, inner, after)
    if len(flags) != 1 or model != USM:
        raise Malformed("no message of the user-based security model")
    inner, body_at = ber.expect(datagram, after, end, ber.OCTETS)
    inner, last = ber.expect(datagram, inner, body_at, ber.SEQUENCE)
    engine_id, inner = ber.octets_at(datagram, inner, last)
    boots, inner = ber.number_at(datagram, inner, last)
    time_s, inner = ber.number_at(datagram, inner, last)
    if not 0 <= boots < 1 << 31 or not 0 <= time_s < 1 << 31:
        raise Malformed("no clock of an engine")  # RFC 3414 §2.2
    user, inner = ber.octets_at(datagram, inner, last)
    mac = ber.expect(datagram, inner, last, ber.OCTETS)
    salt, _ = ber.octets_at(datagram, mac[1], last)
    return Head(message_id, flags[0], engine_id, boots, time_s, user, mac, salt, (body_at, end))


def unseal(datagram: bytes, head: Head, keys: Keys | None) -> Scoped:
    """What the message says. Raises Malformed, WrongDigest, Undecipherable.

    `keys` None: it must be one that hides nothing.
    """
    at, end = head.body
    if keys is None:
        return _scoped(datagram, at, end)
    check_digest(datagram, head, keys)
    hidden, _ = ber.octets_at(datagram, at, end)
    if len(head.salt) != 8:
        raise Malformed("no salt")
    plain = _cipher(keys, head.boots, head.time_s, head.salt).decryptor().update(hidden)
    try:
        return _scoped(plain, 0, len(plain))
    except Malformed:
        raise Undecipherable from None


def check_digest(datagram: bytes, head: Head, keys: Keys) -> None:
    """Raises WrongDigest."""
    start, stop = head.mac
    if stop - start != MAC_BYTES[keys.protocol]:
        raise WrongDigest
    blank = datagram[:start] + bytes(stop - start) + datagram[stop:]
    if not hmac.compare_digest(_mac(keys, blank), datagram[start:stop]):
        raise WrongDigest


def seal(
    *,
    message_id: int,
    flags: int,
    engine_id: bytes,
    boots: int,
    time_s: int,
    user: bytes,
    scoped: bytes,
    keys: Keys | None = None,
    salt: int = 0,
) -> bytes:
    """A message; with `keys` it is authentic and hidden. A salt is used once."""
    said = flags & REPORTABLE
    mac = salted = b""
    body = scoped
    if keys is not None:
        said |= AUTH | PRIVACY
        mac = bytes(MAC_BYTES[keys.protocol])
        salted = salt.to_bytes(8, "big")
        hidden = _cipher(keys, boots, time_s, salted).encryptor().update(scoped)
        body = ber.tlv(ber.OCTETS, hidden)
    about = ber.integer(message_id) + ber.integer(MESSAGE_MAX)
    about += ber.tlv(ber.OCTETS, bytes((said,))) + ber.integer(USM)
    tail = ber.tlv(ber.OCTETS, salted)
    security = ber.tlv(ber.OCTETS, engine_id) + ber.integer(boots) + ber.integer(time_s)
    security += ber.tlv(ber.OCTETS, user) + ber.tlv(ber.OCTETS, mac) + tail
    message = ber.tlv(
        ber.SEQUENCE,
        ber.integer(pdu.V3)
        + ber.tlv(ber.SEQUENCE, about)
        + ber.tlv(ber.OCTETS, ber.tlv(ber.SEQUENCE, security))
        + body,
    )
    if keys is None:
        return message
    stop = len(message) - len(body) - len(tail)
    start = stop - len(mac)
    return message[:start] + _mac(keys, message) + message[stop:]


def scoped_pdu(engine_id: bytes, found: Pdu) -> bytes:
    """In the context without a name."""
    context = ber.tlv(ber.OCTETS, engine_id) + ber.tlv(ber.OCTETS, b"")
    return ber.tlv(ber.SEQUENCE, context + pdu.encode(found))


def discovery(message_id: int) -> bytes:
    """Asks an agent who it is: it answers with a report (RFC 3414 §4)."""
    asked = scoped_pdu(b"", Pdu(pdu.GET, message_id))
    return seal(
        message_id=message_id,
        flags=REPORTABLE,
        engine_id=b"",
        boots=0,
        time_s=0,
        user=b"",
        scoped=asked,
    )


def _scoped(data: bytes, at: int, end: int) -> Scoped:
    at, end = ber.expect(data, at, end, ber.SEQUENCE)
    _, after = ber.octets_at(data, at, end)
    _, after = ber.octets_at(data, after, end)
    return Scoped(data[at:after], pdu.decode(data, after, end))


def _mac(keys: Keys, message: bytes) -> bytes:
    digest = hmac.digest(keys.auth, message, HASH[keys.protocol])
    return digest[: MAC_BYTES[keys.protocol]]


def _cipher(keys: Keys, boots: int, time_s: int, salt: bytes) -> Cipher[CFB]:
    return Cipher(algorithms.AES(keys.privacy), CFB(struct.pack(">II", boots, time_s) + salt))
