"""Tables for people. What a machine reads is `--json`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.difference import line

Document = Mapping[str, Any]

STYLES = {
    "ready": "green",
    "talking": "cyan",
    "offered": "yellow",
    "offering": "yellow",
    "wrap_up": "magenta",
    "not_ready": "red",
    "paused": "red",
    "signed_out": "dim",
    "waiting": "yellow",
    "answered": "green",
    "abandoned": "yellow",
    "failed": "red",
    "refused": "red",
}


CALL_COUNTS = ("calls", "waiting", "talking")
PIPE_WIDTH = 200
"""Columns of a table that goes to a file or another program."""


def console() -> Console:
    found = Console(highlight=False)
    # Where nobody looks at the width, nothing is cut off.
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def table(*columns: str) -> Table:
    """A table without lines; a column that ends in > is aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        right = column.endswith(">")
        made.add_column(column.rstrip(">"), justify="right" if right else "left")
    return made


def state(name: str) -> Text:
    return Text(name, STYLES.get(name, ""))


def plain(value: Any) -> str:
    return "" if value is None else str(value)


def seconds(value_ms: Any) -> str:
    """A length of time: 12.3 s, 4:05 from a minute on."""
    if not isinstance(value_ms, int):
        return ""
    if value_ms < 60_000:
        return f"{value_ms / 1_000:.1f} s"
    minutes, rest = divmod(value_ms // 1_000, 60)
    return f"{minutes}:{rest:02d}"


def clock(moment: Any) -> str:
    """The time of day of an ISO 8601 moment, in UTC."""
    return str(moment)[11:23].rstrip("Z") if moment else ""


def status(document: Document) -> RenderableType:
    """Nodes, shards, what may be lost next and the ledger."""
    nodes = table("node", "state", "pid>", "active for", "site")
    for node in document["nodes"]:
        active = [shard["name"] for shard in document["shards"] if shard["active"] == node["name"]]
        alive = Text("up", "green") if node["alive"] else Text("no answer", "red")
        if node["draining"]:
            alive.append(", drains", "yellow")
        nodes.add_row(node["name"], alive, plain(node["pid"]), ", ".join(active), node["site"])
    shards = table("shard", "active", "epoch>", "in sync", "SIP", "calls>", "waiting>", "talking>")
    for shard in document["shards"]:
        shards.add_row(
            shard["name"],
            Text(shard["active"] or "nobody", "" if shard["serving"] else "red"),
            plain(shard["epoch"]),
            " ".join([*shard["in_sync"], *(far_node(far) for far in shard["far"])]),
            shard["sip"].removeprefix("udp:"),
            # One of alarms has no SIP address, and no calls.
            *(plain(shard[name]) if shard["sip"] else "" for name in CALL_COUNTS),
        )
    wishes = [Text(wish(shard), "yellow") for shard in document["shards"] if shard["moving"]]
    return Group(nodes, "", shards, "", *wishes, *status_lines(document))


def wish(shard: Document) -> str:
    """What the placement wants of a shard, and how far that is."""
    name, moving = shard["name"], shard["moving"]
    to = ", ".join(moving["to"])
    match moving["step"]:
        case "copying":
            what = f"moving {name} to {to}: copying {moving['percent']} %"
        case "handing over":
            what = f"moving {name} to {to}: handing over"
        case _:
            what = f"moving {name} from {to}: dropping the copy"
    return f"{what} ({moving['why']})"


def far_node(far: Document) -> str:
    """A far node, in brackets, and how many batches it is behind."""
    behind = far["behind"]
    how = "?" if behind is None else f"-{behind}" if behind else ""
    return f"({far['node']}{how})"


def status_lines(document: Document) -> Iterable[Text]:
    can_lose = document["can_lose"]
    nodes = "node" if can_lose == 1 else "nodes"
    yield Text(f"can lose {can_lose} more {nodes}", "green" if can_lose else "red")
    for server in document["media"]:
        if not server["up"]:
            yield Text(f"media server {server['name']} is not reached by every node", "red")
    ledger = document["ledger"]
    counted = [f"{name.replace('_', ' ')} {number}" for name, number in ledger.items() if number]
    yield Text("calls: " + (", ".join(counted) or "none yet"))
    if ledger["unaccounted"]:
        yield Text(f"ALARM: {ledger['unaccounted']} calls are in no class of the ledger", "red")
    for alarm in document["alarms"]:
        yield Text(f"ALARM: {alarm if isinstance(alarm, str) else alarm.get('text', alarm)}", "red")


def calls(rows: Sequence[Document]) -> RenderableType:
    made = table("call", "number", "queue", "state", "for>", "agent", "caller")
    for row in rows:
        made.add_row(
            row["call"],
            plain(row.get("number")),
            plain(row.get("queue")),
            state(plain(row.get("state"))),
            seconds(row.get("talk_ms") or row.get("wait_ms") or row.get("age_ms")),
            plain(row.get("agent")),
            plain(row.get("caller")),
        )
    return listed(made, rows, "no calls")


def queues(rows: Sequence[Document]) -> RenderableType:
    made = table("queue", "shard", "waiting>", "longest>", "talking>", "agents>", "ready>")
    for row in rows:
        made.add_row(
            row["queue"],
            row["shard"],
            plain(row.get("waiting")),
            seconds(row.get("longest_wait_ms")),
            plain(row.get("talking")),
            plain(row.get("agents")),
            plain(row.get("ready")),
        )
    return listed(made, rows, "no queues")


def agents(rows: Sequence[Document]) -> RenderableType:
    made = table("agent", "name", "state", "reason", "for>", "queues", "call")
    for row in rows:
        made.add_row(
            row["agent"],
            plain(row.get("name")),
            state(plain(row.get("state"))),
            plain(row.get("reason")),
            seconds(row.get("for_ms")),
            " ".join(row.get("queues", ())),
            plain(row.get("call")),
        )
    return listed(made, rows, "no agents")


def cdr(rows: Sequence[Document]) -> RenderableType:
    made = table("ended", "call", "number", "queue", "outcome", "wait>", "talk>", "agent")
    for row in rows:
        made.add_row(
            clock(row.get("ended_at")),
            row["call"],
            plain(row.get("number")),
            plain(row.get("queue")),
            state(plain(row.get("outcome"))),
            seconds(row.get("wait_ms")),
            seconds(row.get("talk_ms")),
            plain(row.get("agent")),
        )
    return listed(made, rows, "no calls have ended")


EVENT_FRAME = ("id", "at", "wall_ms", "shard", "epoch", "kind", "call", "node")


def details(row: Document) -> str:
    """What a row says besides its frame."""
    return " ".join(
        f"{name}={value}"
        for name, value in row.items()
        if name not in EVENT_FRAME and value not in (None, "")
    )


def events(rows: Sequence[Document]) -> RenderableType:
    made = table("at", "shard", "epoch>", "event", "call", "details")
    for row in rows:
        made.add_row(
            clock(row["at"]),
            row["shard"],
            plain(row["epoch"]),
            row["kind"],
            row["call"],
            details(row),
        )
    return listed(made, rows, "no events")


def failovers(rows: Sequence[Document]) -> RenderableType:
    """Moments in ms since the suspicion: epoch asked for and won, address here, records read."""
    made = table(
        "at", "shard", "epoch>", "from", "to", "why",
        "asked>", "won>", "moved>", "read>", "serving>", "first effect>", "calls>",
    )  # fmt: skip
    moments = ("asked_ms", "won_ms", "moved_ms", "read_ms", "serving_ms", "first_effect_ms")
    for row in rows:
        made.add_row(
            clock(row["at"]),
            row["shard"],
            plain(row["epoch"]),
            plain(row.get("from")),
            plain(row.get("to")),
            plain(row.get("why")),
            *(plain(row.get(moment)) for moment in moments),
            plain(row.get("calls")),
        )
    return listed(made, rows, "no shard has been taken over")


def trace(document: Document) -> RenderableType:
    """A call's steps: its events with their epoch, and the messages with the node that saw them."""
    made = table("at", "node", "epoch>", "what", "details")
    for step in document["steps"]:
        if "message" in step:
            first_line = step["message"].partition("\r\n")[0]
            arrow = "<-" if step["way"] == "in" else "->"
            what = Text(f"{arrow} {step['peer']}  {first_line}", "dim")
        else:
            what = Text(details(step))
        made.add_row(
            clock(step["at"]), plain(step.get("node")), plain(step.get("epoch")), step["kind"], what
        )
    return Group(f"call {document['call']}", "", made)


def drained(document: Document) -> RenderableType:
    moved = [f"{shard} to {node}" for shard, node in document["moved"].items()]
    name, what = document["node"], ", ".join(moved) or "it led no shard"
    return f"{name} is drained: {what}; keepline undrain {name} ends that"


def switched(document: Document) -> RenderableType:
    return f"shard {document['shard']} moved from {document['from']} to {document['to']}"


def differing(document: Document) -> str:
    """What a change changes, line by line."""
    return "\n".join(map(line, document["changes"])) or "nothing would change"


def applied(document: Document) -> str:
    """What was changed, and whether all decide by it."""
    version, behind = document["version"], ", ".join(document["behind"])
    lines = [line(change) for change in document["changes"]]
    if not lines:
        lines.append(f"nothing to change: this is version {version}")
    elif document["dry_run"]:
        lines.append(f"nothing was changed: version {version} stands")
    elif behind:
        lines.append(f"version {version} is written, and not yet in force: {behind}")
    else:
        lines.append(f"version {version} is in force")
    return "\n".join(lines)


def centre(document: Document) -> str:
    """A version of the centre as a file."""
    head = f"# version {document['version']} of the centre, by {document['by']}, {document['at']}\n"
    closing = ", ".join(document["closing"])
    if closing:
        head += f"# removed, until its last call has ended: shard {closing}\n"
    sites = ", ".join(document.get("closing_sites", ()))  # an older node says none
    if sites:
        head += f"# without devices, until its receivers are told: site {sites}\n"
    return head + str(document["file"]).rstrip("\n")


def versions(rows: Sequence[Document]) -> RenderableType:
    made = table("version>", "at", "by", "added>", "changed>", "removed>")
    for row in rows:
        counted = [plain(row[name]) for name in ("added", "changed", "removed")]
        made.add_row(plain(row["version"]), plain(row["at"]), row["by"], *counted)
    return listed(made, rows, "no versions")


def listed(made: Table, rows: Sequence[Document], empty: str) -> RenderableType:
    return made if rows else Text(empty, "dim")


def holders(rows: Sequence[Document]) -> RenderableType:
    """Certificates: whose, and until when."""
    made = table("who", "role", "until", "days>", "file")
    for row in rows:
        style = "red" if row["days"] < 0 else "yellow" if row["days"] < 14 else ""
        days = Text("expired" if row["days"] < 0 else str(row["days"]), style)
        made.add_row(row["who"], row["role"], row["until"], days, row["file"])
    return made


ROWS: dict[str, Callable[[Sequence[Document]], RenderableType]] = {
    "calls": calls,
    "queues": queues,
    "agents": agents,
    "cdr": cdr,
    "events": events,
    "failovers": failovers,
}
"""How each list of rows is shown."""
