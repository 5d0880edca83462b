"""One node: its shards of calls, their SIP addresses, the media server's line, database and API.

Here the packages meet: `cluster.io.host` runs `calls.machine`, what its steps ask for is performed
by `node.shard`, and an address that must move is moved by `failover`.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc.aio
import structlog

from calls import inputs, view
from calls.agents import STATES
from calls.centre import Address, Centre
from calls.effects import Publish
from calls.elsewhere import Elsewhere, elsewhere
from calls.machine import Calls
from calls.records import Event
from cluster.io.clock import wall_ms
from cluster.io.host import Host, ShardSpec
from cluster.io.process import this_process
from cluster.io.security import Open, Secure
from cluster.placement import Policy
from cluster.store import StoreAway, member_id, node_of, process_of
from cluster.switch import Switch
from failover.io.bind import BindDriver
from failover.io.inbox import SocketInbox
from gateway_mgmt.alarms.machine import Alarms
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.plan import plan
from media_servers.io.client import Client
from media_servers.verbs import Event as MediaEvent
from node import applying, orders, stores
from node.account import Account
from node.api import NotHere, Refused, Wanted, serve_api
from node.belonging import belong
from node.between import Between, serve_between
from node.config import ConfigError, load_centre
from node.configuration import Configuration
from node.directory import Directory
from node.events_db import EventsDb
from node.following import Following
from node.gateway_metrics import GatewaySamples
from node.gateway_shard import GatewayShard, engine_id
from node.gateways import Gateways
from node.gateways_api import serve_gateways_api
from node.lost import left_behind
from node.messages import MessageRing
from node.metrics import Metrics
from node.options import NodeOptions
from node.outbox import OutboxDrain
from node.overload import COMMIT_MS_MAX, LAG_MS_MAX, Lag, is_overloaded
from node.promote import promote
from node.say import say
from node.shard import CallShard
from sip.message import Message
from sip.uri import user_of

LAG_LOOK_MS = 20
"""How often the event loop's lateness is looked at."""
MEDIA_AWAY_MS = 2_000
"""A media server that died is back by then, and new calls wait for it; after that they get 503."""
ORDINARY = ("elected", "serving", "deposed", "store back")
"""What a shard notes without anybody having to look after it."""

log = structlog.get_logger()


class Node:
    """What `keepline node` runs."""

    def __init__(self, options: NodeOptions, broken: Callable[[BaseException], None]) -> None:
        """`broken`: a bug has left the node in a state that is not to be believed.

        Raises NotSecure.
        """
        self.options = options
        self.directory = Directory(options.data)
        self.database = EventsDb(self.directory.events)
        self.ring = MessageRing()
        self.metrics = Metrics()
        self.metrics_port = 0
        self.draining = False
        self._adopted: dict[str, int] = {}  # calls of a shard when this node took it over
        self._lag = Lag()
        self._lag_timer: asyncio.TimerHandle | None = None
        self._sampler: asyncio.TimerHandle | None = None
        self.media = Client(
            str(self.directory.media_socket),
            options.name,
            on_event=self._on_media_event,
            on_up=self._on_media_up,
        )
        self.store = stores.make(options.store, self.directory, note)
        self.store_name = stores.name(options.store, self.directory)
        self.configuration = Configuration(self.store)
        self._security = security = (
            Secure(options.tls, node=options.name) if options.tls else Open()
        )
        self.host = Host(
            node=options.name,
            peers=options.peers,
            store=self.store,
            shards={},
            site=options.site,
            policy=Policy(steady_ms=options.steady_ms),
            data_dir=self.directory.path,
            note=note,
            broken=broken,
            fence=lambda process: self.mover.fence(process),
            security=security,
            services=self._serve,
            journal=options.journal,
            tails=options.tails,
        )
        self.following = Following(
            self.configuration,
            self.host,
            make=self._make_shard,
            spec=self._spec,
            make_gateways=self._make_gateways,
            gateways_spec=self._gateways_spec,
        )
        self.shards = self.following.shards
        """Of calls."""
        self.between = Between(self.host, security, calls=lambda: self.centre.shards)
        self.gateways = Gateways(self.host, self.following.gateways)
        self._cluster = ""
        self.gateway_samples = GatewaySamples(self.gateways)
        self.inbox = SocketInbox(inbox_of(member_id(options.name, self.host.incarnation)))
        self.mover = BindDriver(
            me=this_process(options.name, self.host.incarnation, options.listen, wall_ms()),
            peers=self.host,
            bind=lambda name: self.shards[name].bind(),
            address=lambda name: self.shards[name].sip,
            note=note,
            inbox=self.inbox,
            adopt=lambda name, sock: self.shards[name].adopt(sock),
        )
        self._account = Account(self)

    @property
    def centre(self) -> Centre:
        """As this node knows it."""
        return self.following.centre

    def _make_shard(self, name: str, sip: Address) -> CallShard:
        return CallShard(
            name,
            sip,
            media=self.media,
            database=self.database,
            ring=self.ring,
            refuse=self.refuse,
            knows=self._knows,
            elsewhere=self._elsewhere,
            is_shard=self.following.is_shard,
            is_late=lambda: self._lag.ms > LAG_MS_MAX,
            find_lost=self._find_lost,
            is_slow=self._is_slow,
            give_away=self._give_away,
            post=self._post,
        )

    def _spec(self, shard: CallShard) -> ShardSpec:
        return ShardSpec(
            machine=lambda: Calls(shard.name, shard.sip, self.centre),
            perform=shard.perform,
            preferred=(),
            move_address=lambda which, old: self.mover.move(which, old),
            on_serving=self._serving,
            on_deposed=lambda which: self._deposed(shard),
            on_switched=self._switched,
            on_held=lambda which, held: shard.hold(held),
            let_go=lambda which, inbox: shard.let_go(inbox),
        )

    def _make_gateways(self, site: str) -> GatewayShard:
        return GatewayShard(
            site,
            engine_id=engine_id(self._cluster, site),
            post=self._post,
            tell=self.between.tell,
            callers=self.between.callers,
            standing=self.gateways.standing,
        )

    def _gateways_spec(self, shard: GatewayShard) -> ShardSpec:
        async def stays(which: str, old: str) -> None:
            """It has no address that moves."""

        def serve(which: str, lost: bool) -> None:
            shard.serve(lambda: self.following.configure(which))

        return ShardSpec(
            machine=lambda: Alarms(
                plan(self.centre.inventory, shard.site, self.centre.shards, shipped())
            ),
            perform=shard.perform,
            preferred=(),
            move_address=stays,
            on_serving=serve,
            on_deposed=lambda which: shard.release(),
            on_switched=self._site_switched,
            on_held=lambda which, held: shard.hold(held),
        )

    def _serve(self, server: grpc.aio.Server) -> None:
        serve_api(server, self)
        serve_gateways_api(server, self.gateways)
        serve_between(server, self.between)

    # Life.

    async def start(self) -> None:
        """Raises OSError, StoreAway, StoreRefused, ConfigError: the node cannot run here."""
        # What may fail comes first: a node that has joined and ends at once costs a takeover.
        await self.store.open()
        self._cluster = await belong(self.store, self.store_name, self.directory)
        try:
            self.metrics_port = self.metrics.serve("127.0.0.1", self.options.metrics_port)
        except OSError as error:
            address = f"127.0.0.1:{self.options.metrics_port}"
            why = f"cannot serve /metrics on {address}: {error.strerror}"
            raise OSError(error.errno, why) from None
        await self.following.begin(self._first_centre, by=f"node {self.options.name}")
        self.database.start()
        await self.media.start()
        self.inbox.open(asyncio.get_running_loop())
        await self.host.start()
        self.host.spawn(self.following.follow())
        self.host.spawn(self.gateway_samples.run())
        self._sample()
        self._watch_lag(asyncio.get_running_loop().time())

    def _first_centre(self) -> Centre:
        """The one to begin with, where the store has none."""
        if self.options.centre is None:
            raise ConfigError(f"{self.store_name}: has no centre yet; --centre CENTRE.yaml")
        return load_centre(self.options.centre)

    async def stop(self) -> None:
        """In order: hand over or leave a snapshot, then let go of everything."""
        self.draining = True
        await self.host.stop()
        self.inbox.close()
        for shard in self.shards.values():
            shard.close()
        await asyncio.gather(*(one.close() for one in self.following.gateways.values()))
        await self.between.close()
        for timer in (self._sampler, self._lag_timer):
            if timer is not None:
                timer.cancel()
        self.metrics.close()
        await self.media.close()
        await self.store.close()
        self.database.close()

    # Events.

    def _post(self, shard: str, event: Any) -> None:
        self.host.post(shard, event)

    def _on_media_event(self, shard: str, event: MediaEvent) -> None:
        if shard in self.shards:
            self.shards[shard].on_media_event(event)

    def _on_media_up(self, server: str) -> None:
        log.info("media server up", server=server)
        for name in self.served():
            self.shards[name].compare_media()

    def served(self) -> list[str]:
        """The shards of calls that are active here."""
        shards = self.host.shards
        return [name for name in self.shards if name in shards and shards[name].state().serving]

    def _serving(self, name: str, lost: bool) -> None:
        state = self.host.shard(name).state()
        self.shards[name].serve(state.epoch)
        self._adopted[name] = view.counts(self.host.shard(name).records)["calls"]
        say(f"shard {name} is served by {self.options.name}, epoch {state.epoch}")
        self.following.configure(name)

    def _deposed(self, shard: CallShard) -> None:
        """Where the store says who leads now, he has the address at once: cut off from us, he could
        not ask for it. Otherwise it waits for him to ask.
        """
        core = self.host.shard(shard.name).core
        heir = core.key.active if core.key is not None and core.key.epoch == core.epoch else ""
        if heir and node_of(heir) != self.options.name:
            shard.pass_on(inbox_of(heir))
        shard.release()

    def _switched(self, name: str, switch: Switch) -> None:
        """The switch becomes a fact of its own: it is in the database as long as its calls are."""
        fields = switch.document() | {"to": self.options.name, "calls": self._adopted.pop(name, 0)}
        log.info("switched", shard=name, epoch=switch.epoch, **fields)
        self._post(name, inputs.Switched(fields))

    def _site_switched(self, name: str, switch: Switch) -> None:
        """A shard of alarms keeps no facts for the database: this one goes there by itself."""
        fields: dict[str, Any] = switch.document() | {"to": self.options.name}
        log.info("switched", shard=name, epoch=switch.epoch, **fields)
        fact = Event(f"{name}/{switch.epoch}/switched", wall_ms(), "failover", "", fields)
        drain = OutboxDrain(name, self.database, lambda drained: None)
        drain.publish(Publish(fact.id, [fact]))

    def _knows(self, name: str, invite: Message) -> bool:
        shard = self.host.shard(name)
        assert isinstance(shard.machine, Calls)
        return shard.machine.knows(shard.records, invite)

    def _elsewhere(self, name: str, msg: Message) -> Elsewhere | None:
        """Where a request belongs that is about no call of this shard, by what it has committed."""
        number = user_of(msg.uri)
        machine = self.host.shard(name).machine
        assert isinstance(machine, Calls)
        found = elsewhere(machine.book.declared, name, number) if number else None
        return None if found is None or self._knows(name, msg) else found

    def _is_slow(self, name: str) -> bool:
        """Can nothing of the shard be answered in time, for another reason than its socket?"""
        return self._lag.ms > LAG_MS_MAX or self.host.shard(name).commit_age_ms() > COMMIT_MS_MAX

    def _give_away(self, name: str) -> None:
        """This node is alive in all but its SIP side: another one shall have the shard."""
        log.error("sip side dead", shard=name, node=self.options.name)
        self._post(name, inputs.SipDead(self.options.name))
        self.host.spawn(self._hand_over(name))

    async def _hand_over(self, name: str) -> None:
        """It stays there: nothing says that this node can serve it again."""
        with suppress(StoreAway):
            for node in self.host.shard(name).core.successors():
                if await self.host.switch_over(name, node):
                    return
        log.error("no node could take the shard", shard=name, node=self.options.name)

    def _find_lost(self, name: str, epoch: int) -> None:
        self.host.spawn(self._close_lost(name, epoch))

    async def _close_lost(self, name: str, epoch: int) -> None:
        """Every copy of the shard was lost before `epoch`: the calls open then have failed."""
        here = self.host.shard(name).core.epoch

        def is_ours() -> bool:
            state = self.host.shard(name).state()
            return state.serving and state.epoch == here

        known = await left_behind(self.directory.events, name, epoch, is_ours=is_ours)
        if known is None:
            return
        log.error("cluster lost", shard=name, epoch=epoch, open_calls=len(known.calls))
        say(f"shard {name}: every copy was lost, with {len(known.calls)} open calls")
        self._post(name, known)

    def refuse(self, shard: str) -> str:
        """Why this node takes no new call of the shard now; empty: it does."""
        if self.draining and not self.host.shard(shard).core.successors():
            return "draining"  # a shard that can be handed over takes its new calls along
        if self.media.away_ms > MEDIA_AWAY_MS:
            return "no_media"
        commit_ms = self.shards[shard].commit_lag.ms
        return "overload" if is_overloaded(lag_ms=self._lag.ms, commit_ms=commit_ms) else ""

    def _watch_lag(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        late_ms = (loop.time() - due) * 1000
        self._lag.saw(late_ms, late_ms + LAG_LOOK_MS)
        for name, shard in self.shards.items():
            shard.commit_lag.saw(self.host.shard(name).commit_age_ms(), late_ms + LAG_LOOK_MS)
        due = loop.time() + LAG_LOOK_MS / 1000
        self._lag_timer = loop.call_at(due, self._watch_lag, due)

    # The API.

    async def read(self, what: str, call: str, limit: int) -> Any:
        """One document of this node, once what it shows is committed."""
        match what:
            case "status":
                return await self._account.status()
            case "nodes":
                return dict(self.host.addresses)
            case "calls" | "queues" | "agents":
                return await self._account.rows(what)
            case "cdr" | "events" | "failovers" | "trace":
                try:
                    return await asyncio.to_thread(self._account.history, what, call, limit)
                except sqlite3.Error as error:
                    raise Refused(f"the database of events cannot be read: {error}") from None
            case _:
                raise Refused(f"no document {what!r}")

    async def drain(self, node: str, timeout_ms: int) -> Any:
        return await orders.drain(self.host, node, timeout_ms)

    async def undrain(self, node: str) -> Any:
        return await orders.undrain(self.host, node)

    async def forget(self, node: str) -> Any:
        return await orders.forget(self.host, node)

    async def switchover(self, shard: str, to: str) -> Any:
        return await orders.switchover(self.host, shard, to)

    async def promote(self, shard: str, *, yes: bool, read: str) -> Any:
        """Go on with what this node has of a shard that nobody leads."""
        return await promote(self.host, shard, yes=yes, read=read)

    async def set_agent(self, agent: str, state: str, reason: str) -> Any:
        """Bring an agent into a state; the state he is in now."""
        centre = self.centre
        if agent not in centre.agents:
            raise Refused(f"no agent {agent}")
        if state not in STATES:
            raise Refused(f"{state!r} is no state to ask for: {', '.join(STATES)}")
        shard = centre.shard_of_agent(agent)
        if not self.host.post(shard, inputs.SetAgent(agent, state, reason)):
            raise NotHere(f"shard {shard} is not active on {self.options.name}")
        if not await self.host.committed(shard):
            raise NotHere(f"shard {shard} has just left {self.options.name}")
        here = self.host.shard(shard)
        rows = view.agents(here.records, shard, here.time_ms())
        for row in rows:
            if row["agent"] == agent:
                return row
        raise Refused(f"shard {shard} has not heard of agent {agent} yet")

    async def config(self, version: int) -> Any:
        return await self.configuration.show(version)

    async def config_history(self) -> Any:
        return await self.configuration.history()

    async def apply(self, wanted: Wanted) -> Any:
        return await applying.apply(self.configuration, self.host.addresses, wanted, self._security)

    # Figures.

    def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        self._sampler = loop.call_later(1.0, self._sample)
        self.following.look()
        self.metrics.samples = self._account.samples()
        self.host.loop_late_max_ms = 0


def inbox_of(member: str) -> str:
    """Where the process of a member takes the sockets that are passed to it."""
    return f"keepline-{node_of(member)}-{process_of(member)}"


def note(what: str, **fields: object) -> None:
    """What `cluster` and `failover` tell."""
    (log.info if what in ORDINARY else log.warning)(what, **fields)
