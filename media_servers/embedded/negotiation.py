"""What our SDP and the phone's together mean for the RTP of a leg (RFC 3264 §6.1, §8.4)."""

from hashlib import blake2b

import msgspec

from media_servers.verbs import Refused
from rtp.g711 import PCMA, PCMU
from sip import sdp

LAWS = {"PCMU": PCMU, "PCMA": PCMA}
CODECS = tuple(LAWS)

EVENT = 101
"""The kind of a telephone-event packet, beside the laws PCMU and PCMA; and the type we offer."""

UNKNOWN = -1
"""The kind of a payload type that was not agreed on."""


class Media(msgspec.Struct, frozen=True, gc=False):
    """How RTP goes between us and one phone.

    `address` None: the phone cannot be sent to. `sends`, `receives`: we to it, we from it.
    `law`, `payload_type`, `event_type` (-1: none): what we send. `kinds`: what each of the 128
    payload types that we receive is.
    """

    address: tuple[str, int] | None
    sends: bool
    receives: bool
    law: int
    payload_type: int
    event_type: int
    kinds: tuple[int, ...]


def our_answer(offer: str, *, address: str, port: int, origin: str, version: int) -> str:
    """Our answer to a phone's offer. Refused: bad_sdp, not_acceptable."""
    try:
        return sdp.answer(
            offer,
            address=address,
            port=port,
            session_id=session_id(origin),
            version=version,
            codecs=CODECS,
        )
    except sdp.NotAcceptable as error:
        raise Refused("not_acceptable", str(error)) from error
    except sdp.BadSdp as error:
        raise Refused("bad_sdp", str(error)) from error


def our_offer(*, address: str, port: int, origin: str, version: int) -> str:
    """Our offer to a phone."""
    return sdp.offer(
        address=address,
        port=port,
        session_id=session_id(origin),
        version=version,
        codecs=CODECS,
        telephone_event=EVENT,
    )


def agreed(ours: str, theirs: str) -> Media:
    """What was agreed on. Refused: bad_sdp, not_acceptable."""
    try:
        common = sdp.negotiated(ours, theirs)
        mine = next((view for view in sdp.streams(ours) if view is not None), None)
    except sdp.NotAcceptable as error:
        raise Refused("not_acceptable", str(error)) from error
    except sdp.BadSdp as error:
        raise Refused("bad_sdp", str(error)) from error
    assert mine is not None  # or nothing could have been in common with it
    address, port = common.remote
    if ":" in address or common.codec not in LAWS:
        raise Refused("not_acceptable", "G.711 over IPv4 only")
    kinds = [UNKNOWN] * 128
    for pt, name, _ in mine.codecs:
        kinds[pt] = LAWS.get(name.upper(), UNKNOWN)
    if common.receive_event is not None:
        kinds[common.receive_event] = EVENT
    reachable = port != 0 and address != "0.0.0.0"  # hold as RFC 2543 had it
    return Media(
        address=(address, port) if reachable else None,
        sends=common.send and reachable,
        receives=common.receive,
        law=LAWS[common.codec],
        payload_type=common.send_type,
        event_type=-1 if common.send_event is None else common.send_event,
        kinds=tuple(kinds),
    )


def session_id(origin: str) -> int:
    """A number for o= that is the same whenever the same leg is described."""
    return int.from_bytes(blake2b(origin.encode(), digest_size=7).digest(), "big")
