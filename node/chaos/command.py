"""`keepline chaos`: checks what was asked, runs it, and tells what came of it."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from node.chaos import show
from node.chaos.faults import FAULTS, GROUPS, Fault, named
from node.chaos.matrix import Made, markdown
from node.chaos.run import FAILURES, run
from node.chaos.seen import Tally
from node.chaos.site import Options
from node.chaos.stores import STORES
from node.show import console


class ChaosFailed(Exception):
    """It could not be run, or not be written down; the text is the one line a person needs."""


def chaos(
    faults: Sequence[str],
    *,
    runs: int,
    store: str,
    nodes: int,
    calls: int,
    seed: int,
    matrix: Path | None,
    as_json: bool,
) -> int:
    """The exit status. Raises BadParameter, ChaosFailed."""
    if store not in STORES:
        known = ", ".join(STORES)
        raise typer.BadParameter(f"{store!r} is not one of: {known}", param_hint="--store")
    options = Options(
        faults=checked(faults), runs=runs, store=store, nodes=nodes, calls=calls, seed=seed
    )
    if matrix is not None and not matrix.parent.is_dir():
        raise typer.BadParameter(f"{matrix.parent} is no folder", param_hint="--matrix")
    errors = Console(stderr=True, highlight=False)
    try:
        with show.Progress(errors if as_json else console()) as progress:
            tallies, logs = run(options, say=progress.say, finished=progress.finished)
    except FAILURES as error:
        raise ChaosFailed(str(error)) from None
    if matrix is not None:
        write(matrix, options, tallies)
    if as_json:
        typer.echo(json.dumps(show.document(tallies, store=store, logs=logs)))
    else:
        console().print(show.tallies(tallies, logs))
    return 0 if all(tally.is_ok for tally in tallies) else 1


def checked(names: Sequence[str]) -> tuple[Fault, ...]:
    try:
        return tuple(named(names))
    except KeyError as error:
        known = ", ".join([*FAULTS, *GROUPS])
        raise typer.BadParameter(
            f"{error.args[0]!r} is not one of: {known}", param_hint="--fault"
        ) from None


def write(matrix: Path, options: Options, tallies: Sequence[Tally]) -> None:
    """Raises ChaosFailed when it cannot be written."""
    asked = [fault.name for fault in options.faults]
    names = ["all"] if asked == list(FAULTS) else asked
    words = [*(f"--fault {name}" for name in names), f"--runs {options.runs}"]
    words += [f"--store {options.store}", f"--nodes {options.nodes}", f"--calls {options.calls}"]
    made = Made(
        command=f"keepline chaos {' '.join(words)} --matrix {matrix}",
        day=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=show.machine(),
        left_out=show.LEFT_OUT,
    )
    try:
        matrix.write_text(markdown(tallies, made))
    except OSError as error:
        raise ChaosFailed(f"{matrix}: cannot be written: {error.strerror}") from None
