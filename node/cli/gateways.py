"""`keepline gateway`: gateways and their E1 lines."""

import typer

app = typer.Typer(help="Gateways and their E1 lines.", no_args_is_help=True)


@app.callback()
def gateway() -> None:
    """Gateways and their E1 lines."""


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
    add_help_option=False,
)
def simulate(context: typer.Context) -> None:
    """Virtual gateways with E1 lines. See gateway simulate --help."""
    from loadtest.io.gateway_command import main

    raise typer.Exit(main(context.args))
