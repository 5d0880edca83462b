"""BER as SNMP uses it (RFC 3417 §8). Whatever comes from outside is read, or is `Malformed`."""

from functools import lru_cache

INTEGER = 0x02
OCTETS = 0x04
NULL = 0x05
OID = 0x06
SEQUENCE = 0x30
IP_ADDRESS = 0x40
COUNTER32 = 0x41
GAUGE32 = 0x42
TIMETICKS = 0x43
COUNTER64 = 0x46
NO_SUCH_OBJECT = 0x80
NO_SUCH_INSTANCE = 0x81
END_OF_VIEW = 0x82
NUMBERS = frozenset((INTEGER, COUNTER32, GAUGE32, TIMETICKS, COUNTER64))

OID_BYTES_MAX = 640
"""128 arcs of five bytes (RFC 2578 §3.5)."""


class Malformed(ValueError):
    """Not SNMP, or cut short."""


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    return tlv(tag, number_bytes(value))


def number_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


@lru_cache(maxsize=1 << 16)
def oid_bytes(written: str) -> bytes:
    """The content of an OID that is written `1.3.6.1`."""
    arcs = [int(arc) for arc in written.split(".")]
    out = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        parts = [arc & 0x7F]
        while arc := arc >> 7:
            parts.append(0x80 | arc & 0x7F)
        out += bytes(reversed(parts))
    return bytes(out)


@lru_cache(maxsize=1 << 16)
def oid_text(content: bytes) -> str:
    """`1.3.6.1` of an OID's content. Raises Malformed."""
    if not content or content[-1] & 0x80 or len(content) > OID_BYTES_MAX:
        raise Malformed("no OID")
    arcs: list[int] = []
    arc = 0
    for byte in content:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def head(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, where the content begins, where it ends) of what stands at `at`. Raises Malformed."""
    if at + 2 > end:
        raise Malformed("cut short")
    tag, size = data[at], data[at + 1]
    at += 2
    if size & 0x80:
        count = size & 0x7F
        if not 0 < count <= 4 or at + count > end:
            raise Malformed("no length")
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + size > end:
        raise Malformed("cut short")
    return tag, at, at + size


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """(where the content begins, where it ends). Raises Malformed when it is another tag."""
    found, start, stop = head(data, at, end)
    if found != tag:
        raise Malformed(f"tag {found:#x} where {tag:#x} should be")
    return start, stop


def number_at(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(an INTEGER, where it ends). Raises Malformed."""
    start, stop = expect(data, at, end, INTEGER)
    return number(data[start:stop]), stop


def octets_at(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """(an OCTET STRING, where it ends). Raises Malformed."""
    start, stop = expect(data, at, end, OCTETS)
    return data[start:stop], stop


def number(content: bytes, tag: int = INTEGER) -> int:
    """Counters of some devices lack the leading zero byte: only INTEGER has a sign."""
    if not 0 < len(content) <= 9:
        raise Malformed("no number")
    return int.from_bytes(content, "big", signed=tag == INTEGER)
