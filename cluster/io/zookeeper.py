"""The store in a ZooKeeper (3.6 or newer): for several machines.

Our keys lie flat under one node; a revision is the node's version + 1, since 0 says that there is
none. Who is active is not asked of a session: a lost one costs nobody anything.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from cluster.io.contact import Contact, Note, quiet
from cluster.io.zookeeper_calls import Ask, ZooKeeperAway, ZooKeeperCalls
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

TIMEOUT_S = 0.4
OPEN_S = 1.0
"""Whether we may come in is waited for so long."""
AGAIN_S = 0.1
MEMBER_KEYS = "member/"

Found = tuple[int, bytes | None]


class ZooKeeperStore(Store):
    """A `Store`. Open it with `open`, end it with `close`.

    With a user (digest), every node is made so that only this user may look at it or change it.
    `ca_cert`, `cert_key` and `cert_cert` are files, named as for etcd.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        *,
        ca_cert: str | None = None,
        cert_key: str | None = None,
        cert_cert: str | None = None,
        timeout: float = TIMEOUT_S,
        user: str | None = None,
        password: str | None = None,
        prefix: str = "keepline",
        note: Note = quiet,
    ) -> None:
        """`timeout`: of every call, in seconds."""
        hosts = ",".join(f"{host}:{port}" for host, port in endpoints)
        self._root = f"/{prefix.strip('/')}"
        self._files = (ca_cert, cert_key, cert_cert)
        self._contact = Contact(f"zookeeper://{hosts}{self._root}", note)
        self._calls = ZooKeeperCalls(
            hosts,
            self._root,
            session_s=MEMBER_TTL_MS / 1000,
            timeout_s=timeout,
            user=user,
            password=password,
            lost=self._contact.missed,
        )
        self._zk = self._calls.zk
        self._attending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._calls.start(await asyncio.to_thread(_tls, *self._files))
        try:
            await self._calls.calls([], timeout_s=OPEN_S)
        except ZooKeeperAway as error:
            if self._calls.refusal:
                raise StoreRefused(f"{self._contact.store}: not permitted") from None
            self._contact.missed(str(error))

    async def close(self) -> None:
        if self._attending is not None:
            self._attending.cancel()
            await asyncio.gather(self._attending, return_exceptions=True)
            self._attending = None
        await self._calls.close()  # and with the session, what makes us a member

    async def read_many(self, keys: Sequence[str]) -> list[Found]:
        if not keys:
            return []
        # A server may be behind; it answers a sync only when it has caught up with its leader.
        answers = await self._ask([self._sync(), *map(self._get, keys)], NoNodeError)
        return [_found(answer) for answer in answers[1:]]

    async def cas_many(self, changes: Sequence[Change]) -> list[Outcome]:
        outcomes: list[Outcome] = [Unknown()] * len(changes)
        lost = []
        with suppress(StoreAway):
            for place, answer in enumerate(await self._send(list(map(self._change, changes)))):
                match answer:
                    case BadVersionError() | NodeExistsError() | NoNodeError():
                        lost.append(place)
                    case BaseException():
                        self._contact.missed(_why(answer))
                    case str():  # the path of a node that was made
                        outcomes[place] = Won(1)
                    case _:
                        outcomes[place] = Won(answer.version + 1)
            found = await self.read_many([changes[place].key for place in lost])
            for place, stands in zip(lost, found, strict=True):
                outcomes[place] = Lost(*stands)
        return outcomes

    def _change(self, change: Change) -> Ask:
        path = self._path(change.key)
        if change.rev == 0:
            return lambda: self._zk.create_async(path, change.value)
        return lambda: self._zk.set_async(path, change.value, version=change.rev - 1)

    async def list(self, prefix: str) -> dict[str, bytes]:
        _, names = await self._ask([self._sync(), self._children()])
        keys = sorted(_keys(names, prefix))
        found = await self._ask(list(map(self._get, keys)), NoNodeError)
        values = ((key, _found(answer)[1]) for key, answer in zip(keys, found, strict=True))
        return {key: value for key, value in values if value is not None}

    async def put(self, key: str, value: bytes) -> None:
        path = self._path(key)
        for _ in range(2):  # if another one makes or removes it in between, the other way works
            (answer,) = await self._ask([lambda: self._zk.set_async(path, value)], NoNodeError)
            if not isinstance(answer, NoNodeError):
                return
            (answer,) = await self._ask(
                [lambda: self._zk.create_async(path, value)], NodeExistsError
            )
            if not isinstance(answer, NodeExistsError):
                return
        raise StoreAway(f"{key} is made and removed by others all the time")

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await self._ask([lambda: self._zk.delete_async(path)], NoNodeError)

    def _sync(self) -> Ask:
        return lambda: self._zk.sync_async(self._root)

    def _children(self, watch: Callable[[Any], None] | None = None) -> Ask:
        return lambda: self._zk.get_children_async(self._root, watch=watch)

    def _get(self, key: str, watch: Callable[[Any], None] | None = None) -> Ask:
        path = self._path(key)
        return lambda: self._zk.get_async(path, watch=watch)

    async def _ask(self, asks: Sequence[Ask], *known: type[Exception]) -> Sequence[Any]:
        """The answers, errors only of the `known` kinds among them. StoreAway."""
        answers = await self._send(asks)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, known):
                self._contact.missed(_why(answer))
                raise StoreAway(_why(answer))
        self._contact.answered()
        return answers

    async def _send(self, asks: Sequence[Ask]) -> Sequence[Any]:
        """The answers or errors. StoreAway if nothing was sent."""
        try:
            return await self._calls.calls(asks)
        except ZooKeeperAway as error:
            self._contact.missed(str(error))
            raise StoreAway(str(error)) from None

    # -- watch -------------------------------------------------------------------------------------

    async def watch(self, prefix: str) -> AsyncGenerator[Changed | ListAnew, None]:
        """ZooKeeper tells that something changed, once, and not what: so each time we look."""
        known: dict[str, int] = {}
        """Key to the transaction that stored what was told of it."""
        dirty = {""}
        """Paths to look at; "": at everything, nobody would tell us any more."""
        woken = asyncio.Event()
        is_first = True

        def fire(event: Any) -> None:  # on a thread of kazoo's
            self._calls.soon(lambda: mark(event.path or ""))

        def mark(path: str) -> None:
            dirty.add(path)
            woken.set()

        while True:
            woken.clear()
            paths = set(dirty)
            dirty.clear()
            try:
                told = await self._look(prefix, paths, known, fire)
            except StoreAway:
                dirty.add("")
                await asyncio.sleep(AGAIN_S)
                continue
            if is_first:
                is_first = False
                yield ListAnew()
                continue
            for changed in told:
                yield changed
            await woken.wait()

    async def _look(
        self, prefix: str, paths: set[str], known: dict[str, int], fire: Callable[[Any], None]
    ) -> Sequence[Changed]:
        """What has changed there; `known` is brought up to date. StoreAway."""
        keys = set(_keys((path.rpartition("/")[2] for path in paths), prefix)) - {""}
        if paths & {"", self._root}:
            (names,) = await self._ask([self._children(fire)])
            there = set(_keys(names, prefix))
            keys |= there | known.keys() if "" in paths else there - known.keys()
        looked = sorted(keys)
        answers = await self._ask([self._get(key, fire) for key in looked], NoNodeError)
        told = []
        for key, answer in zip(looked, answers, strict=True):
            if isinstance(answer, NoNodeError):
                if known.pop(key, None) is not None:
                    told.append(Changed(key, 0, None))
                continue
            value, stat = answer
            if known.get(key) != stat.mzxid:
                known[key] = stat.mzxid
                told.append(Changed(key, stat.version + 1, value))
        return told

    # -- membership --------------------------------------------------------------------------------

    def attend(self, node: str, value: bytes) -> None:
        assert self._attending is None
        path = self._path(MEMBER_KEYS + node)
        self._attending = asyncio.create_task(self._attend(path, value))

    async def _attend(self, path: str, value: bytes) -> None:
        while True:
            with suppress(StoreAway):
                await self._appear(path, value)
            await asyncio.sleep(BEAT_MS / 1000)

    async def _appear(self, path: str, value: bytes) -> None:
        """A node that ends with our session. What another session left there is replaced."""
        (stat,) = await self._ask([lambda: self._zk.exists_async(path)])
        session, _ = self._zk.client_id or (0, b"")
        if stat is not None and stat.ephemeralOwner == session:
            return
        steps: Sequence[Ask] = [lambda: self._zk.create_async(path, value, ephemeral=True)]
        if stat is not None:
            steps = [lambda: self._zk.delete_async(path), *steps]
        await self._ask(steps, NoNodeError, NodeExistsError)

    async def members(self) -> dict[str, bytes]:
        found = await self.list(MEMBER_KEYS)
        return {key.removeprefix(MEMBER_KEYS): value for key, value in found.items()}

    # -- what else ---------------------------------------------------------------------------------

    def locked_ms(self) -> int:
        return 0

    def silent_ms(self) -> int:
        return self._contact.silent_ms()

    def _path(self, key: str) -> str:
        return f"{self._root}/{quote(key, safe=':@')}"


def _keys(names: Iterable[str], prefix: str) -> Iterator[str]:
    """Of nodes by their names: the keys that begin with the prefix."""
    return (key for key in map(unquote, names) if key.startswith(prefix))


def _found(answer: Any) -> Found:
    if isinstance(answer, NoNodeError):
        return 0, None
    value, stat = answer
    return stat.version + 1, value


def _why(error: BaseException) -> str:
    """kazoo's errors say what they are by their names."""
    return str(error) or type(error).__name__


def _tls(ca_cert: str | None, cert_key: str | None, cert_cert: str | None) -> ssl.SSLContext | None:
    """None: no TLS. StoreRefused when a file cannot be used."""
    names = [name for name in (ca_cert, cert_key, cert_cert) if name is not None]
    if not names:
        return None
    try:
        context = ssl.create_default_context(cafile=ca_cert)
        if cert_cert is not None:
            context.load_cert_chain(cert_cert, cert_key)
    except OSError as error:
        raise StoreRefused(f"{', '.join(names)}: {error.strerror or error}") from None
    return context
