"""Links between nodes that can be cut, delayed and broken: TCP relays, commanded over a socket.

Each node reaches each peer by a port of ours, so that a link can fail without root and without the
nodes' knowledge. `python -m loadtest.io.relay --link n1/n2=HOST:PORT/HOST:PORT ... --control PATH`:
n1 dials the first address, n2 listens at the second. A command is a JSON object a line:

    {"silence": [["n1", "n2"]]}                 nothing passes from n1 to n2, in any connection
    {"delay": [["n1", "n2"]], "delay_ms": 20}   everything passes so much later
    {"break": [["n1", "n2"]]}                   every connection between them is reset, once
    {"heal": true}                              all is well again

Each is answered, once it holds, by {"ok": true, "ms": when, in ms of the monotonic clock}. What a
relay cannot do: a port behind it that nobody listens on any more accepts, and only then resets.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import msgspec
import uvloop

from loadtest.options import BadOption, address
from loadtest.relay import END, Chunk, Direction, End, Pipe, Weather
from sip.uri import Address

NICE = -10
"""It is the network: where permitted, this process goes before those it connects."""
CONNECT_S = 2.0
LINE_MAX = 1 << 16
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""


@dataclass(frozen=True)
class Link:
    """`node` dials `entry` to reach `peer`, who listens at `exit`."""

    node: str
    peer: str
    entry: Address
    exit: Address


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    silence: list[tuple[str, str]] = []
    delay: list[tuple[str, str]] = []
    delay_ms: float = 0.0
    break_: list[tuple[str, str]] = msgspec.field(name="break", default_factory=list)
    heal: bool = False


class Relay:
    """All links. `start`, then commands, then `close`."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = links
        names = sorted({name for link in links for name in (link.node, link.peer)})
        self.weather: dict[Direction, Weather] = {
            (a, b): Weather() for a in names for b in names if a != b
        }
        self._connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []
        self.changed = asyncio.Event()
        """Set, and replaced, with each change of the weather."""

    async def start(self) -> None:
        """Listen. Raises OSError when an address cannot be had."""
        loop = asyncio.get_running_loop()
        for link in self.links:
            server = await loop.create_server(partial(_Entry, self, link), *link.entry)
            self._servers.append(server)

    async def close(self) -> None:
        """Break everything and listen no more."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.reset()
        for server in self._servers:
            await server.wait_closed()

    def opened(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        self._connections.discard(connection)

    def silence(self, directions: Iterable[Direction]) -> None:
        """Nothing passes there from now on."""
        for direction in directions:
            self.weather[direction].silent = True

    def delay(self, directions: Iterable[Direction], delay_ms: float) -> None:
        """Everything that comes from now on passes so much later."""
        for direction in directions:
            self.weather[direction].delay_ms = delay_ms

    def reset(self, directions: Iterable[Direction]) -> None:
        """Reset every connection between these nodes."""
        pairs = [set(direction) for direction in directions]
        for connection in list(self._connections):
            if {connection.link.node, connection.link.peer} in pairs:
                connection.reset()

    def heal(self) -> None:
        """All is well; what waited passes now."""
        for weather in self.weather.values():
            weather.silent, weather.delay_ms = False, 0.0
        self.changed.set()
        self.changed = asyncio.Event()
        for connection in list(self._connections):
            connection.pass_on()

    def command(self, line: bytes) -> bytes:
        """Do what one line says; its answer, as a line. A bad line is answered with "error"."""
        try:
            wanted = msgspec.json.decode(line, type=_Command)
        except msgspec.DecodeError as error:
            return _answer(ok=False, error=str(error))
        for node, peer in (*wanted.silence, *wanted.delay, *wanted.break_):
            if (node, peer) not in self.weather:
                return _answer(ok=False, error=f"no link from {node} to {peer}")
        self.silence(wanted.silence)
        self.delay(wanted.delay, wanted.delay_ms)
        self.reset(wanted.break_)
        if wanted.heal:
            self.heal()
        return _answer(ok=True, ms=now_ms())


class _Connection:
    """A connection of a node to our entry, and ours to the peer behind it."""

    def __init__(self, relay: Relay, link: Link, near: asyncio.Transport) -> None:
        self.link = link
        self._relay = relay
        self._near: asyncio.Transport | None = near
        self._far: asyncio.Transport | None = None
        self._out = Pipe(relay.weather[link.node, link.peer])
        self._back = Pipe(relay.weather[link.peer, link.node])
        self._timer: asyncio.TimerHandle | None = None
        relay.opened(self)
        self._dialling = asyncio.create_task(self._dial())

    async def _dial(self) -> None:
        """To connect takes both directions; who dials into a silence waits."""
        relay = self._relay
        while self._out.weather.silent or self._back.weather.silent:
            await relay.changed.wait()
        await asyncio.sleep((self._out.weather.delay_ms + self._back.weather.delay_ms) / 1_000)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: _Exit(self), *self.link.exit)
        except (OSError, TimeoutError):
            self.reset()

    def connected(self, far: asyncio.Transport) -> None:
        """Ours to the peer stands."""
        self._far = far
        self.pass_on()

    def came(self, chunk: Chunk, *, out: bool) -> None:
        """From the node (`out`) or from the peer."""
        pipe, target = (self._out, self._far) if out else (self._back, self._near)
        if isinstance(chunk, bytes) and target is not None and pipe.passes():
            target.write(chunk)
            return
        pipe.put(chunk, now_ms())
        source = self._near if out else self._far
        if pipe.is_full and source is not None and not isinstance(chunk, End):
            source.pause_reading()
        self.pass_on()

    def gone(self, *, out: bool) -> None:
        """One end has closed; the other learns of it behind what was sent."""
        if out:
            self._near = None
        else:
            self._far = None
        if self._near is None and self._far is None:
            self.reset()
        else:
            self.came(END, out=out)

    def pass_on(self) -> None:
        """Send what is due both ways, and come back when more is."""
        now = now_ms()
        for pipe, source, target in (
            (self._out, self._near, self._far),
            (self._back, self._far, self._near),
        ):
            if target is None:
                continue
            was_full = pipe.is_full
            for chunk in pipe.due(now):
                if isinstance(chunk, End):
                    self.reset()
                    return
                target.write(chunk)
            if was_full and not pipe.is_full and source is not None:
                source.resume_reading()
        due = [ms for ms in (self._out.next_ms, self._back.next_ms) if ms is not None]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due and self._far is not None:
            wait_s = max(0.0, min(due) - now) / 1_000
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.pass_on)

    def reset(self) -> None:
        """Both ends see the connection broken. May be called again."""
        self._dialling.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._relay.closed(self)
        near, far = self._near, self._far
        self._near = self._far = None
        for transport in (near, far):
            if transport is not None:
                with contextlib.suppress(OSError):
                    sock = transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                transport.abort()


class _Entry(asyncio.Protocol):
    """A node's connection to us."""

    def __init__(self, relay: Relay, link: Link) -> None:
        self._relay = relay
        self._link = link
        self._connection: _Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass of asyncio's, for isinstance to ask.
        self._connection = _Connection(self._relay, self._link, cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._connection.came(data, out=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.gone(out=True)


class _Exit(asyncio.Protocol):
    """Our connection to the peer."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._connection.came(data, out=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.gone(out=False)


def _answer(**fields: object) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


def now_ms() -> float:
    """The monotonic clock."""
    return time.monotonic_ns() / 1e6


def link(text: str) -> Link:
    """ "n1/n2=HOST:PORT/HOST:PORT" as a link. Raises BadOption."""
    names, _, addresses = text.partition("=")
    node, _, peer = names.partition("/")
    entry, _, exit_ = addresses.partition("/")
    if not node or not peer or node == peer:
        raise BadOption(f"{text!r} is no link: write n1/n2=HOST:PORT/HOST:PORT")
    return Link(node, peer, address(entry), address(exit_))


async def run(links: Sequence[Link], control: str) -> None:
    """Relay until SIGTERM or SIGINT. Raises OSError when an address cannot be had."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    relay = Relay(links)

    async def converse(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # gone, or a line too long
            while line := await incoming.readline():
                outgoing.write(relay.command(line))
                await outgoing.drain()
        outgoing.close()

    await relay.start()
    server = await asyncio.start_unix_server(converse, control, limit=LINE_MAX)
    await over.wait()
    server.close()
    await relay.close()


def main(argv: Sequence[str]) -> int:
    """Run as a command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="loadtest.io.relay", description=__doc__)
    parser.add_argument("--link", action="append", default=[])
    parser.add_argument("--control", required=True)
    given = parser.parse_args(argv)
    try:
        links = [link(text) for text in given.link]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(links, given.control))
    except (BadOption, OSError) as error:
        print(f"relay: {error}", file=sys.stderr)  # noqa: T201  # the command line
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
