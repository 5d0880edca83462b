"""Session descriptions: read, kept in order, written, and the offer/answer rules for one audio
stream (RFC 4566, RFC 3264, RFC 4733). Reading is tolerant; only what makes a description useless is
an error.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from sip.message import SipError
from sip.uri import Address, is_ip

MAX_SDP = 16_384
"""Characters of one description."""
MAX_MEDIA = 32
"""m= lines of one description."""

STATIC = {
    0: ("PCMU", 8000), 3: ("GSM", 8000), 4: ("G723", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000),
    13: ("CN", 8000), 15: ("G728", 8000), 18: ("G729", 8000),
}  # fmt: skip
"""Payload types that need no rtpmap (RFC 3551 §6)."""
TELEPHONE_EVENT = "telephone-event"
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_MIRROR = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
_NOWHERE = ("0.0.0.0", "::")


class BadSdp(SipError):
    """Not a session description (RFC 4566 §5)."""

    status = 400


class NotAcceptable(SipError):
    """A description we can read, and nothing in it we can do (RFC 3261 §13.3.1.3)."""

    status = 488


class Media(msgspec.Struct):
    """One m= line with the lines below it, as written and without line ends."""

    kind: str
    port: int
    proto: str
    formats: list[str]
    lines: list[str]
    count: str = ""


class Sdp(msgspec.Struct):
    """A description: the lines before the first m= line, and the media."""

    lines: list[str]
    media: list[Media]


class Audio(msgspec.Struct, frozen=True):
    """What an audio stream of a description says. `direction` is its author's; an address of
    0.0.0.0 takes the receiving half from it (RFC 3264 §8.4). Codecs are (payload type, name as
    written, rate), preferred first.
    """

    address: str
    port: int
    codecs: list[tuple[int, str, int]]
    telephone_event: int | None
    direction: str
    ptime: int
    index: int


class Negotiated(msgspec.Struct, frozen=True):
    """What a media server must know of an agreed stream. Payload types named `send_` are those the
    other side asked for, `receive_` those that we did. `send` and `receive`: may we?
    """

    codec: str
    rate: int
    send_type: int
    receive_type: int
    send_event: int | None
    receive_event: int | None
    remote: Address
    send: bool
    receive: bool
    ptime: int


def parse(text: str) -> Sdp:
    """The description in a body. Raises BadSdp."""
    if len(text) > MAX_SDP:
        raise BadSdp("description too long")
    text = text.replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if line]
    if "\r" in text:
        lines = [bare for line in lines if (bare := line.strip("\r"))]
    if not lines or not lines[0].startswith("v="):
        raise BadSdp("no v= line")
    sdp = Sdp([], [])
    into = sdp.lines
    for line in lines:
        if line[1:2] != "=":
            raise BadSdp("malformed line")
        if line[0] != "m":
            into.append(line)
            continue
        if len(sdp.media) == MAX_MEDIA:
            raise BadSdp("too many m= lines")
        sdp.media.append(_media(line))
        into = sdp.media[-1].lines
    return sdp


def _media(line: str) -> Media:
    words = line[2:].split()
    if len(words) < 4:
        raise BadSdp("malformed m= line")
    port, slash, count = words[1].partition("/")
    if not (port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise BadSdp("malformed port")
    if slash and not count.isdecimal():
        raise BadSdp("malformed port")
    return Media(words[0], int(port), words[2], words[3:], [], count)


def build(sdp: Sdp) -> str:
    """The text of a description."""
    lines = list(sdp.lines)
    for media in sdp.media:
        port = f"{media.port}/{media.count}" if media.count else str(media.port)
        lines.append(f"m={media.kind} {port} {media.proto} {' '.join(media.formats)}")
        lines += media.lines
    return "\r\n".join(lines) + "\r\n"


def audio(sdp: Sdp) -> Audio | None:
    """The first audio stream that is not refused, goes over plain RTP/AVP and has a literal
    address; or None.
    """
    for index in range(len(sdp.media)):
        view = _audio(sdp, index)
        if view is not None:
            return view
    return None


def streams(text: str) -> tuple[Audio | None, ...]:
    """Each m= line of a description as `audio` would see it, None where it would not. Raises
    BadSdp.
    """
    return _read(text)[1]


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[Sdp, tuple[Audio | None, ...]]:
    """A description with its streams, not to be changed: answering, and then agreeing on what was
    answered, read the same text again.
    """
    sdp = parse(text)
    return sdp, tuple(_audio(sdp, index) for index in range(len(sdp.media)))


def _audio(sdp: Sdp, index: int) -> Audio | None:
    media = sdp.media[index]
    if media.kind != "audio" or media.proto.upper() != "RTP/AVP" or media.port == 0:
        return None
    address = _connection(media.lines) or _connection(sdp.lines)
    if not is_ip(address):
        return None
    maps: dict[str, tuple[str, int]] = {}
    direction = ""
    for line in sdp.lines:
        if line[0] == "a" and line[2:] in DIRECTIONS:
            direction = line[2:]
            break
    ptime = 20
    own = ""
    for line in media.lines:
        if line[0] != "a":
            continue
        name, _, value = line[2:].partition(":")
        if name == "rtpmap":
            pt, _, encoding = value.strip().partition(" ")
            codec, _, rest = encoding.strip().partition("/")
            rate = rest.partition("/")[0]
            if codec and rate.isdecimal() and len(rate) <= 6:
                maps.setdefault(pt, (codec, int(rate)))
        elif name == "ptime" and value.strip().isdecimal() and len(value) <= 4:
            ptime = int(value) or 20
        elif not own and name in DIRECTIONS:
            own = name
    codecs: list[tuple[int, str, int]] = []
    event = None
    for format_ in media.formats:
        if not (format_.isdecimal() and len(format_) <= 3 and int(format_) <= 127):
            continue
        mapped = maps.get(format_) or STATIC.get(int(format_))
        if mapped is None:
            continue
        if mapped[0].lower() != TELEPHONE_EVENT:
            codecs.append((int(format_), *mapped))
        elif event is None and mapped[1] == 8000:
            event = int(format_)
    direction = own or direction or "sendrecv"
    if address in _NOWHERE:
        direction = "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
    return Audio(address, media.port, codecs, event, direction, ptime, index)


def _connection(lines: Sequence[str]) -> str:
    """The address of the first c= line, without a multicast TTL; "" if there is none."""
    for line in lines:
        if line.startswith("c="):
            words = line[2:].split()
            return words[2].partition("/")[0] if len(words) >= 3 else ""
    return ""


def on_hold(sdp: Sdp) -> bool:
    """Does the author of this description not want to hear us (sendonly, inactive, or 0.0.0.0)?"""
    view = audio(sdp)
    return view is not None and view.direction in ("sendonly", "inactive")


def answer(
    offer: str,
    *,
    address: str,
    port: int,
    session_id: int,
    version: int,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
) -> str:
    """The answer to `offer` (RFC 3264 §6): its m= lines in number and order, all refused but one
    audio stream.

    Of that one the first codec in the offer's order that is in `codecs` is taken, and
    telephone-event if offered; the direction is the offer's, mirrored. Raises BadSdp, and
    NotAcceptable when no stream or codec fits.
    """
    theirs, views = _read(offer)
    view, codec = _choice(views, codecs)
    ours = Sdp(_head(address, session_id, version, theirs.lines), [])
    for index, media in enumerate(theirs.media):
        if index != view.index:
            ours.media.append(Media(media.kind, 0, media.proto, media.formats[:1], []))
            continue
        lines = [f"a=rtpmap:{codec[0]} {codec[1]}/{codec[2]}"]
        formats = [str(codec[0])]
        if view.telephone_event is not None:
            formats.append(str(view.telephone_event))
            lines += _event_lines(view.telephone_event)
        lines += ["a=ptime:20", f"a={_MIRROR[view.direction]}"]
        ours.media.append(Media("audio", port, media.proto, formats, lines))
    return build(ours)


def _choice(
    views: Sequence[Audio | None], codecs: Sequence[str]
) -> tuple[Audio, tuple[int, str, int]]:
    wanted = {name.lower() for name in codecs}
    for view in views:
        for codec in view.codecs if view is not None else ():
            if view is not None and codec[1].lower() in wanted and codec[2] == 8000:
                return view, codec
    raise NotAcceptable("no audio stream with a codec of ours")


def offer(
    *,
    address: str,
    port: int,
    session_id: int,
    version: int,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    telephone_event: int | None = 101,
    direction: str = "sendrecv",
) -> str:
    """An offer of one audio stream with these codecs, preferred first. They must have static
    payload types.
    """
    types = {name: pt for pt, (name, _) in STATIC.items()}
    formats, lines = [], []
    for name in codecs:
        pt = types[name]
        formats.append(str(pt))
        lines.append(f"a=rtpmap:{pt} {name}/{STATIC[pt][1]}")
    if telephone_event is not None:
        formats.append(str(telephone_event))
        lines += _event_lines(telephone_event)
    assert direction in DIRECTIONS
    lines += ["a=ptime:20", f"a={direction}"]
    media = Media("audio", port, "RTP/AVP", formats, lines)
    return build(Sdp(_head(address, session_id, version, ("t=0 0",)), [media]))


def _event_lines(pt: int) -> list[str]:
    return [f"a=rtpmap:{pt} {TELEPHONE_EVENT}/8000", f"a=fmtp:{pt} 0-15"]


def _head(address: str, session_id: int, version: int, like: Sequence[str]) -> list[str]:
    """Session lines of ours; t= as in the offer (RFC 3264 §6)."""
    family = "IP6" if ":" in address else "IP4"
    times = [line for line in like if line.startswith("t=")][:1]
    return [
        "v=0",
        f"o=- {session_id} {version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        *(times or ["t=0 0"]),
    ]


def negotiated(ours: str, theirs: str) -> Negotiated:
    """What two descriptions agree on, whichever of them was the offer.

    The codec is the first of theirs that is ours too. Raises BadSdp; NotAcceptable when there is
    nothing common.
    """
    for local, remote in zip(streams(ours), streams(theirs), strict=False):
        if local is None or remote is None:
            continue
        types = {(name.lower(), rate): pt for pt, name, rate in reversed(local.codecs)}
        for pt, name, rate in remote.codecs:
            receive_type = types.get((name.lower(), rate))
            if receive_type is None or name.upper() == "CN":
                continue
            both = local.telephone_event is not None and remote.telephone_event is not None
            return Negotiated(
                codec=name.upper(),
                rate=rate,
                send_type=pt,
                receive_type=receive_type,
                send_event=remote.telephone_event if both else None,
                receive_event=local.telephone_event if both else None,
                remote=(remote.address, remote.port),
                send="send" in local.direction and remote.direction in ("sendrecv", "recvonly"),
                receive=local.direction in ("sendrecv", "recvonly") and "send" in remote.direction,
                ptime=remote.ptime,
            )
    raise NotAcceptable("the two descriptions have no codec in common")
