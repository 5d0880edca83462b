"""A relay lets everything through in order, never in a silence and never too soon."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.io.relay import Link, Relay, link
from loadtest.options import BadOption
from loadtest.relay import END, FULL_BYTES, Pipe, Weather

SECONDS_MAX = 10

WEATHER = st.tuples(st.booleans(), st.sampled_from([0.0, 5.0, 20.0]))
MOVES = st.lists(st.tuples(st.sampled_from("pwt"), st.integers(0, 30), WEATHER), max_size=60)


@given(MOVES)
def test_everything_comes_through_in_order_after_its_delay_and_in_no_silence(
    moves: list[tuple[str, int, tuple[bool, float]]],
) -> None:
    weather = Weather()
    pipe = Pipe(weather)
    now_ms = 0.0
    sent: list[bytes] = []
    earliest: list[float] = []
    came: list[tuple[bytes, float]] = []

    def look() -> None:
        due = [chunk for chunk in pipe.due(now_ms) if isinstance(chunk, bytes)]
        assert not due or not weather.silent
        came.extend((chunk, now_ms) for chunk in due)

    for kind, number, (silent, delay_ms) in moves:
        if kind == "p":
            chunk = len(sent).to_bytes(2, "big")
            sent.append(chunk)
            earliest.append(now_ms + weather.delay_ms)
            if pipe.passes():
                assert not weather.silent
                came.append((chunk, now_ms))
            else:
                pipe.put(chunk, now_ms)
        elif kind == "w":
            weather.silent, weather.delay_ms = silent, delay_ms
        else:
            now_ms += number
            look()
            assert pipe.next_ms is None or pipe.next_ms > now_ms
    weather.silent = False
    now_ms += 100
    look()

    assert [chunk for chunk, _ in came] == sent
    assert all(ms >= least for (_, ms), least in zip(came, earliest, strict=True))
    assert pipe.bytes_waiting == 0


def test_a_pipe_says_when_it_is_full() -> None:
    pipe = Pipe(Weather(silent=True))
    pipe.put(b"x" * FULL_BYTES, 0)
    pipe.put(END, 0)
    assert pipe.is_full
    pipe.weather.silent = False
    assert pipe.due(0) == [b"x" * FULL_BYTES, END]
    assert not pipe.is_full


@pytest.mark.parametrize("text", ["n1", "n1/n1=127.0.0.1:1/127.0.0.1:2", "n1/n2=here:1/there:2"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        link(text)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ends:
    """n1 dials n2 through the relay; both ends of that connection."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue()
        self.near: Stream
        self.far: Stream

    def told(self, **command: object) -> None:
        answer = msgspec.json.decode(self.relay.command(msgspec.json.encode(command)))
        assert answer["ok"], answer


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    entry, exit_ = free_ports(2)
    relay = Relay([Link("n1", "n2", ("127.0.0.1", entry), ("127.0.0.1", exit_))])
    ends = Ends(relay)
    server = await asyncio.start_server(
        lambda reader, writer: ends.accepted.put_nowait((reader, writer)), "127.0.0.1", exit_
    )
    await relay.start()
    try:
        async with asyncio.timeout(SECONDS_MAX):
            ends.near = await asyncio.open_connection("127.0.0.1", entry)
            ends.far = await ends.accepted.get()
            yield ends
    finally:
        await relay.close()
        for _, writer in (ends.near, ends.far):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def nothing_comes(reader: asyncio.StreamReader, seconds: float = 0.15) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)


async def test_a_silenced_direction_holds_back_what_the_other_lets_through() -> None:
    async with connected() as ends:
        ends.told(silence=[("n1", "n2")])
        ends.near[1].write(b"there")
        ends.far[1].write(b"back")
        assert await ends.near[0].readexactly(4) == b"back"
        await nothing_comes(ends.far[0])
        ends.told(heal=True)
        assert await ends.far[0].readexactly(5) == b"there"


async def test_an_end_does_not_show_through_a_silence() -> None:
    async with connected() as ends:
        ends.told(silence=[("n1", "n2"), ("n2", "n1")])
        ends.far[1].close()
        await nothing_comes(ends.near[0])
        ends.told(heal=True)
        with contextlib.suppress(ConnectionError):
            assert await ends.near[0].read() == b""


async def test_who_dials_into_a_silence_gets_through_when_it_ends() -> None:
    async with connected() as ends:
        ends.told(silence=[("n2", "n1")])
        reader, writer = await asyncio.open_connection(*ends.relay.links[0].entry)
        writer.write(b"late")
        await nothing_comes(reader)
        assert ends.accepted.empty()
        ends.told(heal=True)
        far_reader, far_writer = await ends.accepted.get()
        assert await far_reader.readexactly(4) == b"late"
        writer.close()
        far_writer.close()


async def test_a_delayed_link_takes_its_time_each_way() -> None:
    async with connected() as ends:
        ends.told(delay=[("n1", "n2"), ("n2", "n1")], delay_ms=20)
        began = time.monotonic()
        ends.near[1].write(b"a")
        ends.far[1].write(await ends.far[0].readexactly(1))
        assert await ends.near[0].readexactly(1) == b"a"
        assert time.monotonic() - began >= 0.04
        ends.told(heal=True)


async def test_what_is_in_the_air_is_whole_and_in_order_when_the_weather_changes() -> None:
    data = b"".join(struct.pack(">I", n) for n in range(50_000))
    async with connected() as ends:
        link = [("n1", "n2")]
        for change in ({"delay": link, "delay_ms": 5}, {"silence": link}, {"heal": True}):
            ends.near[1].write(data)
            ends.told(**change)
        assert await ends.far[0].readexactly(3 * len(data)) == 3 * data


@pytest.mark.parametrize("end", [lambda e: e.near[0], lambda e: e.far[0]])
async def test_a_broken_link_breaks_both_ends_and_can_be_dialled_again(
    end: Callable[[Ends], asyncio.StreamReader],
) -> None:
    async with connected() as ends:
        ends.told(**{"break": [("n2", "n1")]})
        with pytest.raises(ConnectionError):
            await end(ends).read(1)
        _, writer = await asyncio.open_connection(*ends.relay.links[0].entry)
        writer.write(b"again")
        far_reader, far_writer = await ends.accepted.get()
        assert await far_reader.readexactly(5) == b"again"
        writer.close()
        far_writer.close()


async def test_a_port_that_nobody_listens_on_resets() -> None:
    entry, exit_ = free_ports(2)
    relay = Relay([Link("n1", "n2", ("127.0.0.1", entry), ("127.0.0.1", exit_))])
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", entry)
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(SECONDS_MAX):
            await reader.read(1)
    writer.close()
    await relay.close()


def test_commands_that_make_no_sense_are_answered_so() -> None:
    relay = Relay([Link("n1", "n2", ("127.0.0.1", 1), ("127.0.0.1", 2))])
    for line in (b"{", b'{"silence": [["n1", "n9"]]}', b'{"mute": true}'):
        assert msgspec.json.decode(relay.command(line))["ok"] is False
