"""Who may call what on a node's gRPC server.

Comes before every method, also one that is added later; who may call it is `cluster.identity`'s.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio

from cluster.identity import may_call
from cluster.io.clock import now_ms
from cluster.io.security import Note, caller_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

AGAIN_MS = 60_000
"""Who is turned away again for the same reason is noted so often."""
MOST = 1_000
"""So many are remembered; beyond that all are forgotten, and noted anew."""


class Refusals:
    """Counts whom this node turned away, and says so, but not each time."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._noted: dict[tuple[str, str], int] = {}
        self.counts: Counter[str] = Counter()
        """By role; "": nobody knows."""

    def add(self, *, role: str, who: str, why: str) -> None:
        self.counts[role] += 1
        now = now_ms()
        if now - self._noted.get((who, why), now - AGAIN_MS) < AGAIN_MS:
            return
        if len(self._noted) >= MOST:
            self._noted.clear()
        self._noted[who, why] = now
        self._note("refused", who=who, why=why)


class Guard(grpc.aio.ServerInterceptor):
    """Lets a call pass if the caller's role allows it."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # no such method
        method = handler_call_details.method
        if handler.response_streaming:
            return self._stream(handler, method)
        return self._one(handler, method)

    def _one(self, handler: "Handler", method: str) -> "Handler":
        """A method with one answer."""
        if handler.request_streaming:
            ask: Any = handler.stream_unary
            make: Any = grpc.stream_unary_rpc_method_handler
        else:
            ask = handler.unary_unary
            make = grpc.unary_unary_rpc_method_handler

        async def guarded(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            await self._check(method, context)
            return await ask(request, context)

        found: Handler = make(guarded, handler.request_deserializer, handler.response_serializer)
        return found

    def _stream(self, handler: "Handler", method: str) -> "Handler":
        """A method whose answers go on. The servicer's is an asynchronous generator."""
        assert not handler.request_streaming, f"{method}: streams both ways are not guarded yet"
        ask: Any = handler.unary_stream

        async def guarded(
            request: Any, context: "grpc.aio.ServicerContext[Any, Any]"
        ) -> AsyncIterator[Any]:
            await self._check(method, context)
            async with aclosing(ask(request, context)) as answers:
                async for one in answers:
                    yield one

        found: Handler = grpc.unary_stream_rpc_method_handler(
            guarded, handler.request_deserializer, handler.response_serializer
        )
        return found

    async def _check(self, method: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        caller = caller_of(context)
        if caller is not None and may_call(caller.role, method):
            return
        what = method.rpartition("/")[2]
        who = str(caller) if caller else "a certificate without a role"
        role = caller.role if caller else ""
        self._refusals.add(role=role, who=who, why=f"may not ask for {what}")
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{who} may not ask for {what} here")
