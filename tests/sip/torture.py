"""What a Layer does with one datagram: the stage for the messages of RFC 4475."""

from sip.message import Message, parse
from sip.transaction import Layer
from sip.uri import Address

SOURCE: Address = ("192.0.2.77", 5062)
SDP = (
    "v=0\no=mhandley 29739 7272939 IN IP4 {0}\ns=-\nc=IN IP4 {0}\nt=0 0\n"
    "m=audio 49217 RTP/AVP 0 12\nm=video 3227 RTP/AVP 31\na=rtpmap:31 LPC\n"
)


class Stage:
    """Keeps what a Layer sent and what its user was told."""

    def __init__(self, sent_by: str | None = None) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.requests: list[Message] = []
        self.responses: list[Message] = []
        self.faults: list[Exception] = []
        self.layer = Layer(
            lambda datagram, dst: self.sent.append((datagram, dst)),
            self,
            0,
            sent_by=sent_by,
            on_fault=self.faults.append,
        )

    def on_request(self, msg: Message, source: Address) -> None:
        self.requests.append(msg)

    def on_response(self, msg: Message, source: Address) -> None:
        self.responses.append(msg)

    def on_timeout(self, branch: str, method: str) -> None:
        raise AssertionError("nothing was asked")


def wire(text: str) -> bytes:
    """The bytes of a message written with plain line ends, one leading line end left out."""
    return text.removeprefix("\n").replace("\n", "\r\n").encode("latin-1")


def taken(text: str) -> Message:
    """The message as the user got it; fails when it was answered or dropped."""
    stage = Stage()
    stage.layer.receive(wire(text), SOURCE, 0)
    assert stage.faults == []
    assert stage.sent == []
    (msg,) = stage.requests + stage.responses
    return msg


def refused(text: str) -> Message:
    """The answer that the Layer gave by itself, having told the user nothing."""
    stage = Stage()
    stage.layer.receive(wire(text), SOURCE, 0)
    assert stage.faults == []
    assert stage.requests + stage.responses == []
    ((datagram, dst),) = stage.sent
    assert dst[0] == SOURCE[0]
    answer = parse_loosely(datagram)
    assert answer.status >= 400
    return answer


def dropped(text: str, sent_by: str | None = None) -> bool:
    """Did the Layer count it and do nothing else?"""
    stage = Stage(sent_by)
    stage.layer.receive(wire(text), SOURCE, 0)
    assert stage.faults == []
    assert stage.layer.counters["dropped"] == 1
    return not (stage.sent or stage.requests or stage.responses)


def parse_loosely(datagram: bytes) -> Message:
    """An answer to a message that lacked what an answer must have, made whole for reading."""
    head, _, body = datagram.decode("latin-1").partition("\r\n\r\n")
    for line in ("Call-ID: none", "From: <sip:none@none>", "To: <sip:none@none>"):
        name = line.partition(":")[0]
        if f"\r\n{name}:" not in head:
            head += f"\r\n{line}"
    lines = head.split("\r\n")
    lines = ["CSeq: 1 NONE" if x.startswith("CSeq: ") and not is_cseq(x) else x for x in lines]
    return parse("\r\n".join([*lines, "", body]).encode("latin-1"))


def is_cseq(line: str) -> bool:
    number = line.split()[1]
    return number.isdecimal() and int(number) < 2**31
