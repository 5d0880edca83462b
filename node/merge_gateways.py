"""The cluster's answer about gateways and alarms, made of the answers of its nodes.

As of calls, of each shard the answer with the highest epoch counts: a node that was deposed and
does not know it yet is not listened to, not even where it names an alarm and the other names none.
"""

from collections.abc import Mapping
from typing import Any

from gateway_mgmt.alarms.documents import LISTS
from gateway_mgmt.alarms.kinds import SEVERITIES
from gateway_mgmt.documents import STATES

Document = dict[str, Any]


def alarms(answers: Mapping[str, Document | None]) -> Document:
    """From each node's document `alarms`: the alarms worst first, the history oldest first."""
    epochs: dict[str, int] = {}
    found = [answer for answer in answers.values() if answer]
    for answer in found:
        for shard, epoch in answer["shards"].items():
            epochs[shard] = max(epoch, epochs.get(shard, 0))
    merged: Document = {"shards": dict(sorted(epochs.items()))}
    for name in LISTS:
        merged[name] = [
            row for answer in found for row in answer[name] if row["epoch"] == epochs[row["shard"]]
        ]
    merged["alarms"].sort(key=badness)
    merged["history"].sort(key=lambda row: row["wall_ms"])  # stable: a shard's stay in order
    merged["trunks"].sort(key=lambda row: (TRUNKS.get(row["state"], -1), row["trunk"]))
    return merged


TRUNKS = {"out": 0, "partial": 1, "in": 2}


def badness(alarm: Document) -> tuple[Any, ...]:
    """What comes first: raised and not taken care of, severe, old."""
    severity = alarm["severity"]
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else -1
    return (
        not alarm["is_raised"],
        bool(alarm["acked_by"]),
        rank,
        alarm["since_wall_ms"],
        alarm["path"],
        alarm["condition"],
    )


def worst_first(row: Document) -> tuple[Any, ...]:
    """The order of gateways: by their worst alarm, then by their state, then by name."""
    severities = [rank for rank, name in enumerate(SEVERITIES) if row["alarms"].get(name)]
    state = STATES.index(row["state"]) if row["state"] in STATES else -1
    return (min(severities, default=len(SEVERITIES)), state, row["site"], row["gateway"])
