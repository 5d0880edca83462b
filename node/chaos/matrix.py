"""The survival matrix: what became of calls in each state under each fault, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.survival import STATES, Cell
from node.chaos.seen import Tally

NOTHING = "-"
COLUMNS = 5
"""Faults in one table."""

ROWS = {
    "calling": "calling: his INVITE has no answer yet",
    "prompt": "hears the prompt",
    "waiting": "waits with music",
    "offered": "is being offered: an agent's phone rings",
    "talking": "talks",
    "held": "is on hold",
    "hanging_up": "hangs up, or is being hung up on",
    "wrap_up": "an agent in wrap-up",
}
assert tuple(ROWS) == STATES


@dataclass(frozen=True)
class Made:
    """How the file was made."""

    command: str
    day: str
    machine: str
    left_out: Sequence[str]


def markdown(tallies: Sequence[Tally], made: Made) -> str:
    """The whole file."""
    lines = [
        "# What survives which fault",
        "",
        f"Made by `{made.command}` on {made.day} ({made.machine}); not edited by hand. Every "
        "figure comes from the logs of simulated phones on real processes: how many of the calls "
        "that were in a state when the fault struck went on as their people wanted, and what the "
        "one who noticed most of it noticed. Only shards whose active was hit count, or all "
        "shards where none was.",
        "",
        "What could be noticed, in ms: a gap in what he heard (a packet is due every 20 ms); of a "
        "call being set up, the time to its 200; of one that ends, until both sides knew; of "
        "wrap-up, how late the next offer came.",
        "",
    ]
    for first in range(0, len(tallies), COLUMNS):
        lines += [*_table(tallies[first : first + COLUMNS]), ""]
    lines += ["## The faults", "", *_faults(tallies), ""]
    if made.left_out:
        lines += ["Left out:", "", *(f"- {what}" for what in made.left_out), ""]
    return "\n".join(lines)


def _table(tallies: Sequence[Tally]) -> list[str]:
    rows = [_row("a caller who …", [tally.fault for tally in tallies])]
    rows.append(_row("---", ["---"] * len(tallies)))
    rows += [
        _row(title, [_cell(tally.states.get(state)) for tally in tallies])
        for state, title in ROWS.items()
    ]
    return rows


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    counted = f"{cell.survived} of {cell.calls}"
    if cell.survived < cell.calls:
        counted = f"**{counted}**"
    return counted if cell.noticed_ms is None else f"{counted}, {cell.noticed_ms} ms"


def _faults(tallies: Sequence[Tally]) -> list[str]:
    rows = [
        _row(
            "fault",
            [
                "what happens",
                "runs",
                "first answer of the new active: p50 / max",
                "longest silence: p50 / max",
                "calls lost",
                "committed and lost",
                "two actives in an epoch",
            ],
        ),
        _row("---", ["---"] * 7),
    ]
    for tally in tallies:
        answer, silence = tally.answer_ms, tally.silence_ms
        rows.append(
            _row(
                tally.fault,
                [
                    tally.says,
                    str(len(tally.runs)),
                    f"{answer.p50_ms} / {answer.max_ms} ms" if answer.count else NOTHING,
                    f"{silence.p50_ms} / {silence.max_ms} ms",
                    str(sum(run.lost for run in tally.runs)),
                    str(sum(len(run.committed_lost) for run in tally.runs)),
                    str(len(tally.two_actives)),
                ],
            )
        )
    return rows


def _row(first: str, others: Sequence[str]) -> str:
    return "| " + " | ".join([first, *others]) + " |"
