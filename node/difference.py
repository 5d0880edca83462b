"""What a change of a centre changes: a list for machines, and its lines for people.

One entry is {"change": "added", "removed" or "changed", "kind", "name", "fields": {field: [before,
after]}}; None is "was not there". Values are as the centre's file says them.
"""

from collections.abc import Mapping
from typing import Any

from calls.centre import Centre
from node.centre_file import as_file

KINDS = {
    "shards": "shard",
    "queues": "queue",
    "numbers": "number",
    "agents": "agent",
    "sites": "site",
    "carriers": "carrier",
    "devices": "device",
    "trunks": "trunk",
    "receivers": "receiver",
    "profiles": "profile",
}
SIGNS = {"added": "+", "changed": "~", "removed": "-"}

Change = dict[str, Any]


def changes(old: Centre | None, new: Centre) -> list[Change]:
    """What differs, in the order of the kinds and of the file."""
    before = {} if old is None else as_file(old, whole=True)
    after = as_file(new, whole=True)
    found = []
    for section, kind in KINDS.items():
        were, are = before.get(section, {}), after[section]
        for name in (*were, *(name for name in are if name not in were)):
            fields = _fields(were.get(name, {}), are.get(name, {}))
            if fields:
                how = "changed" if name in were and name in are else "added"
                how = how if name in are else "removed"
                found.append({"change": how, "kind": kind, "name": name, "fields": fields})
    for name in after:
        if name not in KINDS and old is not None and before[name] != after[name]:
            fields = {name: [before[name], after[name]]}
            found.append({"change": "changed", "kind": "centre", "name": "", "fields": fields})
    return found


def _fields(were: Mapping[str, Any], are: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [were.get(name), are.get(name)]
        for name in (*were, *(name for name in are if name not in were))
        if were.get(name) != are.get(name) or not (were and are)
    }


def line(change: Change) -> str:
    """One change as people read it."""
    what = f"{SIGNS[change['change']]} {change['kind']} {change['name']}".rstrip()
    fields = change["fields"]
    match change["change"], change["kind"]:
        case "changed", _:
            said = [f"{name} {shown(old)} → {shown(new)}" for name, (old, new) in fields.items()]
            return f"{what}: {', '.join(said)}"
        case "removed", "shard":
            return f"{what}, when its last call has ended"
        case "removed", _:
            return what
        case _, "number":
            return f"{what} → queue {fields['queue'][1]}"
        case _, "queue":
            return f"{what} in shard {fields['shard'][1]}"
        case _, "agent":
            return f"{what} at {fields['phone'][1]} for {shown(fields['queues'][1])}"
        case _, "device":
            return f"{what} at {fields['snmp'][1]['address']}"
        case _, "site" | "carrier" | "trunk" | "receiver" | "profile":
            return what
        case _:
            return f"{what} at {fields['sip'][1]}"


def shown(value: Any) -> str:
    """A value as it may be written in the file."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {shown(one)}" for name, one in value.items()) + "}"
    return str(value) if value not in ("", None) else "none"
