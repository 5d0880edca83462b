"""Gateways and trunks for people: plain words, the worst first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from node.humane import ago, clean, length
from node.show import listed, plain, table
from node.show_alarms import alarm_table, counts

Document = Mapping[str, Any]

STATES = {
    "up": "green",
    "partly": "yellow",
    "down": "bold red",
    "unknown": "magenta",
    "not asked yet": "dim",
    "in": "green",
    "partial": "yellow",
    "out": "bold red",
}


def state(word: str) -> Text:
    return Text(word, STATES.get(word, ""))


def gateways(now_ms: int) -> Callable[[Sequence[Document]], RenderableType]:
    def shown(rows: Sequence[Document]) -> RenderableType:
        made = table(
            "gateway", "site", "state", "alarms", "answered", "up for", "E1 well", "trouble"
        )
        for row in rows:
            made.add_row(
                row["gateway"],
                row["site"],
                state(row["state"]),
                counts(row["alarms"]),
                ago(row["answered_wall_ms"], now_ms),
                uptime(row),
                lines_in_words(row),
                Text(clean(row["trouble"]), "yellow"),
            )
        return listed(made, rows, "no gateways are watched")

    return shown


def uptime(row: Document) -> str:
    return "" if row["uptime_s"] is None else length(1_000 * row["uptime_s"])


def lines_in_words(row: Document) -> str:
    """How many of its lines have nothing wrong: `3 of 4`."""
    spans = row["spans"]
    if not spans:
        return ""
    if not row["is_current"]:
        return f"? of {len(spans)}"
    return f"{sum(not span['conditions'] for span in spans)} of {len(spans)}"


def gateway(now_ms: int) -> Callable[[Document], RenderableType]:
    return lambda row: Group(*parts(row, now_ms))


def parts(row: Document, now_ms: int) -> list[RenderableType]:
    head = Text(row["gateway"], "bold").append("  ").append(state(row["state"]))
    if row["trouble"]:
        head.append(f"  {clean(row['trouble'])}", "yellow")
    facts = table("", "")
    facts.show_header = False
    for name, value in about(row, now_ms):
        facts.add_row(Text(name, "dim"), value)
    found: list[RenderableType] = [head, "", facts]
    if row["raised"]:
        found += ["", alarm_table(row["raised"], now_ms)]
    if row["spans"]:
        found += ["", span_table(row["spans"]), "", error_table(row["spans"])]
    if row["interfaces"]:
        found += ["", interface_table(row["interfaces"])]
    if row["scalars"]:
        made = table("value", "is")
        for name, value in row["scalars"].items():
            made.add_row(name, clean(value))
        found += ["", made]
    return found


def about(row: Document, now_ms: int) -> list[tuple[str, str]]:
    access = row["access"]
    if access["version"] == "v2c":
        how = f"SNMPv2c, community {access['community']}"
    else:
        how = f"SNMPv3, user {access['user']}, keys {access['auth']} and {access['privacy']}"
    answered = ago(row["answered_wall_ms"], now_ms) or "never"
    if row["missing"]:
        answered += f"; {row['missing']} of {row['asked']} values did not come"
    if row["missed"]:
        answered += f"; {row['missed']} polls missed since"
    facts = [
        ("site", row["site"]),
        ("profile", " · ".join(filter(None, (row["profile"], row["title"])))),
        ("address", f"{row['address']}, {how}"),
        ("SIP", row["sip"]),
        ("says it is", clean(" · ".join(filter(None, (row["name"], row["object_id"]))))),
        ("answered", f"{answered}; asked each {length(row['poll_ms'])}"),
        ("up for", uptime(row)),
    ]
    return [(name, value) for name, value in facts if value]


def span_table(spans: Sequence[Document]) -> RenderableType:
    made = table("span", "trunk", "time slots 0 to 31", "in use>", "D", "now")
    made.columns[2].no_wrap = True
    for span in spans:
        used = "?" if span["in_use"] is None else str(span["in_use"])
        made.add_row(
            span["path"],
            span["trunk"],
            grid(span["slots"]),
            f"{used}/{span['of']}",
            span["d_channel"],
            conditions(span),
        )
    return Group(made, legend())


def conditions(span: Document) -> Text:
    if span["conditions"]:
        return Text(" ".join(span["conditions"]), "bold red")
    if span["status"] is None and not span["own"]:
        return Text("not told", "magenta")
    return Text("well", "green")


def error_table(spans: Sequence[Document]) -> RenderableType:
    """ES, SES, SEFS and UAS: of these 15 minutes, the last whole ones, and the day."""
    made = table(
        "span", "ES SES SEFS UAS: now>", "last 15 min>", "24 h>", "of>", "available (G.826)>"
    )
    for span in spans:
        day, available = span["last_24_hours"], span["availability"]
        made.add_row(
            span["path"],
            errors(span["current"]),
            errors(span["last_15_minutes"]),
            errors(day),
            f"{day['intervals']} of 96" if day else "",
            f"{available['percent']:.3f} %" if available else "",
        )
    return made


def errors(counted: Document | None) -> str:
    if counted is None:
        return "not told"
    return " ".join(str(counted[name]) for name in ("es", "ses", "sefs", "uas"))


def interface_table(ports: Sequence[Document]) -> RenderableType:
    made = table("port>", "wanted", "is", "octets in>", "out>", "errors in>", "out>")
    columns = ("in_octets", "out_octets", "in_errors", "out_errors")
    for port in ports:
        counted = [plain(port.get(name)) for name in columns]
        made.add_row(
            plain(port["index"]), plain(port.get("admin")), plain(port.get("oper")), *counted
        )
    return made


# Time slots: a character for each state, so that it reads without colour.

SLOTS = {
    "frame": ("F", "dim"),
    "d_channel": ("D", "cyan"),
    "d_channel_down": ("!", "bold white on red"),
    "idle": (".", "green"),
    "in_use": ("#", "bold black on cyan"),
    "out_of_service": ("x", "bold red"),
    "not_used": ("-", "dim"),
    "unknown": ("?", "magenta"),
}
LEGEND = {
    "F": "frame",
    "D": "D channel",
    "!": "D channel down",
    ".": "idle",
    "#": "in use",
    "x": "out of service",
    "-": "carries no calls",
    "?": "not told",
}


SHORT = LEGEND | {"D": "D-ch", "!": "D-ch down", "x": "out", "-": "unused"}
"""For 80 columns."""


def grid(slots: Sequence[str]) -> Text:
    """32 characters, in four groups of 8."""
    made = Text()
    for number, word in enumerate(slots):
        character, style = SLOTS.get(word, SLOTS["unknown"])
        made.append(" " if number and number % 8 == 0 else "")
        made.append(character, style)
    return made


def legend(words: Mapping[str, str] = LEGEND) -> Text:
    made = Text()
    styles = dict(SLOTS.values())
    for character, word in words.items():
        made.append("  " if made else "").append(character, styles[character])
        made.append(f" {word}", "dim")
    return made


def trunks(rows: Sequence[Document]) -> RenderableType:
    made = table("trunk", "state", "channels>", "why", "carrier", "numbers", "queues", "spans")
    for row in rows:
        made.add_row(
            row["trunk"],
            state(row["state"]),
            f"{row['channels']} of {row['of']}",
            Text(" ".join(row["why"]), "yellow"),
            row["carrier"],
            " ".join(row["numbers"]),
            " ".join(row["queues"]),
            " ".join(row["spans"]),
        )
    return listed(made, rows, "no trunks are declared")
