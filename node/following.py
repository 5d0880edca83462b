"""Which shards this node has, and what they are told: it follows the centre in the store.

A shard that is declared no more stays, on every node, until its last call has ended: the node where
it is active closes it, the others see that. A node that cannot read the centre, or is behind, goes
on: each shard decides by the newest version that was committed to it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from calls import inputs, view
from calls.centre import Address, Centre, Shard
from cluster.io.host import Host, ShardSpec
from cluster.io.versions import Unreadable
from cluster.store import StoreAway
from gateway_mgmt import plan
from gateway_mgmt.alarms import inputs as gateway_inputs
from gateway_mgmt.alarms import view as gateway_view
from gateway_mgmt.inventory import Inventory
from gateway_mgmt.io.profiles import shipped
from node.configuration import Configuration, Stored
from node.gateway_shard import GatewayShard, Watched
from node.say import say
from node.shard import CallShard

log = structlog.get_logger()


class Wanted(NamedTuple):
    """A shard as the centre has it."""

    version: int
    """0: it is declared no more, and goes when nothing is left of it."""
    preferred: Sequence[str] = ()
    weight: int = 1
    far: Sequence[str] = ()


class Following:
    """The shards of one node by name, and the version of the centre that it knows."""

    def __init__(
        self,
        configuration: Configuration,
        host: Host,
        *,
        make: Callable[[str, Address], CallShard],
        spec: Callable[[CallShard], ShardSpec],
        make_gateways: Callable[[str], GatewayShard],
        gateways_spec: Callable[[GatewayShard], ShardSpec],
    ) -> None:
        """`make(name, sip)`: the IO of a shard of calls; `make_gateways(site)`: of one of alarms;
        `spec(shard)`: how the host runs it, but for the version and the nodes it prefers."""
        self.shards: dict[str, CallShard] = {}
        """Of calls."""
        self.gateways: dict[str, GatewayShard] = {}
        """Of alarms."""
        self.centre = Centre(numbers={}, queues={}, agents={}, shards={})
        self._told = self.centre
        self.version = 0
        self.alarm = ""
        self._configuration = configuration
        self._host = host
        self._make = make
        self._spec = spec
        self._make_gateways = make_gateways
        self._gateways_spec = gateways_spec
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
        self.centre, self.version = stored.centre, stored.number
        wanted = self._wanted()
        for name in self._names():
            if self._host.is_closed(name):
                self._remove(name)
            elif name not in wanted:
                self._host.configured(name, 0, ())  # closed elsewhere, and not seen here yet
        trunks = self.centre.inventory.trunks
        self._told = replace(self.centre, inventory=Inventory(trunks=trunks))
        self._sip = frozenset(shard.sip for shard in self._shards_wanted().values())
        for name, shard in wanted.items():
            if name in self._names():
                self._host.configured(name, shard.version, shard.preferred, shard.weight, shard.far)
            elif shard.version or not await self._is_closed(name):
                self._add(name, shard)
        for name in self._names():
            self.configure(name)

    def is_declared(self, name: str) -> bool:
        """Or does it stay only until nothing of it is left?"""
        site = plan.site_of(name)
        devices = self.centre.inventory.devices.values()
        return any(one.site == site for one in devices) if site else name in self.centre.shards

    def _names(self) -> list[str]:
        return [*self.shards, *self.gateways]

    def _shards_wanted(self) -> dict[str, Shard]:
        """Those of calls, also those that are served out."""
        return self.centre.shards | self.centre.closing

    def _wanted(self) -> dict[str, "Wanted"]:
        """Every shard that is declared, or was and is served out."""
        centre = self.centre
        found = {
            name: Wanted(
                self.version if name in centre.shards else 0,
                shard.preferred,
                shard.weight,
                shard.far,
            )
            for name, shard in self._shards_wanted().items()
        }
        sites = plan.sites_with_devices(centre.inventory)
        for site in sites:
            preferred = centre.inventory.sites[site].preferred
            found[plan.shard_of(site)] = Wanted(self.version, preferred)
        for site in centre.closing_sites:
            found.setdefault(plan.shard_of(site), Wanted(0))
        return found

    async def _is_closed(self, name: str) -> bool:
        try:
            return await self._configuration.is_closed(name)
        except StoreAway:
            return False  # then it is seen later

    def _add(self, name: str, wanted: "Wanted") -> None:
        site = plan.site_of(name)
        if site:
            self.gateways[name] = self._make_gateways(site)
            spec = self._gateways_spec(self.gateways[name])
        else:
            self.shards[name] = self._make(name, self._shards_wanted()[name].sip)
            spec = self._spec(self.shards[name])
        spec.version, spec.preferred = wanted.version, wanted.preferred
        spec.weight, spec.far = wanted.weight, wanted.far
        self._host.add_shard(name, spec)

    def _remove(self, name: str) -> None:
        self._host.remove_shard(name)
        if name in self.gateways:
            self.gateways.pop(name).release()
        else:
            self.shards.pop(name).close()

    def configure(self, name: str) -> None:
        """Tell a shard, if it is served here, what this node knows."""
        if name in self.shards:
            self._host.post(name, inputs.Configure(self._told, self.version))
            return
        shard, centre = self.gateways[name], self.centre
        decided = plan.plan(centre.inventory, shard.site, centre.shards, shipped())
        self._host.post(name, gateway_inputs.Configure(decided, self.version))
        site = centre.inventory.sites.get(shard.site)
        devices = centre.inventory.devices.items()
        shard.declare(
            Watched(
                devices={at: device for at, device in devices if device.site == shard.site},
                profiles=plan.profiles_of(centre.inventory, shipped()),
                traps=site.traps if site else None,
                receivers=centre.inventory.receivers,
                shards=decided.shards,
            )
        )

    def look(self) -> None:
        """Close what is removed and served out. Call it every second or so."""
        for name in self._names():
            if self.is_declared(name):
                continue
            if self._host.is_closed(name):
                self._remove(name)
            elif name not in self._closing:
                self._closing.add(name)
                self._host.spawn(self._close(name))

    async def _close(self, name: str) -> None:
        try:
            is_over = view.is_served_out if name in self.shards else gateway_view.is_served_out
            if await self._host.close_shard(name, self.version, is_over):
                log.info("shard closed", shard=name, version=self.version)
                say(f"shard {name} is closed: it was removed, and nothing of it is left")
        finally:
            self._closing.discard(name)
