"""Alarms, maintenance and what was, for people: plain words, the worst first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from node.humane import clean, length
from node.show import clock, table

Document = Mapping[str, Any]

SEVERITIES = {
    "critical": "bold red",
    "major": "red",
    "minor": "yellow",
    "warning": "cyan",
    "indeterminate": "magenta",
}
KINDS = {
    "told": "sent",
    "window": "maintenance",
    "window_over": "maintenance over",
    "cluster_lost": "cluster lost",
}
"""Words of the history that are not what a person would say."""


def severity(word: str) -> Text:
    return Text(word, SEVERITIES.get(word, ""))


def counts(alarms: Mapping[str, int]) -> Text:
    """`1 critical, 2 minor`, or nothing."""
    return Text(", ").join(severity_count(name, n) for name, n in alarms.items())


def severity_count(name: str, n: int) -> Text:
    return Text(f"{n} {name}", SEVERITIES.get(name, ""))


def alarms(now_ms: int) -> Callable[[Document], RenderableType]:
    def shown(document: Document) -> RenderableType:
        rows = document["alarms"]
        found: list[RenderableType] = [
            alarm_table(rows, now_ms) if rows else Text("no alarms", "green")
        ]
        if document["windows"]:
            found += ["", window_table(document["windows"], now_ms)]
        waiting = [one for one in document["receivers"] if one["waiting"]]
        for one in waiting:
            what = f"{one['receiver']}: {one['waiting']} messages wait since {one['oldest_at']}"
            found += ["", Text(what, "yellow")]
        if document["history"]:
            found += ["", history_table(document["history"])]
        return Group(*found)

    return shown


def alarm_table(rows: Sequence[Document], now_ms: int) -> RenderableType:
    made = table("severity", "alarm", "for>", "is", "hits", "by", "id")
    for row in rows:
        made.add_row(
            severity(row["severity"]),
            row["name"],
            length(now_ms - row["since_wall_ms"]),
            how(row),
            hits(row["impact"]),
            clean(f"{row['acked_by']} ({row['note']})" if row["note"] else row["acked_by"]),
            row["id"],
        )
    return made


def how(row: Document) -> str:
    """What is the matter with an alarm, in a few words."""
    words = {"soaking": "just seen", "raised": "raised", "holding": "going"}
    found: list[str] = [
        "flaps" if row["is_flapping"] else str(words.get(row["state"], row["state"]))
    ]
    if row["acked_by"]:
        found.append("taken care of")
    if row["by"].startswith("window:"):
        found.append(f"waits for maintenance {row['by'].removeprefix('window:')}")
    elif row["by"]:
        found.append(f"because of {row['by']}")
    if not row["is_known"]:
        found.append("not known now")
    return ", ".join(found)


def hits(impact: Document) -> str:
    """`trunk a, numbers 4001 4002, queue support`."""
    found = []
    for name in ("trunks", "numbers", "queues"):
        if impact[name]:
            word = name.removesuffix("s") if len(impact[name]) == 1 else name
            found.append(f"{word} {' '.join(impact[name])}")
    return ", ".join(found)


def window_table(rows: Sequence[Document], now_ms: int) -> RenderableType:
    made = table("maintenance", "of", "ends in>", "until (UTC)", "by", "note")
    for row in rows:
        made.add_row(
            row["id"],
            row["path"],
            length(row["until_wall_ms"] - now_ms),
            day_and_minute(row["until_at"]),
            clean(row["by"]),
            clean(row["note"]),
        )
    return made


def history_table(rows: Sequence[Document]) -> RenderableType:
    made = table("at (UTC)", "what", "alarm", "by", "note")
    for row in rows:
        what = f"{row['condition']}@{row['path']}" if row["condition"] else row["path"]
        made.add_row(
            f"{str(row['at'])[:10]} {clock(row['at'])[:8]}",
            KINDS.get(row["what"], row["what"]),
            what,
            clean(row["by"]),
            clean(row["note"]),
        )
    return made


def day_and_minute(moment: Any) -> str:
    return str(moment)[:16].replace("T", " ") if moment else ""
