"""The links of a node: one gRPC stream to each peer and one from each, for all shards.

What one turn of the loop has for a peer leaves as one frame: a gRPC message costs more than what is
in it. A broken stream loses what was under way; the protocol asks again.
"""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import grpc.aio

from cluster.certificate import why_distrusted
from cluster.identity import Identity, NotSecure
from cluster.io import wire
from cluster.io.guard import Guard, Refusals
from cluster.io.security import Note, Security, caller_of
from cluster.messages import Message
from keepline.v1 import replication_pb2 as pb
from keepline.v1 import replication_pb2_grpc as rpc

MAX_FRAME_BYTES = 64 << 20
FRAME_BYTES = 8 << 20
"""A frame is full beyond this; what is left goes into the next one."""
MAX_WAITING = 2_000
"""Messages that wait for one peer; beyond that all are dropped and the protocol asks again."""
REDIAL_MS = 30
REFUSED_MS = 300
"""Who was turned away, or turned the peer away, tries again after this."""
WHY_MS = 100
"""Why a stream ended is known within this time after its end."""
ASK_MS = 500
"""Who has not answered by then is not there, or hangs."""
ALIVE_MS = 1_000
"""A stream that brought something within this time is alive: no other process of the same name is
heard beside it."""
PROBE_MS = 100
NAME = "keepline-node"
"""In a stream's initial metadata: the node that answers."""
STOP_MS = 200

_CHANNEL: list[tuple[str, int]] = [
    ("grpc.initial_reconnect_backoff_ms", 30),
    ("grpc.min_reconnect_backoff_ms", 30),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
_TURNED_AWAY = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.ALREADY_EXISTS)
_SERVER: list[tuple[str, int]] = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
]


class Receiver(Protocol):
    """Who gets what the links bring. All are called on the loop."""

    def received(self, node: str, shard: str, message: Message) -> None: ...

    def link_up(self, node: str) -> None:
        """We can send to this node."""

    def link_down(self, node: str) -> None:
        """A stream to or from this node broke."""

    def greeted(self, node: str, incarnation: str) -> None:
        """The node's process is this one. It may be a node that is not known here yet."""

    async def who(self, shard: str) -> "Present":
        """What to answer to `ask`."""


@dataclass(frozen=True, slots=True)
class Present:
    """Who answers at an address, and what it has of a shard."""

    node: str
    incarnation: str
    member: str
    """It is this member of the shard now; "": it has no part in it."""
    has_journal: bool
    """It has a journal that brings something of the shard."""


@dataclass(slots=True)
class _Outgoing:
    node: str
    address: str
    waiting: list[tuple[str, Message]] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_up: bool = False
    task: "asyncio.Task[None] | None" = None
    refused: str = ""
    """Why one of the two turned the other away; stands until the link is up."""


class Links(rpc.ReplicationServicer):
    """All links of one node."""

    def __init__(
        self,
        *,
        node: str,
        incarnation: str,
        listen: str,
        peers: Mapping[str, str],
        receiver: Receiver,
        guard: Callable[[BaseException], None],
        security: Security,
        note: Note,
        services: Callable[[grpc.aio.Server], None] = lambda server: None,
    ) -> None:
        """`services` adds what else shall answer at this address.

        Raises NotSecure if an address may not be used with this `security`.
        """
        security.permit({node: listen, **peers})
        self._node = node
        self._security = security
        self._note = note
        self.refusals = Refusals(note)
        self._services = services
        self._incarnation = incarnation
        self._listen = listen
        self._receiver = receiver
        self._guard = guard
        self._out = {name: _Outgoing(name, address) for name, address in peers.items()}
        self._streams: dict[str, int] = {}
        self._speakers: dict[str, tuple[str, float]] = {}  # incarnation, heard when (monotonic s)
        self._stream_n = 0
        self._server: grpc.aio.Server | None = None
        self._open: dict[asyncio.Task[object], None] = {}
        self._watch: asyncio.Task[None] | None = None
        self._is_started = False
        self._stopping = False
        self.counters = dict.fromkeys(
            ("frames_sent", "frames_received", "overflowed", "strangers"), 0
        )

    async def start(self) -> None:
        """OSError if the address cannot be had."""
        host, _, port = self._listen.rpartition(":")
        # gRPC does not say why it could not bind; the kernel does.
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, int(port)))
            except OSError as error:
                why = f"cannot listen on {self._listen}: {error.strerror}"
                raise OSError(error.errno, why) from None
        security = self._security
        guards = [Guard(self.refusals)] if security.is_secure else []
        server = self._server = grpc.aio.server(interceptors=guards, options=_SERVER)
        rpc.add_ReplicationServicer_to_server(self, server)
        self._services(server)
        try:
            bound = security.add_port(server, self._listen)
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, str(error)) from error
        if bound != int(port):
            raise OSError(errno.EADDRINUSE, f"cannot listen on {self._listen}")
        await server.start()
        self._is_started = True
        self._watch = asyncio.create_task(self._security.watch(self._note))
        self._watch.add_done_callback(self._task_ended)
        for out in self._out.values():
            self._begin(out)

    def connect(self, node: str, address: str) -> None:
        """Keep a link to this node, from now on at this address."""
        out = self._out.get(node)
        if out is not None and out.address == address:
            return
        self.disconnect(node)
        out = self._out[node] = _Outgoing(node, address)
        if self._is_started:
            self._begin(out)

    def disconnect(self, node: str) -> None:
        """Keep no link to this node any more."""
        out = self._out.pop(node, None)
        if out is not None and out.task is not None:
            out.task.cancel()

    def _begin(self, out: _Outgoing) -> None:
        try:
            self._security.permit({out.node: out.address})
        except NotSecure as error:
            self._refuse(out, str(error))
            return
        out.task = asyncio.create_task(self._dial(out))
        out.task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        """A link is dialled for ever: it ended by a bug, and without it this node is cut off."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._guard(error)

    async def stop(self) -> None:
        """Close everything. May be called again."""
        self._stopping = True
        tasks = [out.task for out in self._out.values() if out.task is not None]
        if self._watch is not None:
            tasks.append(self._watch)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in list(self._open):
            stream.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(STOP_MS / 1000)

    def is_up(self, node: str) -> bool:
        out = self._out.get(node)
        return out is not None and out.is_up

    @property
    def alarms(self) -> list[str]:
        """What somebody must look after, about certificates and who was refused."""
        refused = [out for out in self._out.values() if out.refused]
        return [
            *self._security.alarms,
            *(f"{self._node} has no link to {out.node}: {out.refused}" for out in refused),
        ]

    def send(self, node: str, shard: str, message: Message) -> None:
        """In order while the stream lasts; dropped if there is none."""
        out = self._out.get(node)
        if out is None or not out.is_up:
            return
        if len(out.waiting) >= MAX_WAITING:
            self.counters["overflowed"] += 1
            out.waiting.clear()
        out.waiting.append((shard, message))
        out.wake.set()

    def speaker(self, node: str) -> str:
        """The incarnation of the process that speaks for the node on a stream; "": none does."""
        return self._speakers[node][0] if node in self._streams else ""

    async def ask(self, address: str, shard: str) -> Present | None:
        """Who is there, and what has it of the shard? None: no answer in time."""
        async with self._security.channel(address, _CHANNEL) as channel:
            asked = rpc.ReplicationStub(channel).Who(
                pb.WhoRequest(shard=shard), timeout=ASK_MS / 1000
            )
            try:
                found = await asked
            except grpc.aio.AioRpcError:
                return None
        return Present(found.node, found.incarnation, found.member, found.has_journal)

    async def probe(self, node: str) -> bool:
        """Does this host's or the peer's kernel say that nobody listens there any more?"""
        out = self._out.get(node)
        if out is None:
            return False
        host, _, port = out.address.rpartition(":")
        loop = asyncio.get_running_loop()
        with socket.socket() as trial:
            trial.setblocking(False)
            try:
                async with asyncio.timeout(PROBE_MS / 1000):
                    await loop.sock_connect(trial, (host, int(port)))
            except ConnectionRefusedError:
                return True
            except (OSError, TimeoutError):
                return False
        return False

    # -- outgoing ----------------------------------------------------------------------------------

    async def _dial(self, out: _Outgoing) -> None:
        security = self._security
        while True:
            version = security.version
            async with security.channel(out.address, _CHANNEL, out.node) as channel:
                stub = rpc.ReplicationStub(channel)
                while version == security.version:
                    await self._link(stub, out)
                    await asyncio.sleep((REFUSED_MS if out.refused else REDIAL_MS) / 1000)

    async def _link(self, stub: rpc.ReplicationStub, out: _Outgoing) -> None:
        """One stream, to its end."""
        call = stub.Link()
        try:
            try:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # dial again
                    await self._speak(call, out)
            finally:
                out.waiting.clear()
                if out.is_up:
                    out.is_up = False
                    if not self._stopping:
                        self._receiver.link_down(out.node)
            await self._learn_why(call, out)
        finally:
            call.cancel()

    async def _learn_why(
        self, call: "grpc.aio.StreamUnaryCall[pb.Frame, pb.LinkEnd]", out: _Outgoing
    ) -> None:
        """Note once if one of the two turned the other away."""
        try:
            async with asyncio.timeout(WHY_MS / 1000):
                code = await call.code()
        except TimeoutError:
            return  # it is we who end it
        details = await call.details() or ""
        if code in _TURNED_AWAY:
            why = f"it refuses this node: {details}"
        else:
            why = why_distrusted(details)
        if why:
            self._refuse(out, why)

    def _refuse(self, out: _Outgoing, why: str) -> None:
        if why != out.refused:
            out.refused = why
            self._note("link refused", node=out.node, why=why)

    async def _speak(
        self, call: "grpc.aio.StreamUnaryCall[pb.Frame, pb.LinkEnd]", out: _Outgoing
    ) -> None:
        greeting = pb.Greeting(node=self._node, incarnation=self._incarnation)
        await call.write(pb.Frame(greeting=greeting))
        await call.wait_for_connection()
        if await _name(call) != out.node:
            self.counters["strangers"] += 1  # an address that another node has by now
            return
        out.is_up = True
        out.refused = ""
        self._receiver.link_up(out.node)
        ended = asyncio.create_task(_ended(call, out.wake))
        try:
            while not call.done():
                await out.wake.wait()
                out.wake.clear()
                waiting = out.waiting
                if not waiting:
                    continue
                frame = pb.Frame()
                room = FRAME_BYTES
                taken = 0
                for shard, message in waiting:
                    wire.put(frame, shard, message)
                    taken += 1
                    room -= wire.weight(message)
                    if room < 0:
                        break
                out.waiting = waiting[taken:]
                if out.waiting:
                    out.wake.set()
                self.counters["frames_sent"] += 1
                await call.write(frame)
        finally:
            ended.cancel()

    # -- incoming ----------------------------------------------------------------------------------

    async def Who(
        self,
        request: pb.WhoRequest,
        context: "grpc.aio.ServicerContext[pb.WhoRequest, Awaitable[pb.WhoAnswer]]",
    ) -> pb.WhoAnswer:
        """Who is here."""
        here = await self._receiver.who(request.shard)
        return pb.WhoAnswer(
            node=here.node,
            incarnation=here.incarnation,
            member=here.member,
            has_journal=here.has_journal,
        )

    def _is_spoken_for(self, node: str, incarnation: str) -> bool:
        """Does another process speak for this node just now?"""
        if node not in self._streams or node not in self._speakers:
            return False
        speaker, heard_s = self._speakers[node]
        return speaker != incarnation and time.monotonic() - heard_s < ALIVE_MS / 1000

    async def Link(
        self,
        request_iterator: AsyncIterator[pb.Frame],
        context: "grpc.aio.ServicerContext[AsyncIterator[pb.Frame], Awaitable[pb.LinkEnd]]",
    ) -> pb.LinkEnd:
        """One stream from one peer."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        node = incarnation = ""
        mine = 0
        try:
            async for frame in request_iterator:
                if not node:
                    greeted, incarnation = frame.greeting.node, frame.greeting.incarnation
                    await self._check(greeted, context)
                    self._receiver.greeted(greeted, incarnation)
                    if greeted not in self._out:
                        break  # it dials again, and is known by then if it is one of ours
                    if self._is_spoken_for(greeted, incarnation):
                        why = f"node {greeted} is process {self._speakers[greeted][0]}, that lives"
                        await context.abort(grpc.StatusCode.ALREADY_EXISTS, why)
                    await context.send_initial_metadata(((NAME, self._node),))
                    node = greeted
                    self._stream_n += 1
                    mine = self._streams[node] = self._stream_n
                if self._streams.get(node) != mine:
                    break  # the peer has opened another stream: what is left in this one is stale
                self._speakers[node] = (incarnation, time.monotonic())
                self._deliver(node, frame)
        finally:
            self._open.pop(task, None)
            if node and self._streams.get(node) == mine:
                del self._streams[node]
                if not self._stopping:
                    self._receiver.link_down(node)
        return pb.LinkEnd()

    async def _check(self, greeted: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """Ends the call of whoever greets as another node than its certificate names."""
        caller = caller_of(context)
        if caller is None or caller == Identity(greeted, "node"):
            return
        self.refusals.add(role=caller.role, who=str(caller), why=f"greets as node {greeted!r}")
        why = f"{caller} greets as node {greeted!r}"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, why)

    def _deliver(self, node: str, frame: pb.Frame) -> None:
        self.counters["frames_received"] += 1
        receiver = self._receiver
        try:
            for packed in frame.messages:
                message = wire.get(packed)
                if message is not None:
                    receiver.received(node, packed.shard, message)
        except Exception as error:  # noqa: BLE001 - gRPC would swallow it: a broken log ends the process
            self._guard(error)


async def _name(call: "grpc.aio.StreamUnaryCall[pb.Frame, pb.LinkEnd]") -> str:
    """Which node has answered."""
    return next((str(value) for key, value in await call.initial_metadata() if key == NAME), "")


async def _ended(
    call: "grpc.aio.StreamUnaryCall[pb.Frame, pb.LinkEnd]", wake: asyncio.Event
) -> None:
    """Wakes the writer when the stream is over, so that it need not find out by writing."""
    await call.code()
    wake.set()
