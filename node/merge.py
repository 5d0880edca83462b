"""The cluster's answer, made of the answers of its nodes.

A node answers for itself, also one that was deposed and does not know it yet; so of each shard the
answer with the highest epoch counts, and within it the active's. The shapes here are the JSON
interface of the command line: names stay, more may be added.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cluster.replicas import COPIES
from cluster.store import node_of
from node.api import Refused
from node.events_db import at

Document = dict[str, Any]

LEDGER = (
    "received",
    "refused",
    "before_queue",
    "ended_before_queue",
    "queued",
    "waiting",
    "answered",
    "abandoned",
    "exited",
    "overflowed",
    "callback",
    "failed",
    "unaccounted",
)
"""The classes of the ledger, as `calls.view.ledger` counts them."""


def status(nodes: Sequence[Document], answers: Mapping[str, Document | None]) -> Document:
    """The status of the cluster whose `nodes` are known, from each node's `status` or None.

    A node's status is {"node": {"name", "pid", "site"}, "draining": [...], "shards": [{"name",
    "role", "epoch", "active", "in_sync", "serving", "sip", "calls", "waiting", "talking", "ledger",
    "moving", "version", "removed"}], "centre": {"version"}, "store": {"name", "answers"}, "media":
    [{"name", "up"}], "alarms": [...]}. A shard's version is the one of the centre that it decides
    by; `removed`: it goes when its calls have ended.
    """
    shards = merged_shards(answers)
    ledger = {name: sum(int(shard["ledger"].get(name, 0)) for shard in shards) for name in LEDGER}
    alarms: list[Any] = []
    for answer in answers.values():
        alarms += [alarm for alarm in (answer or {}).get("alarms", ()) if alarm not in alarms]
    draining = {name for answer in answers.values() for name in (answer or {}).get("draining", ())}
    merged = [
        merged_node(node, answers.get(node["name"])) | {"draining": node["name"] in draining}
        for node in nodes
    ]
    return {
        "centre": {"version": max((node["version"] for node in merged), default=0)},
        "nodes": merged,
        "shards": shards,
        "can_lose": min((max(0, len(shard["in_sync"]) - 1) for shard in shards), default=0),
        "ledger": ledger,
        "store": merged_store(answers),
        "media": merged_media(answers),
        "alarms": alarms,
    }


def merged_node(known: Document, answer: Document | None) -> Document:
    said = answer["node"] if answer else {}
    return {
        "name": known["name"],
        "pid": said.get("pid", known.get("pid", 0)),
        "alive": answer is not None,
        "site": said.get("site", known.get("site", "")),
        "metrics": known.get("metrics", ""),
        "version": answer.get("centre", {}).get("version", 0) if answer else 0,
    }


def merged_shards(answers: Mapping[str, Document | None]) -> list[Document]:
    best: dict[str, Document] = {}
    for answer in answers.values():
        for shard in answer["shards"] if answer else ():
            other = best.get(shard["name"])
            if other is None or rank(shard) > rank(other):
                best[shard["name"]] = shard
    return [
        {
            "name": name,
            "epoch": shard["epoch"],
            "active": node_of(shard.get("active") or ""),
            "in_sync": [node_of(member) for member in shard.get("in_sync", ())],
            "far": shard.get("far", []),
            "serving": bool(shard.get("serving")),
            "sip": shard.get("sip", ""),
            "calls": shard.get("calls", 0),
            "waiting": shard.get("waiting", 0),
            "talking": shard.get("talking", 0),
            "ledger": shard.get("ledger") or {},
            "moving": shard.get("moving"),
            "version": shard.get("version", 0),
            "removed": bool(shard.get("removed")),
        }
        for name, shard in sorted(best.items())
    ]


def rank(shard: Document) -> tuple[int, bool]:
    return shard["epoch"], shard.get("role") == "active"


def merged_store(answers: Mapping[str, Document | None]) -> Document:
    """The store, which answers when it answers every node that we hear of it from."""
    said = [answer["store"] for answer in answers.values() if answer and "store" in answer]
    return {
        "name": said[0]["name"] if said else "",
        "answers": bool(said) and all(store["answers"] for store in said),
    }


def merged_media(answers: Mapping[str, Document | None]) -> list[Document]:
    """Each media server, up when every node that answers reaches it."""
    found: dict[str, Document] = {}
    for answer in answers.values():
        for server in (answer or {}).get("media", ()):
            merged = found.setdefault(server["name"], dict(server))
            merged["up"] = bool(merged["up"] and server["up"])
    return list(found.values())


def behind(merged: Document, version: int) -> list[str]:
    """Which nodes do not know this version of the centre, and which shards decide by an older."""
    nodes = [node for node in merged["nodes"] if node["alive"]]
    return [
        f"{what} {one['name']}"
        for what, found in (("node", nodes), ("shard", merged["shards"]))
        for one in found
        if one["version"] < version
    ]


def missing(merged: Document) -> str:
    """What the cluster of this status still lacks to be ready; empty: it is."""
    if not any(node["alive"] for node in merged["nodes"]):
        return "no node answers"
    if not merged["shards"]:
        return "no shard is known yet"
    usable = [node for node in merged["nodes"] if not node["draining"]]
    for shard in merged["shards"]:
        near = len(usable) - len(shard["far"])
        copies = min(max(1, near), COPIES)
        if not shard["active"] or not shard["serving"]:
            return f"shard {shard['name']} has no serving node"
        if len(shard["in_sync"]) < copies:
            return f"shard {shard['name']} has {len(shard['in_sync'])} of {copies} copies"
    for server in merged["media"]:
        if not server["up"]:
            return f"media server {server['name']} is not reached by every node"
    for node in usable:  # one that drains may be switched off
        if not node["alive"]:
            return f"node {node['name']} does not answer"
    return ""


def rows(answers: Mapping[str, Sequence[Document] | None]) -> list[Document]:
    """The rows of every shard from the node that has its highest epoch."""
    epochs: dict[str, int] = {}
    for answer in answers.values():
        for row in answer or ():
            epochs[row["shard"]] = max(row["epoch"], epochs.get(row["shard"], 0))
    return [
        row
        for answer in answers.values()
        for row in answer or ()
        if row["epoch"] == epochs[row["shard"]]
    ]


def trace(call: str, answers: Iterable[Document], events: Sequence[Document]) -> Document:
    """One call's events and messages in order of time, from every node's {"messages": [...]}.

    Raises Refused when nobody knows the call.
    """
    steps = [
        {"at": at(message["wall_ms"]), "kind": f"sip {message['way']}"} | message
        for answer in answers
        for message in answer["messages"]
    ]
    steps += events
    if not steps:
        raise Refused(f"no call {call!r} is known")
    steps.sort(key=lambda step: step["wall_ms"])  # stable: equal times stay in order
    return {"call": next((event["call"] for event in events), call), "steps": steps}
