"""Phones on real sockets: each says a tone of its own and tells what it hears."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

from rtp import dtmf, g711, packet, tone
from rtp.stream import Stream
from sip import sdp

TONES = (400.0, 1000.0, 1500.0, 2000.0)
"""What phones say, in the order in which they are made."""

SOUNDS = (600.0, 750.0, 523.25, 659.25, 783.99)
"""What the sounds that come with the server consist of."""

DEADLINE_S = 5.0


class Phone(asyncio.DatagramProtocol):
    """A phone at 127.0.0.1. `offer` is its SDP; `dial` makes it send to a port of the server's."""

    def __init__(self, frequency: float, law: int, event: int | None) -> None:
        self.frequency = frequency
        self.law = law
        self.event = event
        self.heard: list[packet.Packet] = []
        self.sources: list[tuple[str, int]] = []
        self.stream = Stream()
        self.to: tuple[str, int] | None = None
        self.seq = 65_000  # wraps soon
        self.timestamp = 0xFFFF_F000
        self.ssrc = int(frequency)
        self.muted = False
        self.transport: asyncio.DatagramTransport | None = None
        self._arrived = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        got = packet.parse(data)
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        self.stream.receive(got.seq, got.timestamp, got.ssrc, now_ms)
        self.heard.append(got)
        self.sources.append(addr)
        self._arrived.set()

    @property
    def address(self) -> tuple[str, int]:
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")
        return host, port

    def offer(self, *, direction: str = "sendrecv", address: str = "", version: int = 1) -> str:
        """Its SDP, offer or answer."""
        return sdp.offer(
            address=address or self.address[0],
            port=self.address[1],
            session_id=1,
            version=version,
            codecs=("PCMU",) if self.law == g711.PCMU else ("PCMA",),
            telephone_event=self.event,
            direction=direction,
        )

    def send(
        self,
        payload: bytes,
        payload_type: int,
        *,
        timestamp: int | None = None,
        marker: bool = False,
    ) -> None:
        """One packet with the next sequence number."""
        self.seq += 1
        at = self.timestamp if timestamp is None else timestamp
        self.throw(packet.build(payload_type, self.seq, at, self.ssrc, payload, marker=marker))

    def throw(self, datagram: bytes) -> None:
        """Any datagram, to where it was dialled."""
        if self.transport is not None and self.to is not None:
            self.transport.sendto(datagram, self.to)

    async def talk(self) -> None:
        """Say the tone, until cancelled."""
        frames = tone.frames(self.frequency, self.law)
        loop = asyncio.get_running_loop()
        due = loop.time()
        n = 0
        while True:
            self.timestamp += packet.FRAME_SAMPLES
            if not self.muted:
                self.send(frames[n % len(frames)], self.law)
            n += 1
            due += packet.FRAME_MS / 1000
            await asyncio.sleep(max(0, due - loop.time()))

    async def press(self, digit: str) -> None:
        """Send one digit as RFC 4733 has it, in 120 ms."""
        assert self.event is not None
        self.muted = True
        began = self.timestamp
        for n, payload in enumerate(dtmf.payloads(digit)):
            self.send(payload, self.event, timestamp=began, marker=n == 0)
            await asyncio.sleep(packet.FRAME_MS / 1000)
        self.muted = False

    async def more(self, packets: int) -> list[packet.Packet]:
        """Wait for so many more packets; these."""
        start = len(self.heard)
        await self.until(lambda: len(self.heard) >= start + packets)
        return self.heard[start:]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that its hearing brings about."""
        async with asyncio.timeout(DEADLINE_S):
            while not true():
                self._arrived.clear()
                await self._arrived.wait()

    async def hears(self, *frequencies: float) -> None:
        """Wait until all of these, and no tone of another phone, are what it hears."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                await self.more(10)
                if self.tones() == set(frequencies):
                    return

    async def hears_music(self) -> None:
        """Wait until it hears notes of the music."""
        await self.until(lambda: self.note() in SOUNDS[2:])

    def note(self) -> float | None:
        """The note of the last 60 ms."""
        return tone.dominant(self._samples(3), SOUNDS)

    def tones(self) -> set[float]:
        """The phones' tones in the last 160 ms."""
        samples = self._samples(8)
        return {one for one in TONES if samples and tone.power(samples, one) > 0.15}

    def _samples(self, frames: int) -> list[int]:
        last = [one for one in self.heard[-frames:] if one.payload_type in (0, 8)]
        return [sample for one in last for sample in g711.decode(one.payload, one.payload_type)]

    def gaps(self) -> list[int]:
        """Steps of the sequence number other than one, since the first packet."""
        steps = ((b.seq - a.seq) & 0xFFFF for a, b in pairwise(self.heard) if a.ssrc == b.ssrc)
        return [step for step in steps if step != 1]


@asynccontextmanager
async def phone(
    number: int = 0, *, law: int = g711.PCMU, event: int | None = 101, talks: bool = True
) -> AsyncIterator[Phone]:
    """A phone with the tone of that number."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Phone(TONES[number], law, event), local_addr=("127.0.0.1", 0)
    )
    made.transport = transport
    talking = asyncio.create_task(made.talk()) if talks else None
    try:
        yield made
    finally:
        if talking is not None:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        transport.close()
