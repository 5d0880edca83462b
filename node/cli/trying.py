"""A cluster that is tried out: a demo, faults, load; and the version."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from node.cli.shared import Failed, Json

commands = typer.Typer()


@commands.command()
def demo(
    calls: Annotated[int, typer.Option("--calls", min=2, max=2_000, help="How many call.")] = 60,
    agents: Annotated[int, typer.Option("--agents", min=2, max=500, help="How many answer.")] = 20,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=9, help="How many nodes.")] = 3,
    fault: Annotated[
        str, typer.Option("--fault", metavar="kill|stop|none", help="What hits the active node.")
    ] = "kill",
    seed: Annotated[int, typer.Option("--seed", help="The same seed: the same people.")] = 1,
    as_json: Json = False,
) -> None:
    """See it: a cluster, people who call it, a fault, and what their phones say."""
    from node import demo as demos
    from node.demo_view import View, verdict_lines
    from node.outcome import Options, as_document
    from node.show import console

    if fault not in demos.FAULTS:
        raise typer.BadParameter(f"{fault!r} is not kill, stop or none", param_hint="--fault")
    if calls < agents:
        raise typer.BadParameter(
            f"{calls} calls keep no {agents} agents busy", param_hint="--calls"
        )
    asked = Options(calls=calls, agents=agents, nodes=nodes, fault=fault, seed=seed)
    try:
        outcome = demos.run(asked, View(None if as_json else console()))
    except demos.DemoFailed as error:
        raise Failed(str(error)) from None
    if as_json:
        typer.echo(json.dumps(as_document(asked, outcome)))
    else:
        console().print(verdict_lines(outcome, fault))
    raise typer.Exit(0 if outcome.is_ok else 1)


@commands.command()
def chaos(
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="FAULT", help="One, or several of these; all: each."),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1_000, help="Of each fault.")] = 5,
    store: Annotated[str, typer.Option("--store", help="The coordination store.")] = "sqlite",
    nodes: Annotated[int, typer.Option("--nodes", min=2, max=9, help="How many nodes.")] = 3,
    calls: Annotated[int, typer.Option("--calls", min=60, max=1_000, help="How many call.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="The same seed: the same people.")] = 1,
    matrix: Annotated[
        Path | None, typer.Option("--matrix", help="Write what survived into this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Faults on real processes, many times over: how long nobody answered, and what was lost."""
    from node.chaos import command

    try:
        status = command.chaos(
            fault or ["kill"],
            runs=runs,
            store=store,
            nodes=nodes,
            calls=calls,
            seed=seed,
            matrix=matrix,
            as_json=as_json,
        )
    except command.ChaosFailed as error:
        raise Failed(str(error)) from None
    raise typer.Exit(status)


@commands.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
    add_help_option=False,
)
def loadtest(context: typer.Context) -> None:
    """Simulated callers and agents; also against other systems. See loadtest --help."""
    from loadtest.io.command import main as simulate

    raise typer.Exit(simulate(context.args))


@commands.command()
def sim(
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="How many seeds. [default: 200]")
    ] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=0, help="The first of them. [default: 1]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="This one alone, with its whole log.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.0, help="Fresh seeds for so long, unless --first."),
    ] = None,
    core: Annotated[
        bool, typer.Option("--core", help="The cluster's core alone, without calls.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulated clusters under faults, on virtual time: does a rule break? A seed repeats a run."""
    from loadtest.io.seeds import SeedsStuck
    from loadtest.sim.play import CORE, WHOLE
    from node import simulation

    level = CORE if core else WHOLE
    if seed is not None:
        if (seeds, first, seconds) != (None, None, None):
            raise typer.BadParameter("one seed, or several?", param_hint="--seed")
        raise typer.Exit(0 if simulation.one(seed, level, as_json=as_json) else 1)
    if seconds is None:
        seeds, first = seeds or 200, 1 if first is None else first
    try:
        is_fine = simulation.many(level, first=first, seeds=seeds, seconds=seconds, as_json=as_json)
    except SeedsStuck as error:
        raise Failed(str(error)) from None
    raise typer.Exit(0 if is_fine else 1)


@commands.command(name="version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("keepline"))
