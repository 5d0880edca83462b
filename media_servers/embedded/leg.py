"""One phone's RTP: what is accepted from it, and the one endpoint that we are toward it.

Toward a phone we have one SSRC, one row of sequence numbers and one timeline, whoever it hears.
A packet that was lost on its way to us stays visible as a gap; a change of source, a packet that
we do not forward and a time of hold do not.

    phone A ──▶ Leg A .receive ──▶ .relay Leg B ──▶ phone B
                  │ latch, measure, digits   │ number, payload type, law
"""

from collections.abc import Callable
from typing import Protocol

from media_servers.embedded.mix import Tap
from media_servers.embedded.negotiation import EVENT, UNKNOWN, Media
from rtp import dtmf
from rtp.g711 import INTO, PCMU
from rtp.packet import (
    FRAME_MS,
    FRAME_SAMPLES,
    HEADER,
    HEADER_SIZE,
    MARKER,
    MAX_PACKET,
    VERSION,
    BadPacket,
    payload_span,
)
from rtp.stream import MAX_DROPOUT, MAX_MISORDER, Stream

Address = tuple[str, int]

LATCH_MS = 1_000
"""Another source is heeded only when the present one was silent for so long."""


class Line(Protocol):
    """A UDP port of ours. `send` may raise OSError: the packet is lost, as packets are."""

    port: int

    def close(self) -> None: ...

    @property
    def send(self) -> Callable[[bytearray | memoryview, Address], object]: ...


class Timed(Protocol):
    """Gives one frame of 20 ms in each round, in the law asked for; None for nothing."""

    def frame(self, tick: int, law: int) -> bytes | None: ...


class Leg:
    """One phone. `junk`: datagrams that were not accepted. `unsent`: packets the kernel refused.

    `on_digits` is called for each telephone event packet with the digits, mostly none, that it
    completed.
    """

    __slots__ = (
        "_body",
        "_digits",
        "_event_type",
        "_frame",
        "_from_ssrc",
        "_joined",
        "_kinds",
        "_law",
        "_payload_type",
        "_relayed",
        "_remote",
        "_sends",
        "_sent_ms",
        "_seq",
        "_seq_off",
        "_shunned",
        "_source",
        "_spurt",
        "_ssrc",
        "_timestamp",
        "_timestamp_off",
        "_to",
        "copy",
        "heard",
        "hearing",
        "junk",
        "line",
        "name",
        "on_digits",
        "receives",
        "sent",
        "sinks",
        "taps",
        "timed",
        "unsent",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        line: Line,
        draw: Callable[[], int],
        on_digits: Callable[["Leg", str], None],
    ) -> None:
        self.name = name
        self.line = line
        self.on_digits = on_digits
        self.heard = Stream()
        self.junk = 0
        self.sent = 0
        self.unsent = 0
        # What comes in: from whom, and where to.
        self.receives = False
        self._kinds: tuple[int, ...] = (UNKNOWN,) * 128
        self._remote: Address | None = None
        self._source: Address | None = None
        self._shunned: Address | None = None
        self._digits = dtmf.Receiver()
        self.sinks: tuple[Leg, ...] = ()
        self.taps: tuple[Tap, ...] = ()
        # What goes out.
        self.timed: Timed | None = None
        self.hearing: dict[str, Tap] = {}
        self.copy: Tap | None = None
        self._sends = False
        self._to: Address | None = None
        self._law = PCMU
        self._payload_type = 0
        self._event_type = -1
        self._ssrc = draw()
        self._seq = draw() & 0x7FFF
        self._timestamp = draw()
        self._sent_ms = 0
        self._spurt = True
        self._relayed: Leg | None = None
        self._from_ssrc = -1
        self._seq_off = 0
        self._joined = 0
        self._timestamp_off = 0
        self._frame = bytearray(HEADER_SIZE + FRAME_SAMPLES)
        self._body = memoryview(self._frame)[HEADER_SIZE:]

    def point(self, media: Media) -> None:
        """Go by newly agreed media. Latches anew only if the phone's address is another one."""
        # An address of 0.0.0.0 is a hold and no move: after it the phone is where it was.
        if media.address is not None and media.address != self._remote:
            self._shunned = self._source  # its last packets may still be on their way
            self._source = None
            self._remote = media.address
        self.receives = media.receives
        self._kinds = media.kinds
        self._law = media.law
        self._payload_type = media.payload_type
        self._event_type = media.event_type
        self._sends = media.sends
        self._aim()

    def forget(self) -> None:
        """Let go of other legs, so that none is kept alive by one that is gone."""
        self._relayed = None
        self.on_digits = _nobody

    def restart(self) -> None:
        """What comes next is from another source: it continues our numbers without a gap."""
        self._from_ssrc = -1
        self._spurt = True

    def receive(
        self, data: bytearray, view: memoryview, size: int, source: Address, now_ms: int
    ) -> None:
        """Take a datagram: the first `size` bytes of `data`, which are overwritten."""
        if size < HEADER_SIZE or size > MAX_PACKET or data[0] & 0xC0 != VERSION:
            self.junk += 1
            return
        kind = self._kinds[data[1] & 0x7F]
        if kind == UNKNOWN or (source != self._source and not self._latched(source, now_ms)):
            self.junk += 1
            return
        if data[0] != VERSION:
            size = _plain(data, size)
            if size == 0:
                self.junk += 1
                return
        _, second, seq, timestamp, ssrc = HEADER.unpack_from(data)
        if not self.heard.receive(seq, timestamp, ssrc, now_ms):
            return
        if kind == EVENT:
            digits = self._digits.receive(timestamp, data[HEADER_SIZE:size], now_ms)
            self.on_digits(self, digits)
        if not self.receives:
            return
        marker = second & MARKER
        for leg in self.sinks:
            leg.relay(self, data, view, size, kind, marker, seq, timestamp, ssrc, now_ms)
        if self.taps and kind != EVENT:
            payload = data[HEADER_SIZE:size]
            for tap in self.taps:
                tap.put(payload, kind)

    def relay(
        self,
        origin: "Leg",
        data: bytearray,
        view: memoryview,
        size: int,
        kind: int,
        marker: int,
        seq: int,
        timestamp: int,
        ssrc: int,
        now_ms: int,
    ) -> None:
        """Send on what `origin` received: its payload is in `data`, its header in the arguments."""
        to = self._to
        if to is None:
            return
        if ssrc != self._from_ssrc or origin is not self._relayed:
            self._join(origin, seq, timestamp, ssrc, now_ms)
        out = (seq + self._seq_off) & 0xFFFF
        ahead = (out - self._seq) & 0xFFFF
        if ahead > MAX_DROPOUT and ahead < 0x10000 - MAX_MISORDER:
            self._join(origin, seq, timestamp, ssrc, now_ms)
            out = (seq + self._seq_off) & 0xFFFF
            ahead = 1
        elif ahead >= 0x8000 and (out - self._joined) & 0xFFFF >= 0x8000:
            return  # late, and from before its source was heard: that number is another's
        if kind == EVENT:
            payload_type = self._event_type
            if payload_type < 0:
                self._seq_off -= 1  # not forwarded, so not to be missed
                return
        else:
            payload_type = self._payload_type
            if kind != self._law:
                payload = data[HEADER_SIZE:size].translate(INTO[self._law])
                data = bytearray(HEADER_SIZE) + payload
                view = memoryview(data)
            if self.copy is not None:
                self.copy.put(data[HEADER_SIZE:size], self._law)
        if self._spurt:
            marker = MARKER
            self._spurt = False
        out_timestamp = (timestamp + self._timestamp_off) & 0xFFFFFFFF
        HEADER.pack_into(data, 0, VERSION, payload_type | marker, out, out_timestamp, self._ssrc)
        if ahead < 0x8000:
            self._seq = out
            self._timestamp = out_timestamp
            self._sent_ms = now_ms
        try:
            self.line.send(view[:size], to)
            self.sent += 1
        except OSError:
            self.unsent += 1

    def beat(self, tick: int, now_ms: int) -> None:
        """Send the next 20 ms of what is timed here: a sound, or a mix."""
        if self.timed is None:
            return
        payload = self.timed.frame(tick, self._law)
        if payload is None:
            self._spurt = True
            return
        if self.copy is not None:
            self.copy.put(payload, self._law)
        to = self._to
        if to is None:
            self._spurt = True
            return
        self._seq = (self._seq + 1) & 0xFFFF
        second = self._payload_type
        if self._spurt:
            self._timestamp = self._after_pause(now_ms)
            self._spurt = False
            second |= MARKER
        else:
            self._timestamp = (self._timestamp + FRAME_SAMPLES) & 0xFFFFFFFF
        self._sent_ms = now_ms
        frame = self._frame
        HEADER.pack_into(frame, 0, VERSION, second, self._seq, self._timestamp, self._ssrc)
        self._body[:] = payload
        try:
            self.line.send(frame, to)
            self.sent += 1
        except OSError:
            self.unsent += 1

    def expire(self, now_ms: int) -> bool:
        """Report a digit whose end never came; false if one is still going on."""
        if digits := self._digits.expired(now_ms):
            self.on_digits(self, digits)
        return not self._digits.is_open

    @property
    def is_sending(self) -> bool:
        """The phone may be sent to."""
        return self._to is not None

    def _latched(self, source: Address, now_ms: int) -> bool:
        """Is this other source the phone now?"""
        alive = self._source is not None and now_ms - self.heard.heard_ms < LATCH_MS
        if source != self._remote:
            if alive:
                return False
            if source == self._shunned and now_ms - self.heard.heard_ms < LATCH_MS:
                return False
        self._source = source
        self._aim()
        return True

    def _aim(self) -> None:
        address = self._source or self._remote
        to = address if self._sends else None
        if to is not None and self._to is None:
            self.restart()
        self._to = to

    def _join(self, origin: "Leg", seq: int, timestamp: int, ssrc: int, now_ms: int) -> None:
        """Let the source's numbers follow ours, its time be the time that has passed."""
        self._joined = (self._seq + 1) & 0xFFFF
        self._seq_off = self._joined - seq
        self._timestamp_off = self._after_pause(now_ms) - timestamp
        self._relayed = origin
        self._from_ssrc = ssrc
        self._spurt = True

    def _after_pause(self, now_ms: int) -> int:
        passed = now_ms - self._sent_ms if self._sent_ms else FRAME_MS
        return (self._timestamp + max(FRAME_MS, passed) * 8) & 0xFFFFFFFF


def _nobody(leg: Leg, digits: str) -> None:
    """Hears the digits of a leg that is gone."""


def _plain(data: bytearray, size: int) -> int:
    """Strip contributing sources, extension and padding in place; the new size, 0 if malformed."""
    try:
        start, end = payload_span(data, size)
    except BadPacket:
        return 0
    data[HEADER_SIZE : HEADER_SIZE + end - start] = data[start:end]
    return HEADER_SIZE + end - start
