"""One node's share of all shards, driven on one asyncio loop.

The host gives the shards time, links, the store and files, and tells the node's wiring when a shard
starts and stops serving here.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import msgspec

from cluster.core import LATE_MS
from cluster.io.asking import Asking
from cluster.io.clock import now_ms, wall_ms
from cluster.io.ending import Endings
from cluster.io.gathering import Gathering, Shared
from cluster.io.handing import HandOvers
from cluster.io.journal import TAILS
from cluster.io.journals import Journals
from cluster.io.link import Links, Present
from cluster.io.nodes import Nodes
from cluster.io.placer import Placer
from cluster.io.process import is_gone, this_process
from cluster.io.security import Open, Security
from cluster.io.shard import ShardIo
from cluster.io.survivors import Survivors
from cluster.machine import Machine
from cluster.messages import Message, Prepare, Prepared, Release, Released
from cluster.outside import ShardState
from cluster.placement import DEFAULT, Policy, order
from cluster.process import shard_key
from cluster.roles import Active
from cluster.roster import Roster
from cluster.runtime import Shard
from cluster.store import (
    Process,
    Store,
    StoreAway,
    decode_key,
    encode_process,
)
from cluster.switch import Switch

TICK_MS = 10
LOCKED_MS = 200
"""A store kept locked for this long by a process that is silent: the process is ended."""
FENCE_AGAIN_MS = 1_000
KEEP_ADDRESS_MS = 1_000
"""A deposed active may keep the shard's socket so long for whoever leads now."""

Note = Callable[..., None]
T = TypeVar("T")


@dataclass(slots=True)
class ShardSpec:
    """What a node wires to one shard. Every callable runs on the loop."""

    machine: Callable[[], Machine]
    perform: Callable[[Any], None]
    """A committed effect, in step order."""
    preferred: Sequence[str]
    """Nodes that shall lead it, best first; it returns to them. None: any."""
    move_address: Callable[[str, str], Awaitable[None]]
    """(shard, old active member or ""): the address is ours when it returns. If it raises OSError
    it is called again while this node leads. Cancelled when it no longer does."""
    on_serving: Callable[[str, bool], None]
    """(shard, lost): start reading the socket."""
    on_deposed: Callable[[str], None]
    """(shard): close the socket. May come without `on_serving` before it, and twice."""
    on_switched: Callable[[str, Switch], None] = lambda shard, switch: None
    """(shard, how it went): this node has become active."""
    on_held: Callable[[str, bool], None] = lambda shard, held: None
    """(shard, True): it is being handed over: leave unread what comes, the successor reads it.
    (shard, False): nobody took it over: read on."""
    let_go: Callable[[str, str], None] | None = None
    """(shard, inbox): give the address up now; the socket itself to that inbox if one is named.
    With it, `on_deposed` may keep the socket, unread, for KEEP_ADDRESS_MS."""
    far: Sequence[str] = ()
    """Nodes that get every batch, are never waited for and never lead by themselves."""
    version: int = 1
    """Of the configuration that has the shard; 0: none has it any more, and it shall go."""
    weight: int = 1
    """How much load it is, as the placement reckons."""
    check: bool = False
    """Tests: a record changed without being reported raises."""


class Host:
    """The shards of one node."""

    def __init__(
        self,
        *,
        node: str,
        peers: Mapping[str, str],
        store: Store,
        shards: Mapping[str, ShardSpec],
        data_dir: Path,
        note: Note,
        broken: Callable[[BaseException], None],
        fence: Callable[[Process], Awaitable[bool]] | None = None,
        site: str = "",
        policy: Policy = DEFAULT,
        incarnation: str = "",
        security: Security | None = None,
        services: Callable[[grpc.aio.Server], None] = lambda server: None,
        journal: str = "off",
        tails: Path = TAILS,
    ) -> None:
        """`peers`: the address "ip:port" of the links of this node, and of those it is to know from
        the start; the others it finds in the store. `services` adds what else this node's gRPC
        server shall answer. `journal`: "async", "sync" or "off"."""
        self.node = node
        self.incarnation = incarnation or secrets.token_hex(4)
        self.store = store
        self.keys = Gathering(store, self.spawn)
        self._shared = Shared(self.spawn)
        self.note = note
        self.broken = broken
        self.data_dir = data_dir
        self.loop_late_max_ms = 0
        """How late the loop was at most, since whoever shows it has set it to 0."""
        self._specs = dict(shards)
        self._shards: dict[str, Shard] = {}
        self._site = site
        roster = Roster(node, peers, now_ms())
        self.nodes = Nodes(node, self.incarnation, store, roster, self._shared, self.meet)
        self.placer = Placer(self, policy)
        self.is_leaving = False
        self._fence = fence
        self._copies = policy.copies
        self.journals = Journals(data_dir / "journals" / node, journal, note, tails=tails)
        self.survivors = Survivors(self)
        self._listen = peers[node]
        self._links = Links(
            node=node,
            incarnation=self.incarnation,
            listen=self._listen,
            peers={name: address for name, address in peers.items() if name != node},
            receiver=self,
            guard=broken,
            security=security or Open(),
            note=note,
            services=services,
        )
        self._met: tuple[dict[str, str], frozenset[str]] = (dict(peers), frozenset())
        """The nodes, and those that drain, as links and shards know them."""
        self._ios: dict[str, ShardIo] = {}
        self._fenced: dict[tuple[str, str], int] = {}
        self._handing = HandOvers(self)
        self._endings = Endings(self, self._handing)
        self._asking = Asking(self)
        self._flush_at: float | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._tick_due = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._is_stopped = False

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, write down this process, begin. OSError: it cannot run here; StoreAway."""
        loop = self._loop = asyncio.get_running_loop()
        self.journals.open(self._from_thread)
        try:
            await self._links.start()
            try:
                await self._join()
            except BaseException:
                await self._links.stop()
                raise
        except BaseException:
            await self.journals.close()
            raise
        for name, spec in self._specs.items():
            self._make(name, spec)
        self._tick_due = loop.time() + TICK_MS / 1000
        self._tick_timer = loop.call_at(self._tick_due, self._guard, self._tick)
        for shard in self._shards.values():
            shard.start()
        self.placer.start()

    async def _join(self) -> None:
        me = this_process(
            self.node,
            self.incarnation,
            self._listen,
            wall_ms(),
            site=self._site,
            journals=self.journals.path,
        )
        await self.nodes.write_down(me)
        try:
            await self.survivors.find_twin()
        except OSError:
            with suppress(StoreAway):
                await self.nodes.strike_out()
            raise
        self.store.attend(self.node, encode_process(me))
        with suppress(StoreAway):  # whoever starts next forgets them
            await self.nodes.clear()
            await self.nodes.look()

    def _from_thread(self, call: Callable[[], None]) -> None:
        def turn() -> None:
            if not self._is_stopped:
                call()

        with suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(self._guard, turn)

    def _make(self, name: str, spec: ShardSpec) -> Shard:
        io = self._ios[name] = ShardIo(self, name, spec)
        io.shard = shard = self._shards[name] = Shard(
            name=name,
            node=self.node,
            incarnation=self.incarnation,
            preferred=self._order(name),
            copies=self._copies,
            machine=spec.machine,
            outside=io,
            far=spec.far,
            journal=self.journals.journal(name),
            check=spec.check,
        )
        shard.core.version = spec.version
        for node in self._met[0]:
            if self._links.is_up(node):
                shard.core.link_up(node)
        return shard

    async def stop(self) -> None:
        """Leave cleanly: hand over what others can take, leave a snapshot of the rest.

        Ends within about `ending.STOP_MS`. May be called again.
        """
        if self._is_stopped:
            return
        self.is_leaving = True
        await self._endings.leave_all()
        with suppress(StoreAway):
            await self.nodes.strike_out()
        await self.close()

    async def close(self) -> None:
        """Stop at once, as if the process ended. May be called again."""
        self._is_stopped = True
        for timer in (self._tick_timer, self._flush_timer):
            if timer is not None:
                timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._links.stop()
        await self.journals.close()
        for spec, name in zip(self._specs.values(), self._specs, strict=True):
            spec.on_deposed(name)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where the links of every node that is known listen, this one's too."""
        return self.nodes.roster.addresses()

    @property
    def links(self) -> Links:
        return self._links

    @property
    def shards(self) -> Mapping[str, Shard]:
        return self._shards

    @property
    def specs(self) -> Mapping[str, ShardSpec]:
        return self._specs

    # -- which shards there are --------------------------------------------------------------------

    def add_shard(self, name: str, spec: ShardSpec) -> None:
        """One shard more, before or after `start`."""
        assert name not in self._specs
        self._specs[name] = spec
        if self._tick_timer is not None:
            self._make(name, spec).start()

    def configured(
        self,
        name: str,
        version: int,
        preferred: Sequence[str],
        weight: int = 1,
        far: Sequence[str] = (),
    ) -> None:
        """This version of the configuration has the shard; 0: none has, and it shall go."""
        core = self._shards[name].core
        core.version = version
        self._specs[name].preferred = preferred
        self._specs[name].weight = weight
        self._specs[name].far = far
        core.far = tuple(far)
        core.know(self._order(name))
        self.placer.wake()

    async def close_shard(
        self, name: str, version: int, is_over: Callable[[Mapping[str, Any]], bool]
    ) -> bool:
        """Give the shard up for good once `is_over(records)`: `version` of the configuration has
        none such. False: something is left in it, or this node does not lead it."""
        return await self._endings.close(self._shards[name], version, is_over)

    def is_closed(self, name: str) -> bool:
        """Is it gone for good? Then `remove_shard`. A standby sees it when it misses the active."""
        return self._shards[name].core.is_closed

    def remove_shard(self, name: str) -> None:
        """This node has no part in the shard any more."""
        self._ios.pop(name).removed()
        self._shards.pop(name).core.forget()
        self.journals.remove(name)
        self._let_go(name, "")
        del self._specs[name]

    # -- for the node's wiring ---------------------------------------------------------------------

    def shard(self, name: str) -> Shard:
        """KeyError if there is no such shard."""
        return self._shards[name]

    def post(self, shard: str, event: Any) -> bool:
        """Hand an event to a shard. False: it is not served here now, and the event is dropped."""
        here = self._shards.get(shard)
        return here is not None and here.handle(event)

    async def committed(self, shard: str) -> bool:
        """Wait until everything that stands in the records now is committed; False: it never is."""
        done: asyncio.Future[bool] = self._loop.create_future()

        def answer(ok: bool) -> None:
            if not done.done():
                done.set_result(ok)

        self._shards[shard].when_committed(answer)
        return await done

    def states(self) -> dict[str, ShardState]:
        """All shards as this node sees them."""
        return {name: shard.state() for name, shard in self._shards.items()}

    @property
    def frames_sent(self) -> int:
        """Frames to other nodes so far."""
        return self._links.counters["frames_sent"]

    @property
    def link_alarms(self) -> list[str]:
        """What somebody must look after about the links of this node."""
        return self._links.alarms

    @property
    def refused(self) -> Mapping[str, int]:
        """How many calls were turned away here, by the role of the caller's certificate."""
        return self._links.refusals.counts

    async def all_processes(self) -> list[Process]:
        """All that are written down, also such as are gone; the last list if the store is away."""
        await self.nodes.read()
        return list(self.nodes.processes.values())

    async def process_of(self, member: str) -> Process | None:
        """The process that wrote itself down as this member's."""
        return await self.nodes.process_of(member)

    async def ask_release(self, node: str, shard: str, timeout_ms: int, inbox: str = "") -> bool:
        """Has this node's process let go of the shard's address? False: no answer in time.

        `inbox`: where it may pass the socket itself.
        """
        return await self.ask(
            node, shard, lambda epoch, request: Release(epoch, request, inbox), timeout_ms
        )

    async def ask(
        self, node: str, shard: str, make: Callable[[int, int], Message], timeout_ms: int
    ) -> bool:
        """`make` makes the message of epoch and request. False: no answer in time."""
        return await self._asking.ask(node, shard, make, timeout_ms)

    async def leads(self, shard: str) -> bool:
        """Does the store say now that this node leads? False if it says nothing, too."""
        core = self._shards[shard].core
        try:
            _, value = await self.keys.read(shard_key(shard))
            key = decode_key(value)
        except (StoreAway, msgspec.DecodeError):
            return False
        return key is not None and (key.epoch, key.active) == (core.epoch, core.member)

    def was_handed(self, shard: str) -> bool:
        """Is the shard on its way here because its old active asked for it?"""
        return self._shards[shard].was_handed

    async def is_refused(self, node: str) -> bool:
        """Does the kernel say that the node's process listens no more? It holds no address then."""
        return await self.probe(node)

    async def hand_over(self, shard: str, to: str = "") -> str:
        """Let another in-sync node lead the shard; its name, or "" if none took over."""
        here = self._shards[shard]
        for successor in [to] if to else here.core.successors():
            if await self._handing.to(here, successor):
                return successor
        return ""

    async def switch_over(self, shard: str, to: str) -> bool:
        """Hand the shard to this node, where it stays until something else happens to it.

        False: it did not take over. StoreAway: nothing was tried.
        """
        return await self._handing.to_stay(self._shards[shard], to)

    # -- links -------------------------------------------------------------------------------------

    def send(self, node: str, shard: str, message: Message) -> None:
        self._links.send(node, shard, message)

    def received(self, node: str, shard: str, message: Message) -> None:
        here = self._shards.get(shard)
        if here is None:
            return
        if isinstance(message, Release):
            self._release(node, here, message)
        elif isinstance(message, Prepare):
            done = Prepared(message.epoch, message.request)
            here.prepare(lambda: self.send(node, shard, done))
        elif isinstance(message, (Released, Prepared)):
            self._asking.answered(message)
        else:
            here.on(node, message)

    def _release(self, node: str, shard: Shard, message: Release) -> None:
        """The active of a later epoch wants the address. It leads: its epoch is in the store."""
        core = shard.core
        if message.epoch > core.epoch or not isinstance(core.role, Active):
            core.release(message.epoch, node)
            self._let_go(shard.name, message.inbox if message.epoch >= core.epoch else "")
            self._handing.gave(shard.name, message.epoch)
            self.send(node, shard.name, Released(message.epoch, message.request))

    def _let_go(self, shard: str, inbox: str) -> None:
        spec = self._specs[shard]
        if spec.let_go is None:
            spec.on_deposed(shard)
        else:
            spec.let_go(shard, inbox)

    def link_up(self, node: str) -> None:
        self.nodes.roster.link(node, up=True, now_ms=now_ms())
        self.placer.wake()
        for shard in self._shards.values():
            shard.core.link_up(node)

    def link_down(self, node: str) -> None:
        self.nodes.roster.link(node, up=self._links.is_up(node), now_ms=now_ms())
        self.placer.lost()
        for shard in self._shards.values():
            shard.core.link_down(node)
            if self._links.is_up(node):  # only the stream from it broke, ours to it did not
                shard.core.link_up(node)

    def greeted(self, node: str, incarnation: str) -> None:
        if self.nodes.roster.greeted(node, incarnation):
            self.spawn(self.nodes.read())

    async def who(self, shard: str) -> Present:
        return await self.survivors.who(shard)

    async def probe(self, node: str) -> bool:
        return await self._shared.ask(f"probe {node}", lambda: self._links.probe(node))

    # -- nodes and processes -----------------------------------------------------------------------

    def meet(self) -> None:
        """Links and shards follow the nodes that are known."""
        met = (self.nodes.roster.addresses(), self.nodes.roster.draining)
        if met == self._met:
            return
        known, _ = self._met
        self._met = met
        for node, address in met[0].items():
            if node != self.node:
                self._links.connect(node, address)
        for node in known:
            if node not in met[0]:
                self._links.disconnect(node)
        for name, shard in self._shards.items():
            shard.core.know(self._order(name))
        self.placer.wake()

    def _order(self, shard: str) -> tuple[str, ...]:
        """In which order the nodes try to lead it; those that drain come last."""
        place = sorted(self._specs).index(shard)
        names, draining = self._met
        ranked = order(place, names, self._specs[shard].preferred)
        return tuple(sorted(ranked, key=lambda node: node in draining))

    def _free_store(self, now: int) -> None:
        """A process that was stopped inside its transaction keeps everybody from the store."""
        if self._fence is None or self.store.locked_ms() < LOCKED_MS:
            return
        suspects = [node for shard in self._shards.values() for node in shard.core.suspects()]
        for name, process in self.nodes.processes.items():
            if process.node == self.node or process.node not in suspects:
                continue
            if now - self._fenced.get(name, -FENCE_AGAIN_MS) < FENCE_AGAIN_MS or is_gone(process):
                continue
            self._fenced[name] = now
            self.note("store locked", suspect=process.node, pid=process.pid)
            self.spawn(self._end(self._fence, process))

    async def _end(self, fence: Callable[[Process], Awaitable[bool]], process: Process) -> None:
        await fence(process)

    # -- time --------------------------------------------------------------------------------------

    def gather(self, delay_ms: int) -> None:
        at = self._loop.time() + delay_ms / 1000
        if self._flush_timer is not None:
            if self._flush_at is not None and self._flush_at <= at:
                return
            self._flush_timer.cancel()
        self._flush_at = at
        self._flush_timer = self._loop.call_at(at, self._guard, self._flush)

    def _flush(self) -> None:
        self._flush_timer = None
        for shard in self._shards.values():
            shard.flush()

    def _tick(self) -> None:
        began = self._loop.time()
        late_ms = int((began - self._tick_due) * 1000)
        self.loop_late_max_ms = max(self.loop_late_max_ms, late_ms)
        now = now_ms()
        if late_ms > LATE_MS:
            self.note("loop late", late_ms=late_ms)
        due_ms = now + TICK_MS
        for shard in self._shards.values():
            if late_ms > LATE_MS:
                shard.woke_late(late_ms)
            shard.tick()
            next_ms = shard.next_ms()
            if next_ms is not None and next_ms < due_ms:
                due_ms = next_ms
        self._free_store(now)
        self._tick_due = began + max(1, due_ms - now) / 1000
        self._tick_timer = self._loop.call_at(self._tick_due, self._guard, self._tick)

    def _guard(self, turn: Callable[[], None]) -> None:
        """The loop would only log a bug in our own turn, and this node would turn no more."""
        try:
            turn()
        except Exception as error:  # noqa: BLE001 - the boundary: the process ends, a standby goes on
            self.broken(error)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task of this host; what it raises stops the process."""
        task = self._loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._spawned)
        return task

    def _spawned(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken(error)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop
