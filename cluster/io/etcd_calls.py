"""Calls to an etcd: which of its members is asked, who asks, and how long an answer may take.

Every member can answer everything, so the connections to all of them are kept up and a call goes to
one that stands. A member that was silent or failed is asked again only when its turn comes. Whether
a change without an answer was carried out is never guessed: whoever asked for it has to look.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc
import grpc.aio

from keepline.v1 import etcd_pb2 as pb

AUTHENTICATE_S = 2.0
"""etcd hashes a password slowly, on purpose."""
AUTHENTICATE_AGAIN_S = 1.0
"""After a refusal, which every call would only repeat."""
LEFT_S = 0.02
"""With less than this left of a call's time no other member is asked."""
WHY_S = 0.1
CLOSE_S = 0.1

_CHANNEL: list[tuple[str, int]] = [
    ("grpc.initial_reconnect_backoff_ms", 30),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.enable_retries", 0),  # whether a change is repeated is decided here
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
]

_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
)
_PLAIN = (
    ("connection refused", "connection refused"),
    ("hostname verification", "its certificate is for another name"),
    ("certificate_verify_failed", "its certificate is not of our CA, or has expired"),
    ("tsi_data_corrupted", "it does not accept our certificate"),
    ("tsi_protocol_failure", "it does not speak TLS, or does not accept our certificate"),
    ("socket closed", "it closes the connection: does it want TLS?"),
)
"""What of gRPC's words for want of a connection means what."""
_OLD_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old")


class EtcdAway(Exception):
    """No answer in time. A change may have been carried out, or may still be."""


class EtcdRefused(Exception):
    """The answer is no: nothing was carried out, and asking again is no use."""


class _Wire(Protocol):
    def SerializeToString(self) -> bytes: ...

    @classmethod
    def FromString(cls, data: bytes) -> Self: ...


Answer = TypeVar("Answer", bound=_Wire)


@dataclass(slots=True, eq=False)
class _Member:
    address: str
    channel: grpc.aio.Channel
    is_up: bool = False
    why: str = "no connection yet"
    """What stood in the way of a connection the last time."""


class Stream(Generic[Answer]):
    """One that stands; what fails raises EtcdAway."""

    def __init__(self, member: str, call: Any, token: str) -> None:
        self.token = token
        """With which it was opened."""
        self._member = member
        self._call = call
        self._reading: asyncio.Future[Any] | None = None

    async def write(self, request: _Wire, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            raise EtcdAway(self._why(error)) from None

    async def read(self, timeout_s: float) -> Answer | None:
        """None: nothing came so far; it may be read again."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        # Not wait_for: to cancel a read ends the stream.
        done, _ = await asyncio.wait([self._reading], timeout=timeout_s)
        if not done:
            return None
        reading, self._reading = self._reading, None
        try:
            found: Answer | object = reading.result()
        except grpc.aio.AioRpcError as error:
            raise EtcdAway(self._why(error)) from None
        if found is grpc.aio.EOF:
            raise EtcdAway(f"{self._member}: the stream ended")
        return found  # type: ignore[return-value]  # what the stream was opened for

    def _why(self, error: BaseException) -> str:
        details = error.details() if isinstance(error, grpc.aio.AioRpcError) else "no answer"
        return f"{self._member}: {details}"

    async def end(self) -> None:
        self._call.cancel()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)


class EtcdCalls:
    """Start it with `start`, end it with `close`."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        credentials: grpc.ChannelCredentials | None,
        user: str | None,
        password: str | None,
        timeout_s: float,
    ) -> None:
        """`timeout_s`: a call's whole time; one member gets half of it."""
        self._addresses = addresses
        self._credentials = credentials
        self._user = user
        self._password = password
        self._timeout_s = timeout_s
        self.patience_s = timeout_s / 2
        self._members: list[_Member] = []
        self._turn = 0
        self._changed = asyncio.Event()
        self._looking: list[asyncio.Task[None]] = []
        self._token = ""
        self._renewal: asyncio.Task[None] | None = None
        self._refusal: tuple[float, str] = (0.0, "")

    def start(self) -> None:
        for address in self._addresses:
            channel = (
                grpc.aio.insecure_channel(address, options=_CHANNEL)
                if self._credentials is None
                else grpc.aio.secure_channel(address, self._credentials, options=_CHANNEL)
            )
            member = _Member(address, channel)
            self._members.append(member)
            self._looking.append(asyncio.create_task(self._look(member)))

    async def close(self) -> None:
        """May be called again; every later call finds etcd away."""
        if not self._members:
            return
        members, self._members = self._members, []
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        for member in members:
            await member.channel.close()
        # A closed channel wakes those who look at its state, but not always.
        await asyncio.wait(self._looking, timeout=CLOSE_S)
        for looking in self._looking:
            looking.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    async def call(
        self, path: str, request: _Wire, answer: type[Answer], *, again: bool = False
    ) -> Answer:
        """EtcdAway, EtcdRefused. `again`: carried out twice it does no harm."""
        now = asyncio.get_running_loop().time
        until = now() + self._timeout_s
        is_renewed = False
        while True:
            token = await self._have_token(until)
            member = await self._pick(until)
            try:
                patience_s = min(self.patience_s, max(LEFT_S, until - now()))
                return await self._ask(member, path, request, answer, token, patience_s)
            except grpc.aio.AioRpcError as error:
                why = f"{member.address}: {error.details()}"
                if self._is_old_token(error) and not is_renewed:
                    is_renewed = True
                    await self.renew(token, until)
                elif error.code() not in _AWAY:
                    raise EtcdRefused(why) from None
                else:
                    self._turn_from(member)
                    if not again or until - now() < LEFT_S:
                        raise EtcdAway(why) from None

    @asynccontextmanager
    async def stream(self, path: str, answer: type[Answer]) -> AsyncIterator[Stream[Answer]]:
        """EtcdAway, EtcdRefused. Ends by itself where its member has no leader for long."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        token = await self._have_token(until)
        member = await self._pick(until)
        call = member.channel.stream_stream(
            path, request_serializer=_encode, response_deserializer=answer.FromString
        )
        metadata = (("hasleader", "true"), *_metadata(token))
        stream: Stream[Answer] = Stream(member.address, call(metadata=metadata), token)
        try:
            yield stream
        except EtcdAway:
            self._turn_from(member)
            raise
        finally:
            await stream.end()

    async def renew(self, old: str, until: float | None = None) -> None:
        """Another token than `old`. EtcdAway, EtcdRefused."""
        if self._token != old or not self._user:
            return
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._authenticate(self._user))
            self._renewal.add_done_callback(lambda task: task.cancelled() or task.exception())
        if until is None:
            until = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(until):
                await asyncio.shield(self._renewal)
        except TimeoutError:
            raise EtcdAway("no token in time") from None

    async def _authenticate(self, user: str) -> None:
        now = asyncio.get_running_loop().time
        until, why = self._refusal
        if now() < until:
            raise EtcdRefused(why)
        member = await self._pick(now() + self._timeout_s)
        request = pb.AuthenticateRequest(name=user, password=self._password or "")
        try:
            answer = await self._ask(
                member,
                "/etcdserverpb.Auth/Authenticate",
                request,
                pb.AuthenticateResponse,
                "",
                AUTHENTICATE_S,
            )
        except grpc.aio.AioRpcError as error:
            why = f"{member.address}: user {user}: {error.details()}"
            if error.code() in _AWAY:
                self._turn_from(member)
                raise EtcdAway(why) from None
            self._refusal = now() + AUTHENTICATE_AGAIN_S, why
            raise EtcdRefused(why) from None
        self._token = answer.token

    async def _have_token(self, until: float) -> str:
        if self._user and not self._token:
            await self.renew("", until)
        return self._token

    def _is_old_token(self, error: grpc.aio.AioRpcError) -> bool:
        details = error.details() or ""
        return bool(self._token) and (
            error.code() is grpc.StatusCode.UNAUTHENTICATED
            or any(text in details for text in _OLD_TOKEN)
        )

    async def _ask(
        self,
        member: _Member,
        path: str,
        request: _Wire,
        answer: type[Answer],
        token: str,
        timeout_s: float,
    ) -> Answer:
        """grpc.aio.AioRpcError."""
        call = member.channel.unary_unary(
            path, request_serializer=_encode, response_deserializer=answer.FromString
        )
        found: Answer = await call(request, timeout=timeout_s, metadata=_metadata(token))
        return found

    # -- members -----------------------------------------------------------------------------------

    async def _look(self, member: _Member) -> None:
        """Keep the connection up and know whether it is."""
        while member in self._members:
            state = member.channel.get_state(try_to_connect=True)
            member.is_up = state is grpc.ChannelConnectivity.READY
            if member.is_up:
                self._changed.set()
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                await self._find_why(member)
            await member.channel.wait_for_state_change(state)

    async def _find_why(self, member: _Member) -> None:
        """A call that cannot leave says why; the connection's state does not."""
        nothing = pb.AuthenticateRequest()
        try:
            await self._ask(member, "/keepline/Why", nothing, pb.AuthenticateResponse, "", WHY_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                said = error.details() or ""
                plain = (means for part, means in _PLAIN if part in said.lower())
                member.why = next(plain, said)

    async def _pick(self, until: float) -> _Member:
        """The first one from the turn on whose connection stands."""
        while True:
            for place in range(self._turn, self._turn + len(self._members)):
                member = self._members[place % len(self._members)]
                if member.is_up:
                    self._turn = place % len(self._members)
                    return member
            if not self._members:
                raise EtcdAway("closed")
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                why = "; ".join(f"{one.address}: {one.why}" for one in self._members)
                raise EtcdAway(why) from None

    def _turn_from(self, member: _Member) -> None:
        if self._members and self._members[self._turn % len(self._members)] is member:
            self._turn = (self._turn + 1) % len(self._members)


def _encode(request: _Wire) -> bytes:
    return request.SerializeToString()


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("token", token),) if token else ()
