"""What a datagram says: a lazy SIP parser, the strict checks a lazy parser skips, and a builder
(RFC 3261 §7).

`parse` makes one pass over the header lines and reads only what the transaction layer needs; values
stay raw. Text is latin-1, so every byte survives a round trip. `check` looks at the rest of a new
request once.
"""

import re
from collections.abc import Sequence
from typing import NoReturn

from sip.grammar import PARAMETERS, SPELLINGS, header_name, is_token, phrase, split_commas
from sip.uri import BadUri, is_address, is_plain, parse_uri, tag_of, uri_of
from sip.uri import SipError as SipError  # the base of this package's errors lives lowest

MAX_DATAGRAM = 65535
"""Bytes of one UDP datagram."""
MAX_HEADERS = 256
"""Header lines of one message."""
MAX_VIAS = 70
"""Via values of one message; 70 is what Max-Forwards starts with (RFC 3261 §8.1.1.6)."""
MAX_CSEQ = 2**31 - 1
"""RFC 3261 §8.1.1.5."""

_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_FOLD = re.compile(r"\r\n[ \t]++")
_TRANSPORT = r"\s*+/\s*+[A-Za-z0-9\-.!%*_+`'~]++\s++"
_SENT_BY = r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)\s*+(?::\s*+([0-9]{1,5}+))?+\s*+"
_VIA = re.compile(rf"SIP\s*+/\s*+[0-9.]++{_TRANSPORT}{_SENT_BY}(?=;|,|$)", _FLAGS)
_GOOD_VIA = re.compile(rf"SIP\s*+/\s*+2\.0{_TRANSPORT}{_SENT_BY}{PARAMETERS}", _FLAGS)
_BRANCH = re.compile(r";\s*+branch\s*+=\s*+([^;,\s\"]++)", _FLAGS)
_CSEQ = re.compile(r"0*([0-9]{1,10})[ \t]++([^ \t]++)")
_VERSION = re.compile(r"SIP/[0-9]++\.[0-9]++", _FLAGS)
_CALL_ID = re.compile(r"[^\s@,;\0]++(?:@[^\s@,;\0]++)?+", _FLAGS)
_EXPIRES = re.compile(r";\s*+expires\s*+=\s*+([^;,\s]++)", _FLAGS)
_SIP_ADDRESS = re.compile(r"sips?:", _FLAGS)
COOKIE = "z9hG4bK"
"""What a branch made after RFC 3261 §8.1.1.7 begins with, and has more behind."""

METHODS = frozenset((
    "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH",
    "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
))  # fmt: skip
"""Methods that some RFC gives a meaning. Which of them are allowed, the user says (405)."""
SUPPORTED: frozenset[str] = frozenset()
"""Option tags that Require may name."""
RETRY_AFTER_S = 2
"""What a 503 tells the peer to wait."""
_SINGLE = (
    "call-id", "cseq", "from", "to", "max-forwards", "content-length", "content-type",
    "content-encoding", "expires",
)  # fmt: skip
_ALWAYS_TAKEN = ("ACK", "CANCEL")
_SDP_RANGES = frozenset(("application/sdp", "application/*", "*/*"))


class Message:
    """One request or response. A request has `method` and `uri`, a response `status` and `reason`.

    `headers` maps lower-case long names to raw values in the order they came. `branch` and
    `sent_by` are those of the top Via. A request whose branch is not made after RFC 3261 gets a
    substitute that is equal in the request, its repeats, its CANCEL and its ACK (§17.2.3): so
    nothing later needs to know the difference.
    """

    __slots__ = (
        "body", "branch", "cseq", "cseq_method", "headers",
        "method", "reason", "sent_by", "status", "uri",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.uri = ""
        self.status = 0
        self.reason = ""
        self.headers: dict[str, list[str]] = {}
        self.body = ""
        self.cseq = 0
        self.cseq_method = ""
        self.branch = ""
        self.sent_by = ""

    def get(self, name: str) -> str:
        """The first value of a header field, raw, by its lower-case long name; "" if there is
        none.
        """
        values = self.headers.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Every value of a header field that may be a list, split at its commas."""
        values = self.headers.get(name)
        if not values:
            return []
        return [part for value in values for part in split_commas(value)]

    @property
    def call_id(self) -> str:
        return self.get("call-id")

    @property
    def from_tag(self) -> str:
        return tag_of(self.get("from"))

    @property
    def to_tag(self) -> str:
        return tag_of(self.get("to"))

    def __repr__(self) -> str:
        what = self.method or self.status
        return f"<Message {what} cseq={self.cseq} {self.cseq_method} branch={self.branch}>"


class BadMessage(SipError):
    """A datagram that is no SIP message. `message` is as far as it could be read, enough to answer
    with `status`; None when it must be dropped: a response, or a request that does not say whom to
    answer.
    """

    def __init__(self, reason: str, *, status: int = 400, message: Message | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.message = message


def parse(datagram: bytes) -> Message:
    """The message in one datagram. Raises BadMessage, and nothing else whatever the bytes."""
    text = datagram.decode("latin-1")
    if text.startswith("\r\n"):  # RFC 3261 §7.5
        text = text.lstrip("\r\n")
    end = text.find("\r\n\r\n")
    if len(text) > MAX_DATAGRAM:
        _refuse(text, phrase(513), status=513)
    if end < 0:
        _refuse(text, "No End of Header Fields")
    head = text[:end]
    if "\r\n " in head or "\r\n\t" in head:
        head = _FOLD.sub(" ", head)
    lines = head.split("\r\n")
    if head.count("\n") + 1 != len(lines) or head.count("\r") + 1 != len(lines):
        _refuse(text, "Bare CR or LF")  # another parser might see a header line where we see none
    if len(lines) > MAX_HEADERS:
        _refuse(text, "Too Many Header Fields")

    message = Message.__new__(Message)
    first = lines[0]
    if first.startswith("SIP/2.0 "):
        status = first[8:11]
        if not (status.isdecimal() and "100" <= status <= "699") or first[11:12] not in ("", " "):
            _refuse(text, "Malformed Status-Line")
        message.method = message.uri = ""
        message.status = int(status)
        message.reason = first[12:]
    else:
        parts = first.split(" ")
        if len(parts) != 3 or not parts[1]:
            _refuse(text, "Malformed Request-Line")
        message.method, message.uri, version = parts
        if version != "SIP/2.0" and version.upper() != "SIP/2.0":
            if _VERSION.fullmatch(version):
                _refuse(text, phrase(505), status=505)
            _refuse(text, "Malformed Request-Line")
        if not is_token(message.method):
            _refuse(text, "Malformed Method")
        message.status = 0
        message.reason = ""

    headers: dict[str, list[str]] = {}
    spellings = SPELLINGS
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        key = spellings.get(name) or header_name(name)
        if not colon or not key:
            _refuse(text, "Malformed Header Field")
        if key in headers:
            headers[key].append(value.strip(" \t"))
        else:
            headers[key] = [value.strip(" \t")]
    message.headers = headers
    for name in ("via", "cseq", "call-id", "from", "to"):
        if name not in headers:
            _refuse(text, f"Missing {_title(name)}")

    number, _, cseq_method = headers["cseq"][0].partition(" ")
    if not number.isdecimal() or len(number) > 10 or " " in cseq_method:
        found = _CSEQ.fullmatch(headers["cseq"][0])
        if found is None:
            _refuse(text, "Malformed CSeq")
        number, cseq_method = found[1], found[2]
    message.cseq = int(number)
    message.cseq_method = cseq_method
    if message.cseq > MAX_CSEQ or not is_token(cseq_method):
        _refuse(text, "Malformed CSeq")

    vias = headers["via"]
    if not _read_via(message, vias[0]):
        _refuse(text, "Malformed Via")
    if len(vias) > MAX_VIAS or sum([via.count(",") for via in vias]) + len(vias) > MAX_VIAS:
        _refuse(text, phrase(483), status=483)

    body = text[end + 4 :]
    lengths = headers.get("content-length")
    if lengths:
        length = int(lengths[0]) if lengths[0].isdecimal() and len(lengths[0]) <= 10 else -1
        if not 0 <= length <= len(body):
            _refuse(text, "Malformed or Wrong Content-Length")
        body = body[:length]
    message.body = body
    return message


def _title(name: str) -> str:
    return {"cseq": "CSeq", "call-id": "Call-ID"}.get(name) or name.title()


def _read_via(message: Message, via: str) -> bool:
    """Set branch and sent_by from the top Via line; False when it says neither where nor how it was
    sent.
    """
    semicolon = via.find(";")
    if via.startswith("SIP/2.0/UDP ") and semicolon > 0 and '"' not in via:
        sent_by = via[12:semicolon]
        if "," in sent_by or " " in sent_by or "\t" in sent_by:
            found = _VIA.match(via)
            if found is None:
                return False
            sent_by = found[1] + (":" + found[2] if found[2] else "")
        at = via.find(";branch=", semicolon)
        if at >= 0 and "," not in via:
            end = via.find(";", at + 8)
            branch = via[at + 8 : end if end > 0 else None].rstrip(" \t")
        else:
            top = _BRANCH.search(via.partition(",")[0])
            branch = top[1] if top else ""
    else:
        via = split_commas(via)[0]
        found = _VIA.match(via)
        if found is None:
            return False
        sent_by = found[1] + (":" + found[2] if found[2] else "")
        top = _BRANCH.search(via, found.end())
        branch = top[1] if top else ""
    if not sent_by:
        return False
    if message.method and (not branch.startswith(COOKIE) or len(branch) == len(COOKIE)):
        branch = f"{branch}~{message.cseq}~{message.call_id}~{message.from_tag}"
    message.branch = branch
    message.sent_by = sent_by
    return True


def sent_by_of(via: str) -> str:
    """`host[:port]` of a Via value: where it says that it was sent from; "" if it does not."""
    found = _VIA.match(via)
    return "" if found is None else found[1] + (":" + found[2] if found[2] else "")


def _refuse(text: str, reason: str, *, status: int = 400) -> NoReturn:
    """Read again, as far as it goes, what `parse` gave up on, and raise BadMessage with it."""
    head = _FOLD.sub(" ", text[:MAX_DATAGRAM].partition("\r\n\r\n")[0])
    lines = head.split("\r\n", MAX_HEADERS + 1)[: MAX_HEADERS + 1]
    message = Message()
    parts = lines[0].split()
    if len(parts) < 2 or not is_token(parts[0]):  # "SIP/2.0" is not a token either
        raise BadMessage(reason, status=status)
    message.method, message.uri = parts[0], parts[1]
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        key = header_name(name)
        if colon and key and "\r" not in value and "\n" not in value:
            message.headers.setdefault(key, []).append(value.strip(" \t"))
    number, _, message.cseq_method = message.get("cseq").partition(" ")
    message.cseq = int(number) if number.isdecimal() and len(number) < 10 else 0
    via = message.get("via")
    if message.method == "ACK" or not via or not _read_via(message, via):
        raise BadMessage(reason, status=status)
    raise BadMessage(reason, status=status, message=message)


# -- strict checks --------------------------------------------------------------------------------


def check(msg: Message, supported: frozenset[str] = SUPPORTED) -> tuple[int, str] | None:
    """The status and reason to refuse a new request with, or None: what RFC 4475 shows and `parse`
    lets pass.

    `supported` are the option tags that Require may name. Of an ACK and a CANCEL only the form is
    looked at. A Date outside GMT is ignored, as RFC 4475 §3.1.2.12 allows: nobody shall lose a call
    by it.
    """
    return _bad_form(msg) or (
        None if msg.method in _ALWAYS_TAKEN else _unacceptable(msg, supported)
    )


def unsupported(msg: Message, supported: frozenset[str] = SUPPORTED) -> list[str]:
    """The option tags that the request requires and we lack: what a 420 lists in Unsupported (RFC
    3261 §8.2.2.3).
    """
    return [option for option in msg.all("require") if option.lower() not in supported]


def refusal_headers(msg: Message, status: int) -> list[tuple[str, str]]:
    """The header fields that a refusal of `msg` with `status` must have (RFC 3261 §21.4, §21.5)."""
    match status:
        case 405 | 501:
            return [("Allow", ", ".join(sorted(METHODS)))]
        case 406 | 415:
            return [("Accept", "application/sdp"), ("Accept-Encoding", "identity")]
        case 420:
            return [("Unsupported", ", ".join(unsupported(msg)))]
        case 503:
            return [("Retry-After", str(RETRY_AFTER_S))]
    return []


def _bad_form(msg: Message) -> tuple[int, str] | None:
    headers = msg.headers
    for name in _SINGLE:
        if name in headers and len(headers[name]) > 1:
            return 400, f"Multiple {_title(name)}"
    if msg.method not in METHODS:
        return 501, phrase(501)
    if msg.cseq_method != msg.method:
        return 400, "CSeq Method Mismatch"
    for name in ("from", "to"):
        if not is_address(headers[name][0]):
            return 400, f"Malformed {_title(name)}"
    if not _CALL_ID.fullmatch(msg.call_id):
        return 400, "Malformed Call-ID"
    if not all(_GOOD_VIA.fullmatch(via) for via in msg.all("via")):
        return 400, "Malformed Via"
    for name in ("record-route", "route"):
        if name in headers and not all("<" in v and is_address(v) for v in msg.all(name)):
            return 400, f"Malformed {_title(name)}"
    for name, limit in (("max-forwards", 255), ("expires", 2**32 - 1)):
        if name in headers and not _is_number(headers[name][0], limit):
            return 400, f"Malformed {_title(name)}"
    for contact in msg.all("contact"):
        if contact == "*" and msg.method == "REGISTER":
            continue
        expires = _EXPIRES.search(contact)
        if not is_address(contact) or (expires and not _is_number(expires[1], 2**32 - 1)):
            return 400, "Malformed Contact"
    return None


def _unacceptable(msg: Message, supported: frozenset[str]) -> tuple[int, str] | None:
    if not is_plain(msg.uri):
        try:
            uri = parse_uri(msg.uri)
        except BadUri:
            return 400, "Malformed Request-URI"
        if uri.scheme not in ("sip", "tel"):
            return 416, phrase(416)
        if uri.headers:
            return 400, "Header Fields in Request-URI"
    if msg.method == "REGISTER" and not _SIP_ADDRESS.match(uri_of(msg.get("to"))):
        return 400, "Malformed To"
    if "require" in msg.headers and unsupported(msg, supported):
        return 420, phrase(420)
    if msg.method == "INVITE":
        # We are an endpoint, but one that calls on: RFC 7332 §3 asks of it what is asked of a
        # proxy. A request inside a dialog has arrived, and so has an OPTIONS to us.
        if msg.get("max-forwards").strip("0") == "" != msg.get("max-forwards") and not msg.to_tag:
            return 483, phrase(483)
        accepted = [media.partition(";")[0].strip().lower() for media in msg.all("accept")]
        if accepted and not _SDP_RANGES.intersection(accepted):
            return 406, phrase(406)
    if msg.body and msg.method in ("INVITE", "UPDATE", "PRACK"):
        if not msg.get("content-type"):
            return 400, "Missing Content-Type"
        media = msg.get("content-type").partition(";")[0].strip(" \t").lower()
        if media != "application/sdp" or msg.get("content-encoding").lower() not in (
            "",
            "identity",
        ):
            return 415, phrase(415)
    return None


def _is_number(text: str, limit: int) -> bool:
    return text.isdecimal() and len(text) <= 32 and int(text) <= limit


# -- building -------------------------------------------------------------------------------------


def build_request(
    method: str,
    uri: str,
    headers: Sequence[tuple[str, str]],
    body: str = "",
    content_type: str = "application/sdp",
) -> bytes:
    """A request with exactly these header fields in this order, and Content-Type and Content-Length
    added.
    """
    lines = [f"{method} {uri} SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in headers]
    return finish(lines, body, content_type)


def finish(lines: list[str], body: str, content_type: str = "application/sdp") -> bytes:
    """The bytes of a message from its start line and header lines.

    Text is latin-1, as `parse` gives it; what latin-1 lacks becomes "?", so that Content-Length
    stays true.
    """
    if body:
        lines.append(f"Content-Type: {content_type}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n{body}")
    return "\r\n".join(lines).encode("latin-1", "replace")
