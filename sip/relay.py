"""A stateless proxy (RFC 3261 §16.11): a request goes on, its answers go back, nothing is kept.

The branch follows from the request, so that its repeats, its CANCEL and the ACK to a refusal carry
the same one whichever node relays them. No Record-Route: once a dialog stands, its ends speak
directly. All but what a proxy must change is passed on byte by byte.
"""

import re
from hashlib import blake2b

from sip.dialog import MAX_FORWARDS, stamped
from sip.grammar import header_name, phrase, split_commas
from sip.message import Message, sent_by_of
from sip.uri import Address, BadUri, SipError, host_port, is_ip, split_host, uri_of

BRANCH = "z9hG4bK~"
"""How branches of relayed requests begin, and no other one of ours."""

HOPS_DIGITS = 3
"""Of Max-Forwards, which is 255 at most (RFC 3261 §20.22)."""

_FOLD = re.compile(r"\r\n[ \t]++")
_RECEIVED = re.compile(r";\s*+received\s*+=\s*+([^;,\s]++)", re.IGNORECASE | re.ASCII)
_RPORT = re.compile(r";\s*+rport\s*+=\s*+([0-9]{1,5}+)", re.IGNORECASE | re.ASCII)


class NotRelayed(SipError):
    """The request cannot go on; `status` is the answer (none to an ACK), with these headers."""

    def __init__(self, status: int, headers: list[tuple[str, str]] | None = None) -> None:
        super().__init__(phrase(status))
        self.status = status
        self.headers = headers or []


def branch_of(msg: Message) -> str:
    """The branch with which a request is relayed (RFC 3261 §16.11)."""
    seen = f"{msg.branch}\0{msg.sent_by}".encode("latin-1")
    return BRANCH + blake2b(seen, digest_size=12).hexdigest()


def forward(
    datagram: bytes, msg: Message, source: Address, *, sent_by: str, target: Address
) -> bytes:
    """The request `msg` as it goes on to `target`, from us who are `sent_by`. Raises NotRelayed."""
    if any(sent_by_of(via) == sent_by for via in msg.all("via")):
        raise NotRelayed(482)  # it has been here
    hops = msg.get("max-forwards") or str(MAX_FORWARDS + 1)
    if not hops.isdecimal() or len(hops) > HOPS_DIGITS:
        raise NotRelayed(400)
    if int(hops) == 0:
        raise NotRelayed(483)
    extensions = msg.all("proxy-require")
    if extensions and msg.method not in ("ACK", "CANCEL"):
        raise NotRelayed(420, [("Unsupported", ", ".join(extensions))])
    lines = _lines(datagram)
    lines[0] = f"{msg.method} {retargeted(msg.uri, target)} SIP/2.0"
    top = _find(lines, "via")
    lines[top] = f"Via: {stamped(msg.get('via'), msg.sent_by, source)}"
    limit = _find(lines, "max-forwards")
    if limit:
        lines[limit] = f"Max-Forwards: {int(hops) - 1}"
    route = _find(lines, "route")
    if route and _leads_to(split_commas(msg.get("route"))[0], sent_by):
        _drop_first(lines, route)
    ours = [f"Via: SIP/2.0/UDP {sent_by};branch={branch_of(msg)}"]
    if not limit:
        ours.append(f"Max-Forwards: {MAX_FORWARDS}")
    lines[1:1] = ours
    return _joined(lines, msg)


def back(datagram: bytes, msg: Message) -> tuple[bytes, Address] | None:
    """An answer to a relayed request without our Via, and where it goes then; None: nowhere.

    `msg` must have a `branch` of ours, and come from one to whom we relay: its Via says where it
    goes, and whoever could write that could aim our answers at a third host.
    """
    vias = msg.all("via")
    address = _address(vias[1]) if len(vias) > 1 else None
    if address is None:
        return None
    lines = _lines(datagram)
    _drop_first(lines, _find(lines, "via"))
    return _joined(lines, msg), address


def _lines(datagram: bytes) -> list[str]:
    head = datagram.decode("latin-1").lstrip("\r\n").partition("\r\n\r\n")[0]
    return _FOLD.sub(" ", head).split("\r\n")


def _joined(lines: list[str], msg: Message) -> bytes:
    return "\r\n".join((*lines, "", msg.body)).encode("latin-1")


def _find(lines: list[str], name: str) -> int:
    """Where the first header field of this name stands; 0: nowhere."""
    for at in range(1, len(lines)):
        if header_name(lines[at].partition(":")[0]) == name:
            return at
    return 0


def _drop_first(lines: list[str], at: int) -> None:
    """Take the first value out of a header field that is a list."""
    name, _, value = lines[at].partition(":")
    rest = split_commas(value.strip(" \t"))[1:]
    lines[at : at + 1] = [f"{name}: {', '.join(rest)}"] if rest else []


def retargeted(uri: str, target: Address) -> str:
    """Whom the request is for, at `target`; the user part as it is written."""
    scheme, _, rest = uri.partition(":")
    user = rest.partition(";")[0] if scheme.lower() == "tel" else rest.rpartition("@")[0]
    return f"sip:{user}@{target[0]}:{target[1]}"


def _leads_to(route: str, sent_by: str) -> bool:
    try:
        return host_port(uri_of(route)) == split_host(sent_by)
    except BadUri:
        return False


def _address(via: str) -> Address | None:
    """Where an answer with this top Via goes (RFC 3261 §18.2.2, RFC 3581 §4). No maddr, no DNS."""
    received, rport = _RECEIVED.search(via), _RPORT.search(via)
    try:
        host, port = split_host(sent_by_of(via))
    except BadUri:
        return None
    host = received[1].strip("[]") if received else host
    port = int(rport[1]) if rport else port
    return (host, port) if is_ip(host) and 0 < port <= 65535 else None
