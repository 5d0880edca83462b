"""A node's line to an embedded media server: commands out, events in, over its Unix socket."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from typing import cast

from media_servers.embedded import wire
from media_servers.verbs import Applied, Event, MediaError, Refused, Session, Unreachable

BACKOFF_MS = (20, 50, 100, 200)
"""Waits between attempts to connect; the last one repeats."""

MAX_OUTSTANDING = 20_000
"""Commands without an answer; more are Unreachable at once."""

SWEEP_S = 0.02
"""Answers that are overdue are found out so often."""

Reply = wire.Done | wire.No | wire.Listed | wire.Measured
Told = Callable[[Reply | MediaError], None]


class Client:
    """Commands one media server. Connects by itself, and again whenever the line breaks.

    `on_event(shard, event)`: what happened; an event may come again after a reconnection, by the
    same number. `on_up(server)`: connected; `server` differs from the last one if the server was
    restarted, and then knows nothing: apply all sessions again. `on_down()`: the line broke; the
    outstanding commands are Unreachable. All are called in the event loop and must not raise.
    """

    def __init__(
        self,
        socket: str,
        node: str,
        *,
        on_event: Callable[[str, Event], None] = lambda shard, event: None,
        on_up: Callable[[str], None] = lambda server: None,
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = socket
        self._node = node
        self._on_event = on_event
        self._on_up = on_up
        self._on_down = on_down
        self._shards: dict[str, int] = {}
        self._n = 0
        self._outstanding: dict[int, Told] = {}
        self._due: list[tuple[float, int, int]] = []  # loop time, number, deadline in ms
        self._sweeper: asyncio.TimerHandle | None = None
        self._listing: dict[int, dict[str, int]] = {}
        self._transport: asyncio.Transport | None = None
        self._out: deque[bytes] = deque()
        self._server = ""
        self._up = asyncio.Event()
        self._lost_at = 0.0
        self._broken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        assert self._task is None
        self._lost_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._stay_connected())

    async def close(self) -> None:
        """Disconnect for good."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._transport is not None:
            self._transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._lost()

    @property
    def is_up(self) -> bool:
        """Commands would reach the server now."""
        return self._up.is_set()

    @property
    def away_ms(self) -> int:
        """For how long commands have not reached the server; 0: they do."""
        if self._up.is_set():
            return 0
        return max(1, round((asyncio.get_running_loop().time() - self._lost_at) * 1_000))

    @property
    def server(self) -> str:
        """The server that answered last; a restarted one has another name. "" before the first."""
        return self._server

    async def wait_up(self, deadline_ms: int) -> None:
        """Wait until connected. Raises Unreachable after `deadline_ms`."""
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                await self._up.wait()
        except TimeoutError as error:
            raise Unreachable(f"no media server for {deadline_ms} ms") from error

    def watch(self, shard: str, epoch: int) -> None:
        """Have this shard's events from now on, and those nobody has acknowledged again."""
        self._shards[shard] = epoch
        self._hello()

    def unwatch(self, shard: str) -> None:
        """Have them no more."""
        if self._shards.pop(shard, None) is not None:
            self._hello()

    def begin_apply(
        self, session: Session, deadline_ms: int, done: Callable[[Applied | MediaError], None]
    ) -> None:
        """Make it so; `done` hears later what became of it, once.

        As `apply`, but without a task for each: a busy node commands hundreds a second.
        """

        def told(reply: Reply | MediaError) -> None:
            if isinstance(reply, wire.Done):
                assert reply.applied is not None
                done(reply.applied)
            elif isinstance(reply, wire.No):
                done(Refused(reply.reason, reply.detail))
            else:
                assert isinstance(reply, MediaError)
                done(reply)

        self._send(wire.Apply(self._take(), session), deadline_ms, told)

    async def apply(self, session: Session, deadline_ms: int) -> Applied:
        """Make it so. Raises Refused or Unreachable; may be repeated safely."""
        reply = await self._ask(wire.Apply(self._take(), session), deadline_ms)
        assert isinstance(reply, wire.Done)
        assert reply.applied is not None
        return reply.applied

    def begin_delete(self, shard: str, epoch: int, id: str, deadline_ms: int = 2_000) -> None:
        """End a session, and do not care what becomes of it."""
        self._send(wire.Delete(self._take(), shard, epoch, id), deadline_ms, _ignore)

    async def delete(self, shard: str, epoch: int, id: str, deadline_ms: int = 2_000) -> None:
        """End a session; no matter if there is none. Raises Refused old_epoch or Unreachable."""
        await self._ask(wire.Delete(self._take(), shard, epoch, id), deadline_ms)

    async def query(
        self, shard: str, epoch: int | None, deadline_ms: int = 2_000
    ) -> dict[str, int]:
        """The shard's sessions: counter by id. Raises Refused old_epoch or Unreachable."""
        n = self._take()
        try:
            last = await self._ask(wire.Query(n, shard, epoch), deadline_ms)
            assert isinstance(last, wire.Listed)
            return self._listing.get(n, {}) | last.counters
        finally:
            self._listing.pop(n, None)

    async def measure(self, id: str = "", deadline_ms: int = 2_000) -> dict[str, dict[str, float]]:
        """What the server heard from the phones of a session; of itself (key "server") if ""."""
        reply = await self._ask(wire.Measure(self._take(), id), deadline_ms)
        assert isinstance(reply, wire.Measured)
        return reply.figures

    # --- one command ---

    def _take(self) -> int:
        self._n += 1
        return self._n

    async def _ask(
        self, request: wire.Apply | wire.Delete | wire.Query | wire.Measure, deadline_ms: int
    ) -> Reply:
        answer: asyncio.Future[Reply | MediaError] = asyncio.get_running_loop().create_future()

        def told(reply: Reply | MediaError) -> None:
            if not answer.done():
                answer.set_result(reply)

        self._send(request, deadline_ms, told)
        try:
            reply = await answer
        finally:
            self._outstanding.pop(request.n, None)
        if isinstance(reply, wire.No):
            raise Refused(reply.reason, reply.detail)
        if isinstance(reply, MediaError):
            raise reply
        return reply

    def _send(
        self,
        request: wire.Apply | wire.Delete | wire.Query | wire.Measure,
        deadline_ms: int,
        told: Told,
    ) -> None:
        """Ask; `told` hears the answer or the error later, once."""
        loop = asyncio.get_running_loop()
        if not self._up.is_set():
            loop.call_soon(told, Unreachable("not connected"))
            return
        if len(self._outstanding) >= MAX_OUTSTANDING:
            loop.call_soon(told, Unreachable(f"{MAX_OUTSTANDING} commands outstanding"))
            return
        try:
            data = wire.frame(request)
        except wire.BadFrame as error:
            loop.call_soon(told, Refused("overload", str(error)))
            return
        self._outstanding[request.n] = told
        heappush(self._due, (loop.time() + deadline_ms / 1000, request.n, deadline_ms))
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        self._write(data)

    def _sweep(self) -> None:
        """Give up what is overdue."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = self._due
        while due and (due[0][0] <= now or due[0][1] not in self._outstanding):
            _, n, deadline_ms = heappop(due)
            told = self._outstanding.pop(n, None)
            if told is not None:
                told(Unreachable(f"no answer in {deadline_ms} ms"))
        if due:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def _write(self, data: bytes) -> None:
        """Gathers what one turn of the loop wants to say into one write."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if self._transport is not None and data:
            self._transport.write(data)

    def _hello(self) -> None:
        if self._up.is_set():
            self._write(wire.frame(wire.Hello(self._node, dict(self._shards))))

    # --- the line ---

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._broken.clear()
            try:
                transport, _ = await loop.create_unix_connection(lambda: _Line(self), self._path)
            except OSError:
                await asyncio.sleep(BACKOFF_MS[min(failures, len(BACKOFF_MS) - 1)] / 1000)
                failures += 1
                continue
            self._transport = transport
            transport.write(wire.frame(wire.Hello(self._node, dict(self._shards))))
            await self._broken.wait()
            transport.abort()
            failures = 0 if self._up.is_set() else failures + 1
            self._lost()
            await asyncio.sleep(BACKOFF_MS[min(failures, len(BACKOFF_MS) - 1)] / 1000)

    def _lost(self) -> None:
        self._transport = None
        self._out.clear()
        outstanding, self._outstanding = self._outstanding, {}
        self._due.clear()
        for told in outstanding.values():
            told(Unreachable("the media server went away"))
        if self._up.is_set():
            self._up.clear()
            self._lost_at = asyncio.get_running_loop().time()
            self._on_down()

    def broke(self) -> None:
        """The line is of no more use."""
        self._broken.set()

    def receive(self, reply: wire.Reply) -> None:
        """Take one message of the server's."""
        match reply:
            case wire.Happened(shard, event):
                self._on_event(shard, event)
            case wire.Welcome(server, _):
                self._server = server
                if not self._up.is_set():
                    self._up.set()
                    self._on_up(server)
            case wire.Listed(n, counters, True):
                if n in self._outstanding:
                    self._listing.setdefault(n, {}).update(counters)
            case _:
                told = self._outstanding.pop(reply.n, None)
                if told is not None:
                    told(reply)


class _Line(asyncio.Protocol):
    def __init__(self, client: Client) -> None:
        self._client = client
        self._frames = wire.Frames()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        try:
            for body in self._frames:
                self._client.receive(wire.reply(body))
        except wire.BadFrame:
            cast("asyncio.Transport", self._transport).abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.broke()


def _ignore(reply: Reply | MediaError) -> None:
    """Nobody waits for this answer."""
