"""The gateways' API (proto/keepline/v1/gateways.proto): a node's side of it and the commands' side.

A node answers for the sites whose alarms it is active for; what a cluster's answer is,
`node.merge_gateways` makes of its nodes' answers.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, Protocol

import grpc
import msgspec
from grpc.aio import ServicerContext

from cluster.io.security import caller_of
from keepline.v1 import api_pb2, gateways_pb2, gateways_pb2_grpc
from node.api import ApiClient, NoAnswer, NotHere, Refused, answer, asked, failure

READABLE = ("gateways", "alarms")

BEAT_S = 2.0
"""A watcher hears from a node at least so often..."""
SILENT_S = 6.0
"""...and takes one for gone that it does not hear from for so long."""
WATCHERS_MAX = 32
"""At one node; more are refused."""
NOTE_MOST = 500
"""Characters of a note."""
WINDOW_MOST_MS = 366 * 24 * 3_600_000
"""How long a maintenance may be."""

PATH = re.compile(r"trunk:[^\s/]{1,64}|[^\s/:]{1,64}(/[0-9]{1,2}){0,2}")
ID = re.compile(r"[!-~]{1,100}")


class GatewaysReader(Protocol):
    """What a node does for the API. `gateway_mgmt.documents` makes the documents."""

    async def gateways(self) -> list[dict[str, Any]]:
        """Rows of the devices of the sites that are active here, once they are committed."""
        ...

    async def alarms(self, history: int) -> dict[str, Any]:
        """{"shards", "alarms", "history", "windows", "trunks", "receivers"} of these sites, with
        the newest `history` lines of each."""
        ...

    async def acknowledge(self, alarm: str, by: str, note: str) -> dict[str, Any]:
        """Somebody takes care of it. Raises Refused; NotHere: no such alarm stands here."""
        ...

    async def set_window(
        self, id: str, path: str, from_ms: int, until_ms: int, by: str, note: str
    ) -> dict[str, Any]:
        """Maintenance. Raises Refused; NotHere: `path` is of no site that is active here."""
        ...

    async def end_window(self, id: str, by: str) -> dict[str, Any]:
        """It is over. Raises Refused; NotHere: no such window is set here."""
        ...

    def changes(self) -> AsyncGenerator[dict[str, Any], None]:
        """{"kind": "gateway", ...row} and {"kind": "alarms", ...}: what is known now, then what
        changes. It keeps the newest of each for who reads slowly."""
        ...


class GatewaysServicer(gateways_pb2_grpc.GatewaysServicer):
    """A node's side: add it to the node's gRPC server with `serve_gateways_api`."""

    def __init__(self, reader: GatewaysReader) -> None:
        self.reader = reader
        self._watchers = 0

    async def Read(  # noqa: N802  # gRPC names it
        self,
        request: gateways_pb2.GatewaysReadRequest,
        context: ServicerContext[Any, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        if request.what == "gateways":
            return await answer(context, self.reader.gateways())
        if request.what == "alarms":
            return await answer(context, self.reader.alarms(request.history))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no document {request.what!r}")
        raise AssertionError("abort() raises")

    async def Acknowledge(  # noqa: N802  # gRPC names it
        self,
        request: gateways_pb2.AcknowledgeRequest,
        context: ServicerContext[Any, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        by = str(caller_of(context) or request.by)

        async def done() -> Any:
            check_text(id=request.alarm, by=by, note=request.note)
            return await self.reader.acknowledge(request.alarm, by, request.note)

        return await answer(context, done())

    async def SetWindow(  # noqa: N802  # gRPC names it
        self,
        request: gateways_pb2.SetWindowRequest,
        context: ServicerContext[Any, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        by = str(caller_of(context) or request.by)

        async def done() -> Any:
            check_text(id=request.id, by=by, note=request.note)
            check_window(request.path, request.from_ms, request.until_ms)
            return await self.reader.set_window(
                request.id, request.path, request.from_ms, request.until_ms, by, request.note
            )

        return await answer(context, done())

    async def EndWindow(  # noqa: N802  # gRPC names it
        self,
        request: gateways_pb2.EndWindowRequest,
        context: ServicerContext[Any, Awaitable[api_pb2.Document]],
    ) -> api_pb2.Document:
        by = str(caller_of(context) or request.by)

        async def done() -> Any:
            check_text(id=request.id, by=by)
            return await self.reader.end_window(request.id, by)

        return await answer(context, done())

    async def Watch(  # noqa: N802  # gRPC names it
        self,
        request: gateways_pb2.WatchRequest,
        context: ServicerContext[Any, AsyncIterator[api_pb2.Document]],
    ) -> AsyncIterator[api_pb2.Document]:
        if self._watchers >= WATCHERS_MAX:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"{WATCHERS_MAX} watch this node already"
            )
        self._watchers += 1
        try:
            async with aclosing(with_beats(self.reader.changes(), BEAT_S)) as changes:
                async for change in changes:
                    yield api_pb2.Document(json=msgspec.json.encode(change).decode())
        except NotHere as refused:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refused))
        except Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        finally:
            self._watchers -= 1


async def with_beats(
    changes: AsyncGenerator[dict[str, Any], None], beat_s: float
) -> AsyncGenerator[dict[str, Any], None]:
    """The changes, and a beat at first and whenever there was none for so long."""
    yield {"kind": "beat"}
    async with aclosing(changes):
        while True:
            coming = asyncio.ensure_future(anext(changes))
            try:
                while not (await asyncio.wait((coming,), timeout=beat_s))[0]:
                    yield {"kind": "beat"}
                change = coming.result()
            except StopAsyncIteration:
                return
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait((coming,))
            yield change


def check_text(*, id: str, by: str, note: str = "") -> None:
    """Raises Refused."""
    if not ID.fullmatch(id):
        raise Refused(f"{id[:100]!r} is no id")
    if len(by) > NOTE_MOST or not by.isprintable():
        raise Refused("who asks has a name of one line")
    if len(note) > NOTE_MOST or not note.isprintable():
        raise Refused(f"a note is one line of at most {NOTE_MOST} characters")


def check_window(path: str, from_ms: int, until_ms: int) -> None:
    """Raises Refused."""
    if not PATH.fullmatch(path):
        raise Refused(
            f"{path[:100]!r} is no object like tg1, tg1/3 (a span), tg1/3/17 or trunk:NAME"
        )
    if not 0 < until_ms - from_ms <= WINDOW_MOST_MS or from_ms <= 0:
        raise Refused(f"{path}: a maintenance ends after it begins, and within a year")


def serve_gateways_api(server: grpc.aio.Server, reader: GatewaysReader) -> None:
    """Let the node's gRPC server answer for gateways."""
    gateways_pb2_grpc.add_GatewaysServicer_to_server(GatewaysServicer(reader), server)


class GatewaysClient:
    """The commands' side, over the channels of an ApiClient."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def _stub(self, address: str) -> gateways_pb2_grpc.GatewaysStub:
        return gateways_pb2_grpc.GatewaysStub(self._client.channel(address))

    async def read(self, address: str, what: str, *, history: int = 0, timeout_ms: int) -> Any:
        """The node's document. Raises Refused, Unreachable."""
        request = gateways_pb2.GatewaysReadRequest(what=what, history=history)
        return await asked(self._stub(address).Read(request, timeout=timeout_ms / 1_000))

    async def acknowledge(
        self, address: str, alarm: str, *, by: str, note: str, timeout_ms: int
    ) -> Any:
        """Raises Refused, NotHere, Unreachable."""
        request = gateways_pb2.AcknowledgeRequest(alarm=alarm, by=by, note=note)
        return await asked(self._stub(address).Acknowledge(request, timeout=timeout_ms / 1_000))

    async def set_window(
        self,
        address: str,
        id: str,
        path: str,
        *,
        from_ms: int,
        until_ms: int,
        by: str,
        note: str,
        timeout_ms: int,
    ) -> Any:
        """Raises Refused, NotHere, Unreachable. May be repeated: the id is the window's."""
        request = gateways_pb2.SetWindowRequest(
            id=id, path=path, from_ms=from_ms, until_ms=until_ms, by=by, note=note
        )
        return await asked(self._stub(address).SetWindow(request, timeout=timeout_ms / 1_000))

    async def end_window(self, address: str, id: str, *, by: str, timeout_ms: int) -> Any:
        """Raises Refused, NotHere, Unreachable."""
        request = gateways_pb2.EndWindowRequest(id=id, by=by)
        return await asked(self._stub(address).EndWindow(request, timeout=timeout_ms / 1_000))

    async def watch(
        self, address: str, *, silent_s: float = SILENT_S
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What the node knows, and what changes, beats too, until it stops. Raises Refused,
        Unreachable: NoAnswer also when nothing was heard for `silent_s`."""
        call = self._stub(address).Watch(gateways_pb2.WatchRequest(), wait_for_ready=False)
        try:
            answers = aiter(call)
            while True:
                try:
                    async with asyncio.timeout(silent_s):
                        found = await anext(answers)
                except StopAsyncIteration:
                    raise NoAnswer("it has stopped") from None
                except TimeoutError:
                    raise NoAnswer(f"nothing was heard for {silent_s:g} s") from None
                except grpc.aio.AioRpcError as error:
                    raise failure(error) from None
                yield json.loads(found.json)
        finally:
            call.cancel()
