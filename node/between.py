"""Between shards: what the shards of this node say to shards of calls, wherever those are active.

The sender keeps what it says until it is committed there; here it is only carried.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import grpc
import msgspec
from grpc.aio import Channel, ServicerContext

from calls import view
from cluster.io.host import Host
from cluster.io.security import Security
from cluster.store import node_of
from gateway_mgmt.trunks import Impact, TrunkState
from keepline.v1 import shards_pb2, shards_pb2_grpc
from node.api import CHANNEL_OPTIONS

TELL_MS = 2_000
"""So long a commit elsewhere is waited for; then it is told again."""
COUNT_MS = 500
COUNTED_MAX = 10_000
"""Numbers and queues that one question may name."""

_DECODER = msgspec.json.Decoder(TrunkState)


class Between:
    """One node's share."""

    def __init__(
        self, host: Host, security: Security, *, calls: Callable[[], Collection[str]]
    ) -> None:
        """`calls()`: the shards of calls that are declared."""
        self._host = host
        self._security = security
        self._calls = calls
        self._channels: dict[str, tuple[int, Channel]] = {}

    # What our shards say.

    async def tell(self, shard: str, id: str, state: TrunkState) -> bool:
        """Has the shard committed that it knows this? False: say it again, later."""
        if shard not in self._host.shards:
            return False  # this node has not heard of it yet
        here = self._host.shard(shard).state()
        if here.serving:
            return await self.told(shard, state)
        request = shards_pb2.TellRequest(shard=shard, id=id, trunk=msgspec.json.encode(state))
        # A standby may not have seen yet who leads: then whoever does will say so.
        others = {name: at for name, at in self._host.addresses.items() if name != self._host.node}
        active = others.pop(node_of(here.active), "")
        if active and await self._tell(active, request):
            return True
        return any(await asyncio.gather(*(self._tell(at, request) for at in others.values())))

    async def _tell(self, address: str, request: shards_pb2.TellRequest) -> bool:
        try:
            answer = await self._stub(address).Tell(request, timeout=TELL_MS / 1_000)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.committed)

    async def callers(self, impact: Impact) -> int | None:
        """How many callers it hits; None: of some shard nobody can tell just now."""
        wanted = frozenset(self._calls())
        found = self.counted(impact.numbers, impact.queues)
        if not found.keys() >= wanted:
            me = self._host.node
            others = [at for name, at in self._host.addresses.items() if name != me]
            for answer in await asyncio.gather(*(self._count(at, impact) for at in others)):
                found = answer | found
        return sum(found[name] for name in wanted) if found.keys() >= wanted else None

    async def _count(self, address: str, impact: Impact) -> dict[str, int]:
        request = shards_pb2.CallersRequest(numbers=impact.numbers, queues=impact.queues)
        try:
            answer = await self._stub(address).Callers(request, timeout=COUNT_MS / 1_000)
        except grpc.aio.AioRpcError:
            return {}
        return dict(answer.callers)

    def _stub(self, address: str) -> shards_pb2_grpc.ShardsStub:
        version, channel = self._channels.get(address, (0, None))
        if channel is None or version != self._security.version:
            if channel is not None:
                self._host.spawn(channel.close())
            channel = self._security.channel(address, CHANNEL_OPTIONS)
            self._channels[address] = self._security.version, channel
        return shards_pb2_grpc.ShardsStub(channel)

    async def close(self) -> None:
        """Close every channel."""
        for _, channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    # What is said to ours.

    async def told(self, shard: str, state: TrunkState) -> bool:
        """Let a shard of calls that is active here know this; True once that is committed."""
        return (
            shard in self._calls()
            and self._host.post(shard, state)
            and await self._host.committed(shard)
        )

    def counted(self, numbers: Collection[str], queues: Collection[str]) -> dict[str, int]:
        """The callers of each shard of calls that is active here."""
        numbers, queues = frozenset(numbers), frozenset(queues)
        return {
            name: view.callers(self._host.shard(name).records, numbers, queues)
            for name in self._calls()
            if name in self._host.shards and self._host.shard(name).state().serving
        }


class Servicer(shards_pb2_grpc.ShardsServicer):
    """A node's side: add it to the node's gRPC server with `serve_between`."""

    def __init__(self, between: Between) -> None:
        self._between = between

    async def Tell(  # noqa: N802  # gRPC names it
        self,
        request: shards_pb2.TellRequest,
        context: ServicerContext[shards_pb2.TellRequest, Awaitable[shards_pb2.TellAnswer]],
    ) -> shards_pb2.TellAnswer:
        try:
            state = _DECODER.decode(request.trunk)
        except msgspec.DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"trunk: {error}")
        return shards_pb2.TellAnswer(committed=await self._between.told(request.shard, state))

    async def Callers(  # noqa: N802  # gRPC names it
        self,
        request: shards_pb2.CallersRequest,
        context: ServicerContext[shards_pb2.CallersRequest, Awaitable[shards_pb2.CallersAnswer]],
    ) -> shards_pb2.CallersAnswer:
        if len(request.numbers) + len(request.queues) > COUNTED_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"more than {COUNTED_MAX} names")
        found = self._between.counted(request.numbers, request.queues)
        return shards_pb2.CallersAnswer(callers=found)


def serve_between(server: grpc.aio.Server, between: Between) -> None:
    """Let the node's gRPC server answer other nodes' shards."""
    shards_pb2_grpc.add_ShardsServicer_to_server(Servicer(between), server)
