"""The store in an etcd (3.4 or newer): for several machines.

Our keys lie under `PREFIX/`; a revision is etcd's own (`mod_revision`), which grows over all keys
and never comes again. Nothing here depends on a lease but who is shown as a member.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import grpc

from cluster.io.contact import Contact, Note, quiet
from cluster.io.etcd_calls import EtcdAway, EtcdCalls, EtcdRefused, Stream
from cluster.store import (
    BEAT_MS,
    MEMBER_TTL_MS,
    Change,
    Changed,
    ListAnew,
    Lost,
    Outcome,
    Store,
    StoreAway,
    StoreRefused,
    Unknown,
    Won,
)
from keepline.v1 import etcd_pb2 as pb

TIMEOUT_S = 0.4
OPERATIONS = 120
"""In one transaction: etcd takes 128 (--max-txn-ops), the outer ones and one of each inner one."""
AGAIN_S = 0.1
"""Until a stream that broke is opened again."""
PING_S = 1.0
"""A watch that is told nothing for so long asks whether its member is still there."""
MEMBER_KEYS = "member/"

T = TypeVar("T")


class EtcdStore(Store):
    """A `Store`. Open it with `open`, end it with `close`.

    Options are named as in the package `etcd3`; `ca_cert`, `cert_key` and `cert_cert` are files.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 2379,
        endpoints: Sequence[tuple[str, int]] = (),
        ca_cert: str | None = None,
        cert_key: str | None = None,
        cert_cert: str | None = None,
        timeout: float = TIMEOUT_S,
        user: str | None = None,
        password: str | None = None,
        prefix: str = "keepline",
        note: Note = quiet,
    ) -> None:
        """`endpoints`: several members of the same etcd, instead of `host` and `port`.

        `timeout`: of every call, in seconds.
        """
        self._addresses = [f"{host}:{port}" for host, port in endpoints or [(host, port)]]
        self._files = (ca_cert, cert_key, cert_cert)
        self._who = (user, password)
        self._timeout_s = timeout
        self._prefix = f"{prefix.strip('/')}/"
        name = f"etcd://{','.join(self._addresses)}/{prefix.strip('/')}"
        self._contact = Contact(name, note)
        self._etcd = EtcdCalls([], credentials=None, user=None, password=None, timeout_s=timeout)
        self._attending: asyncio.Task[None] | None = None
        self._lease = 0

    async def open(self) -> None:
        user, password = self._who
        self._etcd = EtcdCalls(
            self._addresses,
            credentials=await asyncio.to_thread(_credentials, *self._files),
            user=user,
            password=password,
            timeout_s=self._timeout_s,
        )
        self._etcd.start()
        try:
            await self._range(pb.RangeRequest(key=self._key("")))
        except EtcdRefused as error:
            raise StoreRefused(f"{self._contact.store}: {error}") from None
        except EtcdAway as error:
            self._contact.missed(str(error))

    async def close(self) -> None:
        if self._attending is not None:
            self._attending.cancel()
            await asyncio.gather(self._attending, return_exceptions=True)
            self._attending = None
            with suppress(EtcdAway, EtcdRefused):
                await self._etcd.call(
                    "/etcdserverpb.Lease/LeaseRevoke",
                    pb.LeaseRevokeRequest(ID=self._lease),
                    pb.LeaseRevokeResponse,
                )
        await self._etcd.close()

    async def read_many(self, keys: Sequence[str]) -> list[tuple[int, bytes | None]]:
        requests = [pb.RangeRequest(key=self._key(key)) for key in keys]
        txns = [
            pb.TxnRequest(success=[pb.RequestOp(request_range=one) for one in some])
            for some in _parts(requests)
        ]
        answers = await asyncio.gather(*(self._read(txn) for txn in txns))
        return [_found(one.response_range) for answer in answers for one in answer.responses]

    async def _read(self, txn: pb.TxnRequest) -> pb.TxnResponse:
        try:
            answer = await self._txn(txn, again=True)
        except (EtcdAway, EtcdRefused) as error:
            raise self._away(error) from None
        self._contact.answered()
        return answer

    async def cas_many(self, changes: Sequence[Change]) -> list[Outcome]:
        parts = await asyncio.gather(*(self._change(some) for some in _parts(changes)))
        return [outcome for part in parts for outcome in part]

    async def _change(self, changes: Sequence[Change]) -> list[Outcome]:
        txn = pb.TxnRequest(success=[pb.RequestOp(request_txn=self._cas(one)) for one in changes])
        try:
            answer = await self._txn(txn)
        except (EtcdAway, EtcdRefused) as error:
            self._away(error)
            return [Unknown()] * len(changes)
        self._contact.answered()
        return [
            Won(answer.header.revision)
            if inner.response_txn.succeeded
            else Lost(*_found(inner.response_txn.responses[0].response_range))
            for inner in answer.responses
        ]

    def _cas(self, change: Change) -> pb.TxnRequest:
        key = self._key(change.key)
        stands = pb.Compare(
            result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key, mod_revision=change.rev
        )
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=change.value))
        look = pb.RequestOp(request_range=pb.RangeRequest(key=key))
        return pb.TxnRequest(compare=[stands], success=[put], failure=[look])

    async def list(self, prefix: str) -> dict[str, bytes]:
        key = self._key(prefix)
        try:
            found = await self._range(pb.RangeRequest(key=key, range_end=_after(key)))
        except (EtcdAway, EtcdRefused) as error:
            raise self._away(error) from None
        self._contact.answered()
        return {self._name(kv.key): kv.value for kv in found.kvs}

    async def put(self, key: str, value: bytes) -> None:
        put = pb.PutRequest(key=self._key(key), value=value)
        await self._write("/etcdserverpb.KV/Put", put, pb.PutResponse)

    async def delete(self, key: str) -> None:
        delete = pb.DeleteRangeRequest(key=self._key(key))
        await self._write("/etcdserverpb.KV/DeleteRange", delete, pb.DeleteRangeResponse)

    async def _write(
        self,
        path: str,
        request: pb.PutRequest | pb.DeleteRangeRequest,
        answer: type[pb.PutResponse | pb.DeleteRangeResponse],
    ) -> None:
        try:
            await self._etcd.call(path, request, answer)
        except (EtcdAway, EtcdRefused) as error:
            raise self._away(error) from None
        self._contact.answered()

    async def _txn(self, txn: pb.TxnRequest, *, again: bool = False) -> pb.TxnResponse:
        return await self._etcd.call("/etcdserverpb.KV/Txn", txn, pb.TxnResponse, again=again)

    async def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        return await self._etcd.call(
            "/etcdserverpb.KV/Range", request, pb.RangeResponse, again=True
        )

    # -- watch -------------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[Changed | ListAnew, None]:
        first_rev = 0
        """The first revision that has not been told; 0: not known, list anew."""
        key = self._key(prefix)
        while True:
            create = pb.WatchCreateRequest(key=key, range_end=_after(key), start_revision=first_rev)
            try:
                async with self._etcd.stream(
                    "/etcdserverpb.Watch/Watch", pb.WatchResponse
                ) as stream:
                    await stream.write(
                        pb.WatchRequest(create_request=create), self._etcd.patience_s
                    )
                    while not (told := await self._next(stream)).canceled:
                        if told.created and not first_rev:
                            first_rev = told.header.revision + 1
                            yield ListAnew()
                        for event in told.events:
                            # Not the header's revision: a member that catches up is ahead of
                            # what it has told so far. A revision is never told in parts.
                            first_rev = event.kv.mod_revision + 1
                            yield self._changed(event)
                    if told.compact_revision:
                        first_rev = 0
                        continue
                    # An old token is told as "permission denied".
                    await self._etcd.renew(stream.token)
                    self._contact.missed(told.cancel_reason)
            except (EtcdAway, EtcdRefused) as error:
                self._contact.missed(str(error))
            await asyncio.sleep(AGAIN_S)

    async def _next(self, stream: Stream[pb.WatchResponse]) -> pb.WatchResponse:
        """A member that hangs says nothing, as one does that has nothing to tell: it is asked."""
        told = await stream.read(PING_S)
        if told is None:
            ping = pb.WatchRequest(progress_request=pb.WatchProgressRequest())
            await stream.write(ping, self._etcd.patience_s)
            told = await stream.read(self._etcd.patience_s)
        if told is None:
            raise EtcdAway("a watch is not answered")
        self._contact.answered()
        return told

    def _changed(self, event: pb.Event) -> Changed:
        name = self._name(event.kv.key)
        if event.type == pb.Event.DELETE:
            return Changed(name, 0, None)
        return Changed(name, event.kv.mod_revision, event.kv.value)

    # -- membership --------------------------------------------------------------------------------

    def attend(self, node: str, value: bytes) -> None:
        assert self._attending is None
        self._attending = asyncio.create_task(self._attend(self._key(MEMBER_KEYS + node), value))

    async def _attend(self, key: bytes, value: bytes) -> None:
        grant = pb.LeaseGrantRequest(TTL=MEMBER_TTL_MS // 1000)
        while True:
            try:
                lease = await self._etcd.call(
                    "/etcdserverpb.Lease/LeaseGrant", grant, pb.LeaseGrantResponse
                )
                self._lease = lease.ID
                put = pb.PutRequest(key=key, value=value, lease=lease.ID)
                await self._etcd.call("/etcdserverpb.KV/Put", put, pb.PutResponse)
                await self._keep_alive(lease.ID)
            except (EtcdAway, EtcdRefused) as error:
                self._contact.missed(str(error))
            await asyncio.sleep(AGAIN_S)

    async def _keep_alive(self, lease: int) -> None:
        """Returns when the lease is over."""
        path, alive = "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest(ID=lease)
        while True:
            try:
                async with self._etcd.stream(path, pb.LeaseKeepAliveResponse) as stream:
                    while True:
                        await stream.write(alive, self._etcd.patience_s)
                        answer = await stream.read(self._etcd.patience_s)
                        if answer is None:
                            raise EtcdAway("a lease's beat is not answered")
                        if answer.TTL <= 0:
                            return
                        self._contact.answered()
                        await asyncio.sleep(BEAT_MS / 1000)
            except (EtcdAway, EtcdRefused) as error:
                self._contact.missed(str(error))
            await asyncio.sleep(AGAIN_S)

    async def members(self) -> dict[str, bytes]:
        found = await self.list(MEMBER_KEYS)
        return {key.removeprefix(MEMBER_KEYS): value for key, value in found.items()}

    # -- what else ---------------------------------------------------------------------------------

    def locked_ms(self) -> int:
        return 0

    def silent_ms(self) -> int:
        return self._contact.silent_ms()

    def _away(self, error: EtcdAway | EtcdRefused) -> StoreAway:
        self._contact.missed(str(error))
        return StoreAway(str(error))

    def _key(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    def _name(self, key: bytes) -> str:
        return key.decode(errors="replace").removeprefix(self._prefix)


def _parts(whole: Sequence[T]) -> list[Sequence[T]]:
    return [whole[at : at + OPERATIONS] for at in range(0, len(whole), OPERATIONS)]


def _found(answer: pb.RangeResponse) -> tuple[int, bytes | None]:
    return (answer.kvs[0].mod_revision, answer.kvs[0].value) if answer.kvs else (0, None)


def _after(prefix: bytes) -> bytes:
    """The first key after all those that begin with `prefix`, which is text and not empty."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _credentials(
    ca_cert: str | None, cert_key: str | None, cert_cert: str | None
) -> grpc.ChannelCredentials | None:
    """None: no TLS. StoreRefused when a file cannot be read."""
    if ca_cert is None and cert_key is None and cert_cert is None:
        return None
    try:
        ca, key, cert = (
            None if name is None else Path(name).read_bytes()
            for name in (ca_cert, cert_key, cert_cert)
        )
    except OSError as error:
        raise StoreRefused(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_channel_credentials(ca, key, cert)
