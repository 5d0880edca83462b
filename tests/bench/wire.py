"""SIP as the benchmarks' phones write it: the least that is right, made fast by copying headers."""

import re

Address = tuple[str, int]

_HEADER = re.compile(rb"^(Via|From|To|Call-ID|CSeq|Contact|Record-Route): *(.*?)\r$", re.M)
_TAG = re.compile(rb";tag=([^;>\s]+)")
_URI = re.compile(rb"<([^>]+)>")


class Received:
    """A datagram that was received: a request or a response, with the headers that matter."""

    __slots__ = ("contact", "cseq", "datagram", "from_", "id", "method", "status", "to", "vias")

    def __init__(self, datagram: bytes) -> None:
        self.datagram = datagram
        self.vias: list[bytes] = []
        self.contact = self.from_ = self.to = self.id = self.cseq = b""
        for name, value in _HEADER.findall(datagram.partition(b"\r\n\r\n")[0] + b"\r"):
            match name:
                case b"Via":
                    self.vias.append(value)
                case b"From":
                    self.from_ = value
                case b"To":
                    self.to = value
                case b"Call-ID":
                    self.id = value
                case b"CSeq":
                    self.cseq = value
                case b"Contact":
                    self.contact = value
        first = datagram.split(b" ", 2)
        is_response = first[0] == b"SIP/2.0"
        self.status = int(first[1]) if is_response else 0
        self.method = self.cseq.partition(b" ")[2] if is_response else first[0]


def respond(
    received: Received,
    status: int,
    *,
    tag: str = "",
    contact: Address | None = None,
    body: str = "",
) -> bytes:
    """An answer to a request."""
    to = received.to
    if tag and b";tag=" not in to:
        to += b";tag=" + tag.encode()
    lines = [b"SIP/2.0 %d Fine" % status]
    lines += [b"Via: " + via for via in received.vias]
    lines += [
        b"From: " + received.from_,
        b"To: " + to,
        b"Call-ID: " + received.id,
        b"CSeq: " + received.cseq,
    ]
    if contact is not None:
        lines.append(b"Contact: <sip:%s:%d>" % (contact[0].encode(), contact[1]))
    return _finish(lines, body)


class Request:
    """An INVITE of ours, and what follows it in its dialog."""

    def __init__(self, datagram: bytes) -> None:
        self.datagram = datagram
        self._sent = Received(datagram)
        self._uri = datagram.split(b" ", 2)[1]
        self._n = 0

    def ack(self, answer: Received) -> bytes:
        """The ACK to a 200."""
        return self.follow("ACK", int(self._sent.cseq.split()[0]), answer)

    def ack_failure(self, answer: Received) -> bytes:
        """The ACK to a refusal: of the INVITE's own transaction (RFC 3261 §17.1.1.3)."""
        return _finish(
            [
                b"ACK " + self._uri + b" SIP/2.0",
                b"Via: " + self._sent.vias[0],
                b"Max-Forwards: 70",
                b"From: " + self._sent.from_,
                b"To: " + answer.to,
                b"Call-ID: " + self._sent.id,
                b"CSeq: %s ACK" % self._sent.cseq.split()[0],
            ],
            "",
        )

    def follow(self, method: str, cseq: int, answer: Received) -> bytes:
        """A request in the dialog that `answer` made."""
        self._n += 1
        via = self._sent.vias[0] + b".%d" % self._n
        contact = _URI.search(answer.contact)
        return _finish(
            [
                method.encode() + b" " + (contact[1] if contact else self._uri) + b" SIP/2.0",
                b"Via: " + via,
                b"Max-Forwards: 70",
                b"From: " + self._sent.from_,
                b"To: " + answer.to,
                b"Call-ID: " + self._sent.id,
                b"CSeq: %d %s" % (cseq, method.encode()),
            ],
            "",
        )


def tag_of(value: bytes) -> bytes:
    """The tag parameter of a From or To."""
    found = _TAG.search(value)
    return found[1] if found else b""


def uri_of(value: bytes) -> bytes:
    """The URI in a Contact."""
    found = _URI.search(value)
    return found[1] if found else value


def _finish(lines: list[bytes], body: str) -> bytes:
    if body:
        lines.append(b"Content-Type: application/sdp")
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body.encode()
