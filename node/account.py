"""What a node says of itself: to whoever asks over the API, and to Prometheus."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from calls import view
from gateway_mgmt.alarms import view as gateway_view
from node import events_db
from node.gateways import summary
from node.metrics import Sample

if TYPE_CHECKING:
    from node.node import Node

COMMIT_WAIT_MS = 300
"""A status waits so long for the commit of what it shows, then it does without the figures."""
SILENT_MS = 1_000
"""A shard that has not committed for so long is an alarm."""
MEDIA_NAME = "embedded"


class Account:
    """Of one node; it changes nothing."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._host = node.host
        self._name = node.options.name

    # Over the API.

    async def status(self) -> dict[str, Any]:
        """As `node.merge.status` takes it."""
        shards = []
        missing = {}
        moving = self._host.placer.moving()
        for name, state in self._host.states().items():
            if self._host.is_closed(name):
                continue
            row: dict[str, Any] = {
                "name": name,
                "role": state.role,
                "epoch": state.epoch,
                "active": state.active,
                "in_sync": list(state.in_sync),
                "serving": state.serving,
                "far": [
                    {"node": node, "behind": state.far.get(node)}
                    for node in self._host.specs[name].far
                ],
                "sip": "",
                "calls": 0,
                "waiting": 0,
                "talking": 0,
                "ledger": {},
                "moving": to_builtins(moving[name]) if name in moving else None,
                "version": 0,
                "removed": not self._node.following.is_declared(name),
            }
            if name in self._node.shards:
                host, port = self._node.shards[name].sip
                row["sip"] = f"udp:{host}:{port}"
            if name not in self._node.shards:
                records = self._host.shard(name).records
                row["version"] = gateway_view.version(records) if state.serving else 0
            elif state.serving and await self._committed(name):
                records = self._host.shard(name).records
                live = view.counts(records)
                ledger = view.ledger(records, live)
                row |= live | {"ledger": ledger, "version": view.version(records)}
                missing[name] = ledger["unaccounted"]
            shards.append(row)
        return {
            "node": {
                "name": self._name,
                "pid": os.getpid(),
                "site": self._node.options.site,
                "alive": True,
                "metrics": f"127.0.0.1:{self._node.metrics_port}",
            },
            "peers": dict(self._host.addresses),
            "draining": sorted(self._host.nodes.roster.draining),
            "centre": {"version": self._node.following.version},
            "shards": shards,
            "store": {"name": self._node.store_name, "answers": self._node.store.silent_ms() == 0},
            "media": [{"name": MEDIA_NAME, "up": self._node.media.is_up}],
            "alarms": self.alarms(missing),
        }

    def alarms(self, missing: Mapping[str, int]) -> list[str]:
        """`missing`: the calls that are unaccounted for, of each shard that is served here."""
        found = [shard.outbox.alarm for shard in self._node.shards.values() if shard.outbox.alarm]
        found += self._host.link_alarms
        if self._node.database.alarm:
            found.append(f"{self._name}: {self._node.database.alarm}")
        if not self._node.media.is_up:
            found.append(f"media server {MEDIA_NAME} is not reached by {self._name}")
        if self._node.store.silent_ms() > SILENT_MS:
            found.append(
                f"{self._node.store_name} does not answer {self._name}: "
                "calls go on, and nobody can take over"
            )
        if self._node.options.store.is_file and not self._node.directory.store.exists():
            found.append(
                f"{self._node.directory.store} was removed: the nodes that run go on without it, "
                "and none that stops can come back"
            )
        if self._node.following.alarm:
            found.append(f"{self._name}: {self._node.following.alarm}")
        for name, shard in self._node.shards.items():
            if shard.probe.is_dead:
                where = f"{shard.sip[0]}:{shard.sip[1]}"
                found.append(f"shard {name}: {where} does not answer on {self._name}")
        for name, state in self._host.states().items():
            if state.serving and len(state.in_sync) == 1 and len(self._host.addresses) > 1:
                found.append(f"shard {name} has no standby in sync: one more failure loses calls")
            silent_ms = self._host.shard(name).commit_age_ms()
            if state.serving and silent_ms > SILENT_MS:
                found.append(
                    f"shard {name} has committed nothing for {silent_ms // 1_000} s: "
                    "a standby is gone and the store does not answer"
                )
            if state.journal:
                found.append(f"shard {name}: {self._name} keeps no journal of it: {state.journal}")
            if state.stuck:
                found.append(
                    f"shard {name} has nobody who may lead it; {self._name} has "
                    f"{state.stuck}; keepline promote {name} --from {self._name}"
                )
            if state.serving and missing.get(name):
                found.append(f"shard {name}: {missing[name]} calls are unaccounted for")
        for gateways, run in self._node.gateways.served():
            found += gateways.alarms
            found += [said] if (said := summary(gateways, run)) else []
        return found

    async def _committed(self, name: str) -> bool:
        """Is everything that stands in the records now committed within COMMIT_WAIT_MS?"""
        if self._host.shard(name).commit_age_ms() > COMMIT_WAIT_MS:
            return False
        try:
            async with asyncio.timeout(COMMIT_WAIT_MS / 1_000):
                return await self._host.committed(name)
        except TimeoutError:
            return False

    async def rows(self, what: str) -> list[dict[str, Any]]:
        """Calls, queues or agents of the shards that are active here."""
        rows = []
        for name in self._node.served():
            if not await self._host.committed(name):
                continue
            shard = self._host.shard(name)
            epoch = shard.state().epoch
            now = shard.time_ms()
            match what:
                case "calls":
                    found = view.calls(shard.records, now)
                case "queues":
                    found = view.queues(shard.records, name, now)
                case _:
                    found = view.agents(shard.records, name, now)
            rows += [row | {"shard": name, "epoch": epoch} for row in found]
        return rows

    def history(self, what: str, call: str, limit: int) -> Any:
        """CDRs, events or a trace. Raises sqlite3.Error."""
        path = self._node.directory.events
        match what:
            case "cdr":
                return events_db.read_cdr(path, call=call, limit=limit)
            case "events":
                return events_db.read_events(path, call=call, limit=limit)
            case "failovers":
                return events_db.read_failovers(path, limit=limit)
            case _:
                return self._trace(call)

    def _trace(self, call: str) -> dict[str, Any]:
        found = events_db.read_events(self._node.directory.events, call=call)
        call_ids = {event["call_id"] for event in found if event.get("call_id")} | {call}
        return {
            "call": found[0]["call"] if found else call,
            "events": found,
            "messages": self._node.ring.of(call_ids, self._name),
        }

    # For Prometheus.

    def samples(self) -> list[Sample]:
        """Of now."""
        samples = [Sample("keepline_media_up", float(self._node.media.is_up), {})]
        missing = {}
        for name, state in self._host.states().items():
            label = {"shard": name}
            samples += [
                Sample("keepline_shard_active", float(state.role == "active"), label),
                Sample("keepline_shard_epoch", state.epoch, label),
                Sample("keepline_shard_in_sync", len(state.in_sync), label),
            ]
            if name not in self._node.shards:
                continue
            shard = self._node.shards[name]
            samples.append(Sample("keepline_commit_seconds", shard.commit_lag.ms / 1_000, label))
            for kind, value in shard.relay.counters.items():
                samples.append(Sample("keepline_relayed_total", value, label | {"kind": kind}))
            if not state.serving:
                continue
            records = self._host.shard(name).records
            live = view.counts(records)
            for kind, value in live.items():
                if kind != "calls":
                    samples.append(Sample("keepline_calls", value, label | {"state": kind}))
            ledger = view.ledger(records, live)
            missing[name] = ledger["unaccounted"]
            for kind, value in ledger.items():
                samples.append(Sample("keepline_ledger", value, label | {"class": kind}))
            for kind, value in shard.counters.items():
                samples.append(Sample("keepline_sip_messages_total", value, label | {"kind": kind}))
            samples.append(Sample("keepline_outbox_bytes", shard.outbox.bytes, label))
        for role, times in self._host.refused.items():
            samples.append(Sample("keepline_refused_total", times, {"role": role}))
        samples.append(Sample("keepline_loop_lag_seconds", self._host.loop_late_max_ms / 1000, {}))
        samples += self._node.gateway_samples.now()
        samples.append(Sample("keepline_alarms", len(self.alarms(missing)), {}))
        return samples
