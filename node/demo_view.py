"""What the demo shows: a live table while it runs, then the verdict."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.outcome import Outcome
from node.show import table

FRAMES_A_SECOND = 4


class View:
    """The picture of a running demo. On a terminal it is redrawn; elsewhere it is lines."""

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.status: Mapping[str, Any] = {"nodes": [], "shards": []}
        self.people: Mapping[str, int] = {}
        self.hit = ""
        """The node that got the fault."""
        self._began = time.monotonic()
        self._lines: list[Text] = []
        self._live: Live | None = None

    def __enter__(self) -> "View":
        if self.console and self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self._picture,
                refresh_per_second=FRAMES_A_SECOND,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str, style: str = "") -> None:
        """A thing that happened."""
        moment = f"{time.monotonic() - self._began:5.1f} s  "
        self._lines.append(Text(moment, "dim").append(line, style))
        if self.console and not self._live:
            self.console.print(self._lines[-1])

    def _picture(self) -> RenderableType:
        return Group(self._shards(), "", self._people(), "", *self._lines)

    def _shards(self) -> Table:
        made = table("shard", *(node["name"] for node in self.status["nodes"]), "epoch>")
        made.add_column("waiting", justify="right")
        made.add_column("talking", justify="right")
        for shard in self.status["shards"]:
            roles = [self._role(shard, node) for node in self.status["nodes"]]
            numbers = (str(shard[name]) for name in ("epoch", "waiting", "talking"))
            made.add_row(shard["name"], *roles, *numbers)
        return made

    def _role(self, shard: Mapping[str, Any], node: Mapping[str, Any]) -> Text:
        if not node["alive"]:
            return Text("gone", "red")
        if node["name"] == shard["active"]:
            return Text("ACTIVE", "bold green" if shard["serving"] else "bold yellow")
        if node["name"] in shard["in_sync"]:
            return Text("standby", "cyan")
        return Text("joining", "yellow")

    def _people(self) -> Text:
        words = [f"{number} {name}" for name, number in self.people.items()]
        return Text("phones:  " + (", ".join(words) or "not there yet"))


def verdict_lines(outcome: Outcome, fault: str) -> RenderableType:
    """The verdict for people."""
    verdict = outcome.verdict
    kept = {True: "kept", False: "BROKEN", None: "not measured"}[verdict.order_kept]
    made = Table.grid(padding=(0, 2))
    made.add_column(justify="right", style="dim")
    made.add_column()
    rows: list[tuple[str, str, bool]] = [
        ("calls offered", str(verdict.offered), True),
        ("answered", str(verdict.answered), True),
        ("given up", str(verdict.abandoned), True),
        ("lost", str(outcome.lost), not outcome.lost),
        ("doubled", str(len(verdict.doubled)), not verdict.doubled),
        ("queue order", kept, verdict.order_kept is not False),
        ("RTP packets missing", str(verdict.missing), True),
    ]
    if verdict.gaps:
        compared = f"{outcome.gap_ms} ms, in the 10 s before the fault {outcome.gap_before_ms} ms"
        rows.append(("largest gap a talker heard", compared, True))
    rows += [("but", problem, False) for problem in outcome.problems]
    for name, value, is_fine in rows:
        made.add_row(name, Text(value, "" if is_fine else "bold red"))
    lines: list[RenderableType] = ["", made, ""]
    after = {"kill": " while a node was killed", "stop": " while a node hung", "none": ""}
    if outcome.is_ok:
        lines.append(Text(f"nothing was lost{after[fault]}", "bold green"))
    else:
        lines.append(Text("NOT GOOD: what is red above must not happen", "bold red"))
    if outcome.logs:
        lines.append(Text(f"logs: {outcome.logs}", "dim"))
    return Group(*lines)
