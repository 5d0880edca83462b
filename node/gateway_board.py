"""The live board of gateways: what was heard of all nodes, and the picture of it.

Pure: it knows no clock and no terminal.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.text import Text

from node import merge_gateways
from node.ask_gateways import Heard
from node.humane import clean, length
from node.show import clock
from node.show_alarms import counts, hits, how, severity
from node.show_gateways import SHORT, STATES, grid, legend

Document = dict[str, Any]

ALARMS_PART = 3
"""Alarms take up to the third part of the board, if there is not room for all."""
NODE_SILENT = "bold white on red"


class Board:
    """What is known of all sites: of each shard what the node with the highest epoch said."""

    def __init__(self) -> None:
        self.rows: dict[str, Document] = {}
        self.shards: dict[str, Document] = {}
        """The lists of each shard of alarms, with `epoch`."""
        self.nodes: dict[str, str] = {}
        """What is wrong with each node that is watched; empty: it is heard."""

    def take(self, heard: Heard) -> bool:
        """Is the picture another one now?"""
        if heard.change is None:
            known = self.nodes.get(heard.node)
            if not heard.trouble:
                return self.nodes.pop(heard.node, None) is not None
            self.nodes[heard.node] = heard.trouble
            return known != heard.trouble
        was_silent = self.nodes.get(heard.node) != ""
        self.nodes[heard.node] = ""
        match heard.change["kind"]:
            case "gateway":
                return self._row(heard.change) or was_silent
            case "alarms":
                return self._alarms(heard.change) or was_silent
            case "devices":
                return self._devices(heard.change) or was_silent
            case _:
                return was_silent

    def know(self, rows: list[Document], alarms: Document) -> None:
        """What was asked for, once."""
        for row in rows:
            self._row(row)
        self._alarms(alarms)

    def _row(self, row: Document) -> bool:
        known = self.rows.get(row["gateway"])
        if known is not None and known["epoch"] > row["epoch"] and known["shard"] == row["shard"]:
            return False
        self.rows[row["gateway"]] = row
        return known != row

    def _devices(self, document: Document) -> bool:
        """These are all there are of a site: others were removed."""
        shard, epoch, declared = document["shard"], document["epoch"], set(document["gateways"])
        gone = [
            name
            for name, row in self.rows.items()
            if row["shard"] == shard and row["epoch"] <= epoch and name not in declared
        ]
        for name in gone:
            del self.rows[name]
        return bool(gone)

    def _alarms(self, document: Document) -> bool:
        changed = False
        for shard, epoch in document["shards"].items():
            known = self.shards.get(shard)
            if known is not None and known["epoch"] > epoch:
                continue
            found: Document = {
                name: [row for row in document[name] if row["shard"] == shard]
                for name in ("alarms", "trunks", "windows")
            }
            self.shards[shard] = {"epoch": epoch, **found}
            changed = changed or known != self.shards[shard]
        return changed

    @property
    def alarms(self) -> list[Document]:
        found = [one for shard in self.shards.values() for one in shard["alarms"]]
        return sorted(found, key=merge_gateways.badness)

    @property
    def gateways(self) -> list[Document]:
        return sorted(self.rows.values(), key=merge_gateways.worst_first)

    @property
    def is_heard(self) -> bool:
        return any(trouble == "" for trouble in self.nodes.values())


class Frame(NamedTuple):
    lines: list[Text]
    """As many as the terminal has, none wider than it."""
    scroll_most: int
    """So far there is something to scroll to."""


def frame(board: Board, *, width: int, height: int, scroll: int = 0, now_ms: int) -> Frame:
    """The picture. Gateways can be scrolled; head, alarms and foot stay."""
    head = heading(board, width)
    foot = [cut(legend(SHORT), width)]
    alarms = alarm_lines(board.alarms, now_ms)
    rest = max(0, height - len(head) - len(foot))
    rows = board.gateways
    lines_of_all = sum(1 + len(row["spans"]) for row in rows)
    room = min(len(alarms), max(rest // ALARMS_PART, rest - lines_of_all))
    alarms = shortened(alarms, room, "alarms")
    above = max(0, rest - len(alarms))
    scroll_most = max(0, lines_of_all - above)
    at = min(scroll, scroll_most)
    seen = window(rows, at, above)
    if not rows and above:
        seen = [Text("no gateways yet" if board.is_heard else "", "dim")]
    if scroll_most and seen:
        more = [f"{at} lines above (k)"] if at else []
        more += [f"{scroll_most - at} below (j)"] if at < scroll_most else []
        foot = [cut(Text(", ".join(more) + "  ", "bold").append_text(legend(SHORT)), width)]
    seen += [Text()] * (above - len(seen))
    lines = [*head, *seen, *alarms, *foot]
    return Frame([cut(line, width) for line in lines[:height]], scroll_most)


def window(rows: list[Document], first: int, count: int) -> list[Text]:
    """So many of the gateways' lines; only these are made."""
    found: list[Text] = []
    at = 0
    for row in rows:
        if at >= first + count:
            break
        after = at + 1 + len(row["spans"])
        if after > first:
            found += gateway_lines(row)[max(0, first - at) :]
        at = after
    return found[:count]


def once(board: Board, *, width: int, now_ms: int) -> list[Text]:
    """The whole picture, as long as it takes."""
    gateways = [line for row in board.gateways for line in gateway_lines(row)]
    found = [
        *heading(board, width, leave=""),
        *gateways,
        *alarm_lines(board.alarms, now_ms),
        legend(),
    ]
    return [cut(line, width) for line in found]


def heading(board: Board, width: int, *, leave: str = "q ends") -> list[Text]:
    """How many there are in which state, and which nodes cannot be heard."""
    words = [row["state"] for row in board.rows.values()]
    line = Text(f"{len(words)} gateway{'' if len(words) == 1 else 's'}", "bold")
    for word, style in STATES.items():
        if word in words:
            line.append(f"  {words.count(word)} {word}", style)
    raised = [one["severity"] for one in board.alarms if one["is_raised"]]
    by_severity = {one: raised.count(one) for one in dict.fromkeys(raised)}
    line.append("   alarms: ").append_text(counts(by_severity) if raised else Text("none", "green"))
    windows = sum(len(shard["windows"]) for shard in board.shards.values())
    if windows:
        line.append(f"   maintenance: {windows}", "cyan")
    line.truncate(max(0, width - len(leave) - 1))
    line.append(" " * max(1, width - line.cell_len - len(leave))).append(leave, "dim")
    found = [line]
    silent = {name: why for name, why in sorted(board.nodes.items()) if why}
    if silent:
        what = "; ".join(f"{name}: {clean(why)}" for name, why in silent.items())
        heard = [name for name, why in sorted(board.nodes.items()) if not why]
        since = f"; watching {', '.join(heard)}" if heard else "; what is shown is old"
        found.append(Text(f"{what}{since}", NODE_SILENT))
    return found


def gateway_lines(row: Document) -> list[Text]:
    """A line for the gateway, and one for each of its E1s."""
    line = Text(f"{row['gateway']:<12.12} {row['site']:<10.10} ", "bold")
    line.append(f"{row['state']:<13} ", STATES.get(row["state"], ""))
    line.append_text(counts(row["alarms"])).append("  " if row["alarms"] else "")
    line.append(f"{clean(row['trouble'])}  " if row["trouble"] else "", "yellow")
    answered = clock(row["answered_at"])[:8]
    line.append(f"answered {answered}  " if answered else "", "dim")
    if row["uptime_s"] is not None and row["is_current"]:
        line.append(f"up {length(1_000 * row['uptime_s'])}", "dim")
    return [line, *(span_line(span) for span in row["spans"])]


def span_line(span: Mapping[str, Any]) -> Text:
    number = span["path"].rpartition("/")[2]
    line = Text(f"  {number:>3} {span['trunk']:<12.12} ")
    line.append_text(grid(span["slots"]))
    used = span["in_use"]
    line.append(f" {used:>2}/{span['of']:<2}" if used is not None else " " * 6, "cyan")
    if span["conditions"]:
        line.append(" " + " ".join(span["conditions"]), "bold red")
    return line


def alarm_lines(rows: list[Document], now_ms: int) -> list[Text]:
    """A line each, the worst first; below a rule."""
    if not rows:
        return []
    found = [Text("─" * 80, "dim")]
    for row in rows:
        line = severity(row["severity"])
        line.pad_right(14 - line.cell_len)
        line.append(f"{row['name']}  ", "bold" if row["is_raised"] else "")
        line.append(length(now_ms - row["since_wall_ms"]))
        state = how(row)
        line.append(f", {state}" if state != "raised" else "")
        hit = hits(row["impact"])
        line.append(f"; hits {hit}" if hit else "", "dim")
        found.append(line)
    return found


def shortened(lines: list[Text], room: int, what: str) -> list[Text]:
    if len(lines) <= room:
        return lines
    if room < 2:
        return []
    left = len(lines) - room + 1
    return [*lines[: room - 1], Text(f"and {left} more {what}: keepline gateway alarms", "dim")]


def cut(line: Text, width: int) -> Text:
    found = line.copy()
    found.truncate(width)
    return found
