"""Which shards this node has, and what they are told: it follows the centre in the store.

A shard that is declared no more stays, on every node, until its last call has ended: the node where
it is active closes it, the others see that. A node that cannot read the centre, or is behind, goes
on: each shard decides by the newest version that was committed to it.
"""

from collections.abc import Callable

import structlog
from msgspec.structs import replace

from calls import inputs, view
from calls.centre import Address, Centre, Shard
from cluster.io.host import Host, ShardSpec
from cluster.io.versions import Unreadable
from cluster.store import StoreAway
from gateway_mgmt.inventory import NONE
from node.configuration import Configuration, Stored
from node.say import say
from node.shard import CallShard

log = structlog.get_logger()


class Following:
    """The shards of one node by name, and the version of the centre that it knows."""

    def __init__(
        self,
        configuration: Configuration,
        host: Host,
        *,
        make: Callable[[str, Address], CallShard],
        spec: Callable[[CallShard], ShardSpec],
    ) -> None:
        """`make(name, sip)`: a shard's IO; `spec(shard)`: how the host runs it, but for the version
        and the nodes it prefers."""
        self.shards: dict[str, CallShard] = {}
        self.centre = Centre(numbers={}, queues={}, agents={}, shards={})
        self._told = self.centre
        self.version = 0
        self.alarm = ""
        self._configuration = configuration
        self._host = host
        self._make = make
        self._spec = spec
        self._sip: frozenset[Address] = frozenset()
        self._closing: set[str] = set()

    def is_shard(self, address: Address) -> bool:
        """Is it the SIP address of any shard, here or not?"""
        return address in self._sip

    async def begin(self, first: Callable[[], Centre], *, by: str) -> None:
        """Know what stands before anything else; `first()` if nothing does.

        Raises StoreAway, StoreRefused, and what `first` raises.
        """
        await self._adopt(await self._configuration.first(first, by=by))

    async def follow(self) -> None:
        """Do what each new version asks for; for ever."""
        async for found in self._configuration.follow():
            if isinstance(found, Unreadable):
                self._complain(f"the centre in the store cannot be read ({found})")
            elif found.number < self.version:
                self._complain(f"the store has version {found.number} of the centre")
            elif found.number > self.version:
                self.alarm = ""
                await self._adopt(found)
                log.info("centre followed", version=found.number, by=found.by)
            else:
                self.alarm = ""

    def _complain(self, what: str) -> None:
        self.alarm = f"{what}; version {self.version} goes on"
        log.error("centre not followed", why=what, version=self.version)

    async def _adopt(self, stored: Stored) -> None:
        centre = stored.centre
        wanted = centre.shards | centre.closing
        for name in list(self.shards):
            if self._host.is_closed(name):
                self._remove(name)
            elif name not in wanted:
                self._host.configured(name, 0, ())  # closed elsewhere, and not seen here yet
        self.centre, self.version = centre, stored.number
        self._told = replace(centre, inventory=NONE)
        self._sip = frozenset(shard.sip for shard in wanted.values())
        for name, shard in wanted.items():
            if name in self.shards:
                self._host.configured(
                    name, self._version_of(name), shard.preferred, shard.weight, shard.far
                )
            elif name in centre.shards or not await self._is_closed(name):
                self._add(name, shard)
        for name in self.shards:
            self.configure(name)

    async def _is_closed(self, name: str) -> bool:
        try:
            return await self._configuration.is_closed(name)
        except StoreAway:
            return False  # then it is seen later

    def _version_of(self, name: str) -> int:
        return self.version if name in self.centre.shards else 0

    def _add(self, name: str, shard: Shard) -> None:
        made = self.shards[name] = self._make(name, shard.sip)
        spec = self._spec(made)
        spec.version, spec.preferred = self._version_of(name), shard.preferred
        spec.weight, spec.far = shard.weight, shard.far
        self._host.add_shard(name, spec)

    def _remove(self, name: str) -> None:
        self._host.remove_shard(name)
        self.shards.pop(name).close()

    def configure(self, name: str) -> None:
        """Tell a shard, if it is served here, what this node knows."""
        self._host.post(name, inputs.Configure(self._told, self.version))

    def look(self) -> None:
        """Close what is removed and served out. Call it every second or so."""
        for name in [name for name in self.shards if name not in self.centre.shards]:
            if self._host.is_closed(name):
                self._remove(name)
            elif name not in self._closing:
                self._closing.add(name)
                self._host.spawn(self._close(name))

    async def _close(self, name: str) -> None:
        try:
            if await self._host.close_shard(name, self.version, view.is_served_out):
                log.info("shard closed", shard=name, version=self.version)
                say(f"shard {name} is closed: it was removed, and its last call has ended")
        finally:
            self._closing.discard(name)
