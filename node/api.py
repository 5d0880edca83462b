"""The operators' API (proto/keepline/v1/api.proto): a node's side of it and the commands' side.

A node answers for itself; what a cluster's answer is, `node.merge` makes of its nodes' answers.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import grpc
import msgspec
from grpc.aio import Channel, ServicerContext

from cluster.certificate import why_distrusted
from cluster.io.security import Open, Security, caller_of
from keepline.v1 import api_pb2, api_pb2_grpc

READABLE = ("status", "nodes", "calls", "queues", "agents", "cdr", "events", "failovers", "trace")

MAX_DOCUMENT = 64 << 20
"""Bytes of one answer."""

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_DOCUMENT),
    # A node that was restarted is found again within half a second, not within two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


class Refused(Exception):
    """The node understood and will not; the text says why. A repeat gets the same answer."""


class NotHere(Refused):
    """Another node decides this: the one where the shard is active."""


class Unreachable(Exception):
    """No answer, or the node failed; whether it did what was asked is not known."""


class NoAnswer(Unreachable):
    """Nobody is there, or it took too long."""


class Distrusted(Unreachable):
    """One of the two does not believe the other's certificate."""


class Reader(Protocol):
    """What a node does for the API. Documents are JSON-able; `node.merge` names their fields."""

    async def read(self, what: str, call: str, limit: int) -> Any:
        """The document `what` (one of READABLE), once what it shows is committed.

        `calls`, `queues` and `agents` are lists of rows of the shards active here, each with its
        `shard` and `epoch`. Raises Refused.
        """
        ...

    async def drain(self, node: str, timeout_ms: int) -> Any:
        """Let this node drain and wait until it leads nothing; another one is marked. Refused."""
        ...

    async def undrain(self, node: str) -> Any:
        """Let a node take part again. Raises Refused."""
        ...

    async def forget(self, node: str) -> Any:
        """Miss a node no more that is gone for good. Raises Refused."""
        ...

    async def switchover(self, shard: str, to: str) -> Any:
        """Hand a shard over, to the best node if `to` is "". Raises Refused, NotHere."""
        ...

    async def promote(self, shard: str, *, yes: bool, read: str) -> Any:
        """What this node has of the shard, and with `yes` that it leads it. Raises Refused."""
        ...

    async def set_agent(self, agent: str, state: str, reason: str) -> Any:
        """Bring an agent into a state. Raises Refused; NotHere: his shard is not active here."""
        ...

    async def config(self, version: int) -> Any:
        """A version of the centre; 0: the one that stands. Raises Refused."""
        ...

    async def config_history(self) -> Any:
        """The versions that are kept, the newest first. Raises Refused."""
        ...

    async def apply(self, wanted: "Wanted") -> Any:
        """Make the next version of the centre. Raises Refused."""
        ...


class Wanted(NamedTuple):
    """A change of the centre that somebody asks for."""

    text: str
    """A centre's file; empty: what `version` was."""
    file: str
    """What it is called in an error."""
    version: int
    based_on: int
    """The version it was made for; 0: whichever stands."""
    dry_run: bool
    by: str


class ApiServicer(api_pb2_grpc.ApiServicer):
    """A node's side: add it to the node's gRPC server with `serve_api`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def Read(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.ReadRequest,
        context: ServicerContext[api_pb2.ReadRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        if request.what == "config":
            return await answer(context, self.reader.config(request.version))
        if request.what == "config_history":
            return await answer(context, self.reader.config_history())
        if request.what not in READABLE:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no document {request.what!r}")
        return await answer(context, self.reader.read(request.what, request.call, request.limit))

    async def Drain(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.DrainRequest,
        context: ServicerContext[api_pb2.DrainRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        return await answer(context, self.reader.drain(request.node, request.timeout_ms))

    async def Undrain(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.NodeRequest,
        context: ServicerContext[api_pb2.NodeRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        return await answer(context, self.reader.undrain(request.node))

    async def Forget(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.NodeRequest,
        context: ServicerContext[api_pb2.NodeRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        return await answer(context, self.reader.forget(request.node))

    async def Switchover(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.SwitchoverRequest,
        context: ServicerContext[api_pb2.SwitchoverRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        return await answer(context, self.reader.switchover(request.shard, request.to))

    async def Promote(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.PromoteRequest,
        context: ServicerContext[api_pb2.PromoteRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        asked = self.reader.promote(request.shard, yes=request.yes, read=request.offer)
        return await answer(context, asked)

    async def SetAgent(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.SetAgentRequest,
        context: ServicerContext[api_pb2.SetAgentRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        asked = self.reader.set_agent(request.agent, request.state, request.reason)
        return await answer(context, asked)

    async def Apply(  # noqa: N802  # gRPC names it
        self,
        request: api_pb2.ApplyRequest,
        context: ServicerContext[api_pb2.ApplyRequest, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        wanted = Wanted(
            text=request.text,
            file=request.file,
            version=request.version,
            based_on=request.based_on,
            dry_run=request.dry_run,
            by=str(caller_of(context) or request.by),
        )
        return await answer(context, self.reader.apply(wanted))


async def answer(context: ServicerContext[Any, Any], document: Awaitable[Any]) -> api_pb2.Document:
    """The document as it travels, or the refusal as its status."""
    try:
        return api_pb2.Document(json=msgspec.json.encode(await document).decode())
    except NotHere as refused:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refused))
    except Refused as refused:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
    raise AssertionError("abort() raises")


def serve_api(server: grpc.aio.Server, reader: Reader) -> None:
    """Let the node's gRPC server answer the API."""
    api_pb2_grpc.add_ApiServicer_to_server(ApiServicer(reader), server)


class ApiClient:
    """The commands' side: asks nodes by address, over channels that are kept until `close`."""

    def __init__(self, security: Security | None = None) -> None:
        self._security = security or Open()
        self._channels: dict[str, Channel] = {}

    @property
    def is_secure(self) -> bool:
        """Do we show a certificate?"""
        return self._security.is_secure

    def channel(self, address: str) -> Channel:
        """To that node; made once."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._security.channel(address, CHANNEL_OPTIONS)
            self._channels[address] = channel
        return channel

    def _stub(self, address: str) -> api_pb2_grpc.ApiStub:
        return api_pb2_grpc.ApiStub(self.channel(address))

    async def read(
        self,
        address: str,
        what: str,
        *,
        call: str = "",
        limit: int = 0,
        version: int = 0,
        timeout_ms: int,
    ) -> Any:
        """The node's document. Raises Refused, Unreachable."""
        request = api_pb2.ReadRequest(what=what, call=call, limit=limit, version=version)
        return await asked(self._stub(address).Read(request, timeout=timeout_ms / 1_000))

    async def drain(self, address: str, *, node: str = "", timeout_ms: int) -> Any:
        """Let the node drain, or have it mark another one. Raises Refused, Unreachable."""
        request = api_pb2.DrainRequest(timeout_ms=timeout_ms, node=node)
        deadline_s = timeout_ms / 1_000 + 2
        return await asked(self._stub(address).Drain(request, timeout=deadline_s))

    async def undrain(self, address: str, node: str, *, timeout_ms: int) -> Any:
        """Ask the node to let `node` take part again. Raises Refused, Unreachable."""
        request = api_pb2.NodeRequest(node=node)
        return await asked(self._stub(address).Undrain(request, timeout=timeout_ms / 1_000))

    async def forget(self, address: str, node: str, *, timeout_ms: int) -> Any:
        """Ask the node to miss `node` no more. Raises Refused, Unreachable."""
        request = api_pb2.NodeRequest(node=node)
        return await asked(self._stub(address).Forget(request, timeout=timeout_ms / 1_000))

    async def switchover(self, address: str, shard: str, to: str, *, timeout_ms: int) -> Any:
        """Ask the node to hand the shard over. Raises Refused, NotHere, Unreachable."""
        request = api_pb2.SwitchoverRequest(shard=shard, to=to)
        return await asked(self._stub(address).Switchover(request, timeout=timeout_ms / 1_000))

    async def promote(
        self, address: str, shard: str, *, yes: bool, read: str, timeout_ms: int
    ) -> Any:
        """Ask the node what it has of the shard, or to lead it. Raises Refused, Unreachable."""
        request = api_pb2.PromoteRequest(shard=shard, yes=yes, offer=read)
        return await asked(self._stub(address).Promote(request, timeout=timeout_ms / 1_000))

    async def set_agent(
        self, address: str, agent: str, state: str, reason: str, *, timeout_ms: int
    ) -> Any:
        """Ask the node for an agent's state. Raises Refused, NotHere, Unreachable."""
        request = api_pb2.SetAgentRequest(agent=agent, state=state, reason=reason)
        return await asked(self._stub(address).SetAgent(request, timeout=timeout_ms / 1_000))

    async def apply(self, address: str, wanted: Wanted, *, timeout_ms: int) -> Any:
        """Ask the node to change the centre. Raises Refused, Unreachable."""
        request = api_pb2.ApplyRequest(**wanted._asdict())
        return await asked(self._stub(address).Apply(request, timeout=timeout_ms / 1_000))

    async def read_each(
        self,
        addresses: Mapping[str, str],
        what: str,
        *,
        call: str = "",
        limit: int = 0,
        timeout_ms: int,
    ) -> dict[str, Any]:
        """Every node's document by its name; None where there was no answer.

        Raises Refused; Distrusted if no node answers and a certificate is why.
        """
        return await self.each(
            addresses,
            lambda address: self.read(address, what, call=call, limit=limit, timeout_ms=timeout_ms),
        )

    async def each(
        self, addresses: Mapping[str, str], ask: Callable[[str], Awaitable[Any]]
    ) -> dict[str, Any]:
        """Every node's answer, as in `read_each`."""
        distrusted: dict[str, Distrusted] = {}

        async def one(node: str, address: str) -> Any:
            try:
                return await ask(address)
            except Distrusted as error:
                distrusted[node] = error
            except Unreachable:
                pass
            return None

        answers = await asyncio.gather(*(one(*known) for known in addresses.items()))
        if distrusted and all(answer is None for answer in answers):
            node = min(distrusted)
            raise Distrusted(f"node {node}: {distrusted[node]}")
        return dict(zip(addresses, answers, strict=True))

    async def first(
        self, addresses: Mapping[str, str], ask: Callable[[str], Awaitable[Any]]
    ) -> Any:
        """The first answer when node after node is asked. Raises Refused, NotHere, Unreachable."""
        last: Exception = NoAnswer("no node answers")
        for node, address in addresses.items():
            try:
                return await ask(address)
            except NotHere as refused:
                last = refused
            except NoAnswer:
                continue
            except Distrusted as failed:
                if not isinstance(last, NotHere | Distrusted):
                    last = Distrusted(f"node {node}: {failed}")
            except Unreachable as failed:
                last = last if isinstance(last, NotHere) else failed
        raise last

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


async def asked(request: Awaitable[api_pb2.Document]) -> Any:
    """The answered document, or what went wrong in our own words."""
    try:
        return json.loads((await request).json)
    except grpc.aio.AioRpcError as error:
        raise failure(error) from None


def failure(error: grpc.aio.AioRpcError) -> Refused | Unreachable:
    """What went wrong in our own words."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return NotHere(details)
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED):
        return Refused(details)
    if why := why_distrusted(details):
        return Distrusted(why)
    if "failed to connect" in details and "Socket closed" in details:
        return Distrusted("it lets nobody in without a certificate that it believes (--tls DIR)")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return NoAnswer("no answer")
    return Unreachable(f"the node failed: {details or code.name}")
