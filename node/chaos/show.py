"""What chaos tells people: a line for each run, then what came of it."""

import os
import platform
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.chaos.faults import Fault
from node.chaos.seen import Run, Tally, findings
from node.show import table

LEFT_OUT = (
    "cuts between network namespaces: links are cut by a relay between the processes of one "
    "machine, so no packet is lost and no TCP connection is half open; tests/cluster/"
    "test_cut_off.py does that, as root, to nodes without calls",
    "the machine's own clock: the node's wall clock is moved inside its process, for the clock of "
    "the machine belongs to others, too",
)


class Progress:
    """Lines while it runs; on a terminal also what it is doing now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._now = console.status("")

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._now.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._now.stop()

    def say(self, line: str) -> None:
        """What it is doing now."""
        if self._console.is_terminal:
            self._now.update(line)

    def finished(self, fault: Fault, run: Run) -> None:
        """A run has ended."""
        self._console.print(run_line(fault.name, run))
        for what in findings(run):
            self._console.print(Text(f"    {what}", "red"))


def run_line(name: str, run: Run) -> Text:
    """One run in one line."""
    line = Text(f"{name} {run.number}  ", "bold")
    victims = " ".join(strike.victim for strike in run.strikes if strike.victim)
    if victims:
        line.append(f"{victims}  ", "dim")
    if run.answer_ms:
        line.append(f"answered after {_ms(run.answer_ms)}, ")
    if run.silence_ms:
        line.append(f"silent for {_ms(run.silence_ms)}, ")
    line.append(f"{run.verdict.offered} calls, ")
    if run.is_ok:
        return line.append("nothing lost", "green")
    return line.append("NOT GOOD", "bold red")


def _ms(times: Sequence[int]) -> str:
    return "/".join(str(ms) for ms in times) + " ms"


def tallies(found: Sequence[Tally], logs: str) -> RenderableType:
    """All faults, a row each."""
    made: Table = table(
        "fault", "runs>", "answered p50>", "max>", "silent p50>", "max>", "calls>", "lost>",
        "RTP missing>", "largest gap>", "",
    )  # fmt: skip
    for tally in found:
        document = tally.document()
        answer, silence = document["answer_ms"], document["silence_ms"]
        well = tally.is_ok
        made.add_row(
            tally.fault,
            str(document["runs"]),
            *(_figure(answer, name) for name in ("p50", "max")),
            *(_figure(silence, name) for name in ("p50", "max")),
            str(document["calls"]),
            Text(str(document["lost"]), "" if not document["lost"] else "bold red"),
            str(document["rtp_missing"]),
            f"{document['largest_gap_ms']} ms",
            Text("nothing lost" if well else "NOT GOOD", "green" if well else "bold red"),
        )
    lines: list[RenderableType] = ["", made]
    for tally in found:
        lines += [Text(f"{tally.fault}: {line}", "red") for line in tally.two_actives]
    if logs:
        lines.append(Text(f"logs: {logs}", "dim"))
    return Group(*lines)


def _figure(times: dict[str, Any], name: str) -> str:
    return f"{times[name]} ms" if times["all"] else ""


def document(found: Sequence[Tally], *, store: str, logs: str) -> dict[str, Any]:
    """All of it as JSON: an interface, names stay."""
    return {
        "ok": all(tally.is_ok for tally in found),
        "store": store,
        "machine": machine(),
        "left_out": list(LEFT_OUT),
        "faults": [tally.document() for tally in found],
        "logs": logs,
    }


def machine() -> str:
    """What it ran on, in words."""
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
