"""PDUs (RFC 3416), and SNMPv2c's messages around them. OIDs stay bytes until they are read."""

from collections.abc import Sequence
from typing import NamedTuple

from gateway_mgmt.snmp import ber
from gateway_mgmt.snmp.ber import Malformed

GET = 0xA0
GET_NEXT = 0xA1
RESPONSE = 0xA2
SET = 0xA3
GET_BULK = 0xA5
INFORM = 0xA6
TRAP = 0xA7
REPORT = 0xA8

V2C = 1
V3 = 3

VARBINDS_MAX = 512
"""In one PDU; more is no request of ours and no trap of any device."""

Value = int | str | bytes | None


class Varbind(NamedTuple):
    oid: bytes
    """The content of its OID."""
    tag: int
    content: bytes

    @property
    def value(self) -> Value:
        """A number, an OID as text, bytes, or None for nothing there. Raises Malformed."""
        if self.tag in ber.NUMBERS:
            return ber.number(self.content, self.tag)
        if self.tag == ber.OID:
            return ber.oid_text(self.content)
        if self.tag in (ber.NULL, ber.NO_SUCH_OBJECT, ber.NO_SUCH_INSTANCE, ber.END_OF_VIEW):
            return None
        return self.content


class Pdu(NamedTuple):
    kind: int
    request_id: int
    error: int = 0
    """Of GET_BULK: how many varbinds do not repeat."""
    error_index: int = 0
    """Of GET_BULK: how often the others do."""
    varbinds: Sequence[Varbind] = ()


def number(oid: str, value: int, tag: int = ber.INTEGER) -> Varbind:
    return Varbind(ber.oid_bytes(oid), tag, ber.number_bytes(value))


def text(oid: str, value: bytes) -> Varbind:
    return Varbind(ber.oid_bytes(oid), ber.OCTETS, value)


def name(oid: str, value: str) -> Varbind:
    return Varbind(ber.oid_bytes(oid), ber.OID, ber.oid_bytes(value))


def encode(pdu: Pdu) -> bytes:
    listed = b"".join(
        ber.tlv(ber.SEQUENCE, ber.tlv(ber.OID, oid) + ber.tlv(tag, content))
        for oid, tag, content in pdu.varbinds
    )
    head = ber.integer(pdu.request_id) + ber.integer(pdu.error) + ber.integer(pdu.error_index)
    return ber.tlv(pdu.kind, head + ber.tlv(ber.SEQUENCE, listed))


def decode(data: bytes, at: int, end: int) -> Pdu:
    """Raises Malformed."""
    kind, at, end = ber.head(data, at, end)
    if kind not in (GET, GET_NEXT, RESPONSE, SET, GET_BULK, INFORM, TRAP, REPORT):
        raise Malformed(f"no PDU: {kind:#x}")
    request_id, at = ber.number_at(data, at, end)
    error, at = ber.number_at(data, at, end)
    error_index, at = ber.number_at(data, at, end)
    at, end = ber.expect(data, at, end, ber.SEQUENCE)
    varbinds: list[Varbind] = []
    while at < end:
        if len(varbinds) == VARBINDS_MAX:
            raise Malformed("too many varbinds")
        inner, at = ber.expect(data, at, end, ber.SEQUENCE)
        start, stop = ber.expect(data, inner, at, ber.OID)
        tag, value_at, value_end = ber.head(data, stop, at)
        varbinds.append(Varbind(data[start:stop], tag, data[value_at:value_end]))
    return Pdu(kind, request_id, error, error_index, varbinds)


def version_of(datagram: bytes) -> tuple[int, int, int]:
    """(version, where what follows it begins, where the message ends). Raises Malformed."""
    at, end = ber.expect(datagram, 0, len(datagram), ber.SEQUENCE)
    version, at = ber.number_at(datagram, at, end)
    return version, at, end


class CommunityMessage(NamedTuple):
    community: bytes
    pdu: Pdu


def decode_v2c(datagram: bytes) -> CommunityMessage:
    """Raises Malformed."""
    version, at, end = version_of(datagram)
    if version != V2C:
        raise Malformed(f"not SNMPv2c: {version}")
    community, at = ber.octets_at(datagram, at, end)
    return CommunityMessage(community, decode(datagram, at, end))


def encode_v2c(community: bytes, pdu: Pdu) -> bytes:
    return community_message(community, encode(pdu))


def community_message(community: bytes, encoded: bytes) -> bytes:
    """Around a PDU that is encoded already."""
    head = ber.integer(V2C) + ber.tlv(ber.OCTETS, community)
    return ber.tlv(ber.SEQUENCE, head + encoded)
