"""One node: its shards of calls, their SIP addresses, the media server's line, database and API.

Here the packages meet: `cluster.io.host` runs `calls.machine`, what its steps ask for is performed
by `node.shard`, and an address that must move is moved by `failover`.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from calls import inputs, view
from calls.agents import STATES
from calls.centre import Centre
from calls.machine import Calls
from cluster.io.clock import wall_ms
from cluster.io.host import Host, ShardSpec
from cluster.io.process import this_process
from cluster.io.sqlite import SqliteStore
from cluster.store import Process, StoreAway
from failover.io.bind import BindDriver
from media_servers.io.client import Client
from media_servers.verbs import Event
from node import events_db
from node.api import NotHere, Refused, serve_api
from node.config import load_centre
from node.directory import Directory
from node.events_db import EventsDb
from node.messages import MessageRing
from node.metrics import Metrics, Sample
from node.options import NodeOptions
from node.overload import Lag, is_overloaded
from node.say import say
from node.shard import CallShard

LAG_LOOK_MS = 20
"""How often the event loop's lateness is looked at."""
MEDIA_NAME = "embedded"

log = structlog.get_logger()


class Node:
    """What `keepline node` runs."""

    def __init__(self, options: NodeOptions, centre: Centre) -> None:
        self.options = options
        self.centre = centre
        self.directory = Directory(options.data)
        self.database = EventsDb(self.directory.events)
        self.ring = MessageRing()
        self.metrics = Metrics()
        self.metrics_port = 0
        self.draining = False
        self.broken: asyncio.Future[BaseException] | None = None
        self._lag = Lag()
        self._commit_lags = {name: Lag() for name in centre.shards}
        self._lag_timer: asyncio.TimerHandle | None = None
        self._sampler: asyncio.TimerHandle | None = None
        self.media = Client(
            str(self.directory.media_socket),
            options.name,
            on_event=self._on_media_event,
            on_up=self._on_media_up,
        )
        self.store = SqliteStore(self.directory.store)
        self.shards = {
            name: CallShard(
                name,
                shard.sip,
                media=self.media,
                database=self.database,
                ring=self.ring,
                refuse=self.refuse,
                post=self._post,
            )
            for name, shard in centre.shards.items()
        }
        nodes = sorted(options.peers)
        self.host = Host(
            node=options.name,
            peers=options.peers,
            store=self.store,
            shards={
                name: self._spec(name, preferred(centre, name, nodes)) for name in centre.shards
            },
            data_dir=self.directory.path,
            note=lambda what, **fields: log.info(what, **fields),
            broken=self._broke,
            fence=self._fence,
            services=lambda server: serve_api(server, self),
        )
        self.mover = BindDriver(
            me=this_process(options.name, self.host.incarnation, options.listen, wall_ms()),
            peers=self.host,
            bind=lambda name: self.shards[name].bind(),
            address=lambda name: centre.shards[name].sip,
            note=lambda what, **fields: log.warning(what, **fields),
        )

    def _spec(self, name: str, nodes: Sequence[str]) -> ShardSpec:
        shard = self.shards[name]

        def serving(shard_name: str, lost: bool) -> None:
            self._serving(shard_name, lost)

        return ShardSpec(
            machine=lambda: Calls(name, shard.sip, self.centre),
            perform=shard.perform,
            preferred=nodes,
            move_address=lambda which, old: self.mover.move(which, old),
            on_serving=serving,
            on_deposed=lambda which: shard.release(),
        )

    # Life.

    async def start(self) -> None:
        """Raises OSError, StoreAway, sqlite3.Error: the node cannot run here."""
        self.broken = asyncio.get_running_loop().create_future()
        self.database.start()
        await self.store.open()
        await self.media.start()
        await self.host.start()
        self.metrics_port = self.metrics.serve("127.0.0.1", self.options.metrics_port)
        self._sample()
        self._watch_lag(asyncio.get_running_loop().time())
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def stop(self) -> None:
        """In order: hand over or leave a snapshot, then let go of everything."""
        self.draining = True
        await self.host.stop()
        for timer in (self._sampler, self._lag_timer):
            if timer is not None:
                timer.cancel()
        self.metrics.close()
        await self.media.close()
        self.store.close()
        self.database.close()

    def _broke(self, error: BaseException) -> None:
        log.error("node stops", error=repr(error))
        if self.broken is not None and not self.broken.done():
            self.broken.set_result(error)

    async def _fence(self, process: Process) -> bool:
        return await self.mover.fence(process)

    # Events.

    def _post(self, shard: str, event: Any) -> None:
        self.host.post(shard, event)

    def _on_media_event(self, shard: str, event: Event) -> None:
        if shard in self.shards:
            self.shards[shard].on_media_event(event)

    def _on_media_up(self, server: str) -> None:
        log.info("media server up", server=server)
        for name, state in self.host.states().items():
            if state.serving:
                self.shards[name].compare_media()

    def _serving(self, name: str, lost: bool) -> None:
        state = self.host.shard(name).state()
        self.shards[name].serve(state.epoch)
        say(f"shard {name} is served by {self.options.name}, epoch {state.epoch}")
        self._post(name, inputs.Configure(self.centre))
        if lost:
            known = events_db.read_lost(self.directory.events, name)
            log.error("cluster lost", shard=name, epoch=state.epoch, open_calls=len(known.calls))
            say(f"shard {name}: every copy was lost, with {len(known.calls)} open calls")
            self._post(name, known)

    def refuse(self, shard: str) -> str:
        """Why this node takes no new call of the shard now; empty: it does."""
        if self.draining:
            return "draining"
        if not self.media.is_up:
            return "no_media"
        commit_ms = self._commit_lags[shard].ms
        return "overload" if is_overloaded(lag_ms=self._lag.ms, commit_ms=commit_ms) else ""

    def _watch_lag(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        late_ms = (loop.time() - due) * 1000
        self._lag.saw(late_ms, late_ms + LAG_LOOK_MS)
        for name, lag in self._commit_lags.items():
            lag.saw(self.host.shard(name).commit_age_ms(), late_ms + LAG_LOOK_MS)
        due = loop.time() + LAG_LOOK_MS / 1000
        self._lag_timer = loop.call_at(due, self._watch_lag, due)

    # The API.

    async def read(self, what: str, call: str, limit: int) -> Any:
        """One document of this node, once what it shows is committed."""
        match what:
            case "status":
                return await self._status()
            case "calls" | "queues" | "agents":
                return await self._rows(what)
            case "cdr":
                return await asyncio.to_thread(
                    events_db.read_cdr, self.directory.events, call=call, limit=limit
                )
            case "events":
                return await asyncio.to_thread(
                    events_db.read_events, self.directory.events, call=call, limit=limit
                )
            case "trace":
                return await asyncio.to_thread(self._trace, call)
            case _:
                raise Refused(f"no document {what!r}")

    async def _status(self) -> dict[str, Any]:
        shards = []
        for name, state in self.host.states().items():
            host, port = self.centre.shards[name].sip
            row = {
                "name": name,
                "role": state.role,
                "epoch": state.epoch,
                "active": state.active,
                "in_sync": list(state.in_sync),
                "serving": state.serving,
                "sip": f"udp:{host}:{port}",
                "calls": 0,
                "waiting": 0,
                "talking": 0,
                "ledger": {},
            }
            if state.serving and await self.host.committed(name):
                records = self.host.shard(name).records
                row |= view.counts(records) | {"ledger": view.ledger(records)}
            shards.append(row)
        return {
            "node": {
                "name": self.options.name,
                "pid": os.getpid(),
                "site": self.options.site,
                "alive": True,
                "metrics": f"127.0.0.1:{self.metrics_port}",
            },
            "peers": self.options.peers,
            "shards": shards,
            "media": [{"name": MEDIA_NAME, "up": self.media.is_up}],
            "alarms": self._alarms(),
        }

    def _alarms(self) -> list[str]:
        found = [shard.outbox.alarm for shard in self.shards.values() if shard.outbox.alarm]
        if not self.media.is_up:
            found.append(f"media server {MEDIA_NAME} is not reached by {self.options.name}")
        for name, state in self.host.states().items():
            if state.serving and len(state.in_sync) == 1 and len(self.options.peers) > 1:
                found.append(f"shard {name} has no standby in sync: one more failure loses calls")
            if state.serving:
                missing = view.ledger(self.host.shard(name).records)["unaccounted"]
                if missing:
                    found.append(f"shard {name}: {missing} calls are unaccounted for")
        return found

    async def _rows(self, what: str) -> list[dict[str, Any]]:
        rows = []
        for name, state in self.host.states().items():
            if not state.serving or not await self.host.committed(name):
                continue
            shard = self.host.shard(name)
            now = shard.time_ms()
            match what:
                case "calls":
                    found = view.calls(shard.records, now)
                case "queues":
                    found = view.queues(shard.records, name, now)
                case _:
                    found = view.agents(shard.records, name, now)
            rows += [row | {"shard": name, "epoch": state.epoch} for row in found]
        return rows

    def _trace(self, call: str) -> dict[str, Any]:
        found = events_db.read_events(self.directory.events, call=call)
        call_ids = {event["call_id"] for event in found if event.get("call_id")} | {call}
        return {
            "call": found[0]["call"] if found else call,
            "events": found,
            "messages": self.ring.of(call_ids, self.options.name),
        }

    async def drain(self, timeout_ms: int) -> Any:
        """Hand every shard that is active here to another node; then new calls go there."""
        async with asyncio.timeout(timeout_ms / 1000):
            moved = await self.host.drain()
        stayed = [name for name, node in moved.items() if not node]
        if stayed:
            raise Refused(f"no other node could take {', '.join(stayed)}")
        return {"node": self.options.name, "moved": moved}

    async def set_agent(self, agent: str, state: str, reason: str) -> Any:
        """Bring an agent into a state; the state he is in now."""
        if agent not in self.centre.agents:
            raise Refused(f"no agent {agent}")
        if state not in STATES:
            raise Refused(f"{state!r} is no state to ask for: {', '.join(STATES)}")
        shard = self.centre.queues[self.centre.agents[agent].queues[0]].shard
        if not self.host.post(shard, inputs.SetAgent(agent, state, reason)):
            raise NotHere(f"shard {shard} is not active on {self.options.name}")
        if not await self.host.committed(shard):
            raise NotHere(f"shard {shard} has just left {self.options.name}")
        here = self.host.shard(shard)
        rows = view.agents(here.records, shard, here.time_ms())
        return next(row for row in rows if row["agent"] == agent)

    # Figures.

    def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        self._sampler = loop.call_later(1.0, self._sample)
        samples = [Sample("keepline_media_up", float(self.media.is_up), {})]
        for name, state in self.host.states().items():
            label = {"shard": name}
            samples += [
                Sample("keepline_shard_active", float(state.role == "active"), label),
                Sample("keepline_shard_epoch", state.epoch, label),
                Sample("keepline_shard_in_sync", len(state.in_sync), label),
            ]
            if not state.serving:
                continue
            shard = self.shards[name]
            records = self.host.shard(name).records
            for kind, value in view.counts(records).items():
                if kind != "calls":
                    samples.append(Sample("keepline_calls", value, label | {"state": kind}))
            for kind, value in view.ledger(records).items():
                samples.append(Sample("keepline_ledger", value, label | {"class": kind}))
            for kind, value in shard.counters.items():
                samples.append(Sample("keepline_sip_messages_total", value, label | {"kind": kind}))
            samples.append(Sample("keepline_outbox_bytes", shard.outbox.bytes, label))
        samples.append(Sample("keepline_loop_lag_seconds", self.host.loop_late_max_ms / 1000, {}))
        self.host.loop_late_max_ms = 0
        samples.append(Sample("keepline_alarms", len(self._alarms()), {}))
        self.metrics.samples = samples


def preferred(centre: Centre, shard: str, nodes: Sequence[str]) -> list[str]:
    """All nodes, best first: those the centre names, then the others, each shard from another."""
    named = [node for node in centre.shards[shard].preferred if node in nodes]
    start = list(centre.shards).index(shard) % len(nodes)
    rest = [*nodes[start:], *nodes[:start]]
    return named + [node for node in rest if node not in named]


def log_to(path: Path) -> None:
    """structlog as one JSON object a line, appended to `path`."""
    file = path.open("a", buffering=1)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=True,
    )


async def run_node(options: NodeOptions) -> None:
    """Run until SIGTERM or SIGINT; a node that no longer believes its own state exits with 70."""
    directory = Directory(options.data)
    directory.prepare()
    log_to(directory.logs / f"{options.name}.log")
    node = Node(options, load_centre(options.centre))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await node.start()
    except (OSError, StoreAway) as error:
        print(f"keepline node {options.name}: cannot start: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    log.info("node up", node=options.name, pid=os.getpid(), metrics=node.metrics_port)
    assert node.broken is not None
    node.broken.add_done_callback(lambda _: stop.set())
    await stop.wait()
    if node.broken.done():
        os._exit(70)  # at once: what is in memory is not to be believed
    await node.stop()
