"""What one shard needs from its node: the store, links, files, time and the node's wiring."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cluster.fault import kind, place
from cluster.io import clock
from cluster.journal import Left
from cluster.messages import CoreMessage
from cluster.process import shard_key
from cluster.roles import Active, Found
from cluster.runtime import Shard
from cluster.snapshot import BadSnapshot, Snapshot, decode_snapshot, encode_snapshot
from cluster.store import Lost, StoreAway, Unknown, Won, decode_key, node_of, process_of
from cluster.switch import Switch

if TYPE_CHECKING:
    from cluster.io.host import Host, ShardSpec

MOVE_AGAIN_MS = 250
KEPT_SNAPSHOTS = 2
POOL_BYTES = 4_096
"""Random bytes are drawn from the kernel so many at a time, and each is used once."""

T = TypeVar("T")


class ShardIo:
    """`cluster.runtime.Outside` over asyncio."""

    def __init__(self, host: "Host", name: str, spec: "ShardSpec") -> None:
        self._host = host
        self._name = name
        self._key = shard_key(name)
        self._spec = spec
        self._pool = b""
        self._drawn = 0
        self._is_legible = True
        self._moving: asyncio.Task[None] | None = None
        self.shard: Shard

    def now_ms(self) -> int:
        return clock.now_ms()

    def wall_ms(self) -> int:
        return clock.wall_ms()

    def random(self) -> bytes:
        at = self._drawn
        if at + 32 > len(self._pool):
            self._pool = os.urandom(POOL_BYTES)
            at = 0
        self._drawn = at + 32
        return self._pool[at : at + 32]

    def send(self, node: str, message: CoreMessage) -> None:
        self._host.send(node, self._name, message)

    def soon(self, call: Callable[[], None]) -> None:
        self._host.loop.call_soon(call)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        self._host.loop.call_later(delay_ms / 1000, call)

    def gather(self, delay_ms: int) -> None:
        self._host.gather(delay_ms)

    # -- store -------------------------------------------------------------------------------------

    def read(self, done: Callable[[Found | None], None]) -> None:
        async def ask() -> None:
            try:
                found: Found | None = await self._host.keys.read(self._key)
            except StoreAway:
                found = None
            done(found if found is None or self._can_read(found[1]) else None)

        self._host.spawn(ask())

    def cas(self, rev: int, value: bytes, done: Callable[[Won | Lost | Unknown], None]) -> None:
        async def ask() -> None:
            answer = await self._host.keys.cas(self._key, rev, value)
            if isinstance(answer, Lost) and not self._can_read(answer.value):
                answer = Unknown()
            done(answer)

        self._host.spawn(ask())

    def _can_read(self, value: bytes | None) -> bool:
        """Is it a shard's key? If somebody else wrote there, it is as if the store were away."""
        try:
            decode_key(value)
        except msgspec.DecodeError as error:
            if self._is_legible:
                self.note("key not read", shard=self._name, key=self._key, error=str(error))
            self._is_legible = False
        else:
            self._is_legible = True
        return self._is_legible

    def probe(self, node: str, done: Callable[[bool], None]) -> None:
        self._host.spawn(_tell(lambda: self._host.probe(node), done))

    def is_linked(self, member: str) -> bool:
        return self._host.links.speaker(node_of(member)) == process_of(member)

    def gone(self, members: tuple[str, ...], done: Callable[[bool], None]) -> None:
        self._host.spawn(_tell(lambda: self._host.survivors.gone(self.shard, members), done))

    # -- files -------------------------------------------------------------------------------------

    def recover(self, done: Callable[[Left | None], None]) -> None:
        self._host.spawn(_tell(lambda: self._host.journals.recover(self._name), done))

    def load(self, name: str, done: Callable[[Snapshot | None], None]) -> None:
        folder = self._host.data_dir / "snapshots"

        def read() -> Snapshot | None:
            try:
                snapshot = decode_snapshot((folder / name).read_bytes())
                if snapshot.shard != self._name:
                    raise BadSnapshot(f"it is of shard {snapshot.shard}")
            except (OSError, BadSnapshot) as error:
                self.note("snapshot not read", shard=self._name, snapshot=name, error=str(error))
                return None
            return snapshot

        self._host.spawn(_tell(lambda: asyncio.to_thread(read), done))

    def save(self, snapshot: Snapshot, saved: Callable[[str | None], None]) -> None:
        folder = self._host.data_dir / "snapshots"
        name = f"{snapshot.shard}-{snapshot.epoch}.snapshot"

        def write() -> str | None:
            try:
                _write_safely(folder, name, encode_snapshot(snapshot))
            except OSError as error:
                self.note("snapshot not written", shard=self._name, error=str(error))
                return None
            with suppress(OSError):  # the new one is safe, and that is what counts
                _remove_old(folder, snapshot.shard)
            return name

        self._host.spawn(_tell(lambda: asyncio.to_thread(write), saved))

    # -- the node's wiring -------------------------------------------------------------------------

    def perform(self, effect: Any) -> None:
        try:
            self._spec.perform(effect)
        except Exception as error:  # noqa: BLE001 - the boundary: one effect that cannot be performed
            self.note(
                "effect failed",
                shard=self._name,
                effect=type(effect).__name__,
                error=kind(error),
                at=place(error),
            )

    def move_address(self, old_active: str, moved: Callable[[], None]) -> None:
        self._stop_moving()
        self._host.placer.elected(self._name, old_active)
        role = self.shard.core.role
        told = ""

        async def move() -> None:
            nonlocal told
            while self.shard.core.role is role:
                try:
                    await self._spec.move_address(self._name, old_active)
                    break
                except OSError as error:
                    if str(error) != told:
                        told = str(error)
                        self.note("address not moved", shard=self._name, error=told)
                    await asyncio.sleep(MOVE_AGAIN_MS / 1000)
            if self.shard.core.role is role:
                self._moving = None
                moved()

        assert isinstance(role, Active)
        self._moving = self._host.spawn(move())

    def _stop_moving(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
            self._moving = None

    def serving(self, *, lost: bool) -> None:
        self._host.placer.wake()
        self._spec.on_serving(self._name, lost)

    def switched(self, switch: Switch) -> None:
        self._spec.on_switched(self._name, switch)

    def deposed(self) -> None:
        self._stop_moving()
        self._spec.on_deposed(self._name)

    def removed(self) -> None:
        self._stop_moving()

    def note(self, what: str, **fields: object) -> None:
        self._host.note(what, **fields)

    def broken(self, error: BaseException) -> None:
        self._host.broken(error)


async def _tell(work: Callable[[], Awaitable[T]], done: Callable[[T], None]) -> None:
    done(await work())


def _remove_old(folder: Path, shard: str) -> None:
    """Keep the shard's newest snapshots. `a-b-7.snapshot` is one of shard `a-b`, not of `a`."""
    own = [path for path in folder.glob("*.snapshot") if path.stem.rpartition("-")[0] == shard]
    own.sort(key=lambda path: path.stat().st_mtime_ns)
    for path in own[:-KEPT_SNAPSHOTS]:
        path.unlink()


def _write_safely(folder: Path, name: str, data: bytes) -> None:
    """All of it under its name after a power cut, or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
