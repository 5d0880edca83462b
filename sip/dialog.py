"""Answers and dialogs as plain records and pure functions on them: another node can go on with
either.

An Origin is all it takes to answer one request; a Dialog all it takes to send the next request
inside a call (RFC 3261 §8.2.6, §12, §18.2). Nothing here keeps state or time; tags, branches and
CSeq numbers come in.
"""

import re
import zlib
from collections.abc import Sequence

import msgspec

from sip.grammar import phrase, split_commas
from sip.message import Message, finish, parse
from sip.uri import (
    Address,
    BadUri,
    host_port,
    is_ip,
    split_host,
    tag_of,
    uri_of,
)

Headers = Sequence[tuple[str, str]]
MAX_FORWARDS = 70

_RPORT = re.compile(r";\s*+rport(?:\s*+=\s*+[0-9]*+)?+(?=\s*+(?:[;,]|$))", re.IGNORECASE | re.ASCII)
_RECEIVED = re.compile(r";\s*+received\s*+=[^;,]*+", re.IGNORECASE | re.ASCII)


class Origin(msgspec.Struct, array_like=True, gc=False):
    """All it takes to answer a request later, or on another node. The top Via carries received and
    rport.
    """

    method: str
    vias: list[str]
    record_routes: list[str]
    from_: str
    to: str
    call_id: str
    cseq: int
    source: Address
    branch: str
    sent_by: str


class Dialog(msgspec.Struct, array_like=True, gc=False):
    """One side of a dialog (RFC 3261 §12). `local_uri` and `remote_uri` are From and To without
    tags: a URI, or a name-addr when it shall show a name. `next_hop` is where requests go,
    resolved. CSeq 0 means none yet.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    target: str
    routes: list[str]
    local_cseq: int
    remote_cseq: int
    next_hop: Address


# -- answering ------------------------------------------------------------------------------------


def origin(msg: Message, source: Address) -> Origin:
    """What must be kept of request `msg`, which came from `source`, to answer it."""
    headers = msg.headers
    vias = list(headers["via"])
    vias[0] = stamped(vias[0], msg.sent_by, source)
    return Origin(
        method=msg.method,
        vias=vias,
        record_routes=list(headers.get("record-route", ())),
        from_=msg.get("from"),
        to=msg.get("to"),
        call_id=msg.get("call-id"),
        cseq=msg.cseq,
        source=source,
        branch=msg.branch,
        sent_by=msg.sent_by,
    )


def respond(
    origin: Origin,
    status: int,
    reason: str = "",
    *,
    to_tag: str = "",
    contact: str = "",
    headers: Headers = (),
    body: str = "",
) -> bytes:
    """A response to `origin` (RFC 3261 §8.2.6). `to_tag` is added unless the request had one.

    `contact` is a URI or a whole Contact value. The body is SDP unless `headers` has a
    Content-Type.
    """
    to = origin.to
    if to_tag and not tag_of(to):
        to = f"{to};tag={to_tag}"
    lines = [f"SIP/2.0 {status} {reason or phrase(status)}"]
    lines += [f"Via: {via}" for via in origin.vias]
    if 100 < status < 300:
        lines += [f"Record-Route: {route}" for route in origin.record_routes]
    lines += [
        f"From: {origin.from_}",
        f"To: {to}",
        f"Call-ID: {origin.call_id}",
        f"CSeq: {origin.cseq} {origin.method}",
    ]
    return _finish(lines, contact, headers, body)


def refuse(
    msg: Message, source: Address, status: int, reason: str = "", *, headers: Headers = ()
) -> bytes:
    """A final response made without keeping anything (RFC 3261 §8.2.7), also to a message that is
    not whole.

    Its To tag follows from the request, so a repeat gets the same bytes. Send it to
    `reply_address`.
    """
    lines = [f"SIP/2.0 {status} {reason or phrase(status)}"]
    vias = msg.headers["via"]
    lines.append(f"Via: {stamped(vias[0], msg.sent_by, source)}")
    lines += [f"Via: {via}" for via in vias[1:]]
    for name, title in (("from", "From"), ("to", "To"), ("call-id", "Call-ID"), ("cseq", "CSeq")):
        value = msg.get(name)
        if value and name == "to" and not tag_of(value):
            value += f";tag={zlib.crc32((msg.call_id + msg.branch).encode('latin-1')):08x}"
        if value:
            lines.append(f"{title}: {value}")
    return _finish(lines, "", headers, "")


def reply_address(origin: Origin) -> Address:
    """Where answers to `origin` go (RFC 3261 §18.2.2, RFC 3581 §4).

    Always the host the request came from: to its source port if it asked with rport, else to the
    port of its Via. A maddr is not followed: multicast is not spoken here, and a unicast one would
    aim our answers at a third host.
    """
    return reply_to(origin.vias[0], origin.sent_by, origin.source)


def reply_to(via: str, sent_by: str, source: Address) -> Address:
    """`reply_address` for a top Via value, with or without rport filled in."""
    if _RPORT.search(via):
        return source
    try:
        return source[0], split_host(sent_by)[1]
    except BadUri:
        return source


def stamped(via: str, sent_by: str, source: Address) -> str:
    """The top Via line with received and rport filled in (RFC 3261 §18.2.1, RFC 3581 §4).

    What the sender itself wrote there goes: an answer shall find him, not whom he names.
    """
    first, others = via, ""
    if "," in via:
        first = split_commas(via)[0]
        others = via[via.find(first) + len(first) :]
    host, port = source
    first, asked = _RPORT.subn(f";rport={port}", first, count=1)
    if "received" in first.lower():
        first = _RECEIVED.sub("", first)
    if asked or sent_by.partition(":")[0] != host:
        first = f"{first};received={host}"
    return first + others


# -- dialogs --------------------------------------------------------------------------------------


def incoming(msg: Message, source: Address, local_tag: str) -> Dialog:
    """The dialog that answering request `msg` with `local_tag` makes (UAS, RFC 3261 §12.1.1).

    Requests will go to the first Route; without one to Contact. They go to `source` instead when
    that is a name (nothing here asks DNS), or when the sender is behind a NAT: its Via is a literal
    address other than `source`.
    """
    routes = msg.all("record-route")
    target = uri_of(msg.all("contact")[0]) if msg.headers.get("contact") else ""
    try:
        sent_from = split_host(msg.sent_by)[0]
    except BadUri:
        sent_from = ""
    if not routes and is_ip(sent_from) and sent_from != source[0]:
        hop = source
    else:
        hop = _hop(routes, target) or source
    return Dialog(
        call_id=msg.call_id,
        local_tag=local_tag,
        remote_tag=msg.from_tag,
        local_uri=uri_of(msg.get("to")),
        remote_uri=uri_of(msg.get("from")),
        target=target or uri_of(msg.get("from")),
        routes=routes,
        local_cseq=0,
        remote_cseq=msg.cseq,
        next_hop=hop,
    )


def outgoing(
    call_id: str,
    local_tag: str,
    local_uri: str,
    remote_uri: str,
    target: str,
    routes: Sequence[str] = (),
) -> Dialog:
    """The dialog that a request to `target` will make, before its answer (UAC, RFC 3261 §8.1.1).

    Raises BadUri when the first route, or without one the target, has no literal address.
    """
    return Dialog(
        call_id=call_id,
        local_tag=local_tag,
        remote_tag="",
        local_uri=local_uri,
        remote_uri=remote_uri,
        target=target,
        routes=list(routes),
        local_cseq=1,
        remote_cseq=0,
        next_hop=host_port(uri_of(routes[0]) if routes else target),
    )


def answered(dialog: Dialog, response: Message) -> None:
    """Take remote tag, target and route set from a 101 to 299 response (UAC, RFC 3261 §12.1.2), in
    place.

    `next_hop` stays as it is when the response leads to a name instead of an address.
    """
    dialog.remote_tag = response.to_tag
    dialog.routes = response.all("record-route")[::-1]
    _retarget(dialog, response)


def refresh(dialog: Dialog, msg: Message) -> None:
    """Take the new target from a (re-)INVITE or UPDATE, or from its 2xx, in place (RFC 3261 §12.2).

    From a request also the remote CSeq. The route set never changes.
    """
    if msg.method:
        dialog.remote_cseq = max(dialog.remote_cseq, msg.cseq)
    _retarget(dialog, msg)


def _retarget(dialog: Dialog, msg: Message) -> None:
    target = uri_of(msg.all("contact")[0]) if msg.headers.get("contact") else ""
    if target:
        dialog.target = target
    dialog.next_hop = _hop(dialog.routes, dialog.target) or dialog.next_hop


def _hop(routes: Sequence[str], target: str) -> Address | None:
    try:
        return host_port(uri_of(routes[0]) if routes else target)
    except BadUri:
        return None


def request(
    dialog: Dialog,
    method: str,
    *,
    cseq: int,
    branch: str,
    sent_by: str,
    contact: str = "",
    headers: Headers = (),
    body: str = "",
    to_tag: str | None = None,
) -> bytes:
    """A request inside `dialog`, or the one that shall make it (RFC 3261 §12.2.1.1); goes to
    `dialog.next_hop`.

    `to_tag` other than None stands for the dialog's remote tag: another branch of a fork, or "" for
    none. Nothing in `dialog` changes; whoever calls keeps `local_cseq`.
    """
    uri, routes = dialog.target, dialog.routes
    if routes and not _is_loose(routes[0]):
        uri, routes = _bare(uri_of(routes[0])), [*routes[1:], f"<{dialog.target}>"]
    tag = dialog.remote_tag if to_tag is None else to_tag
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {sent_by};rport;branch={branch}",
        f"Max-Forwards: {MAX_FORWARDS}",
    ]
    lines += [f"Route: {route}" for route in routes]
    lines += [
        f"From: {_address(dialog.local_uri)};tag={dialog.local_tag}",
        f"To: {_address(dialog.remote_uri)}" + (f";tag={tag}" if tag else ""),
        f"Call-ID: {dialog.call_id}",
        f"CSeq: {cseq} {method}",
    ]
    return _finish(lines, contact, headers, body)


def cancel(invite: bytes) -> bytes:
    """The CANCEL for the very INVITE that was sent (RFC 3261 §9.1); goes to the same address."""
    return _companion(parse(invite), "CANCEL", "")


def ack_failure(invite: bytes, response: Message) -> bytes:
    """The ACK for a 300 to 699 answer to the INVITE that was sent (RFC 3261 §17.1.1.3); to the same
    address.
    """
    return _companion(parse(invite), "ACK", response.get("to"))


def _companion(invite: Message, method: str, to: str) -> bytes:
    lines = [
        f"{method} {invite.uri} SIP/2.0",
        f"Via: {split_commas(invite.get('via'))[0]}",
        f"Max-Forwards: {MAX_FORWARDS}",
    ]
    lines += [f"Route: {route}" for route in invite.headers.get("route", ())]
    lines += [
        f"From: {invite.get('from')}",
        f"To: {to or invite.get('to')}",
        f"Call-ID: {invite.call_id}",
        f"CSeq: {invite.cseq} {method}",
    ]
    return finish(lines, "")


def _finish(lines: list[str], contact: str, headers: Headers, body: str) -> bytes:
    if contact:
        lines.append(f"Contact: {_address(contact)}")
    content_type = "application/sdp"
    for name, value in headers:
        if name.lower() == "content-type":
            content_type = value
        else:
            lines.append(f"{name}: {value}")
    return finish(lines, body, content_type)


def _address(value: str) -> str:
    return value if "<" in value else f"<{value}>"


def _is_loose(route: str) -> bool:
    """Does this Route have the lr parameter? Without it it is a strict router of RFC 2543."""
    parameters = uri_of(route).partition("?")[0].split(";")[1:]
    return any(parameter.partition("=")[0].strip().lower() == "lr" for parameter in parameters)


def _bare(uri: str) -> str:
    """A URI as it may stand in a request line: without headers (RFC 3261 §19.1.1)."""
    return uri.partition("?")[0]
