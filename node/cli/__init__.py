"""The command line. Results go to stdout; what went wrong is one line on stderr.

Exit status: 0 done, 1 it failed (no answer, refused, calls lost), 2 wrongly asked or configured.
"""

import sys

import typer

from cluster.identity import NotSecure
from node.cli import certs, changing, gateways, looking, running, trying
from node.cli.shared import Failed, complain
from node.config import ConfigError
from node.directory import DirectoryError

app = typer.Typer(
    name="keepline",
    help="A call-centre cluster that does not drop calls.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (running, looking, changing, trying):
    app.add_typer(part.commands)
app.add_typer(certs.app, name="cert")
app.add_typer(gateways.app, name="gateway")


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command and answer its exit status."""
    from node.first_centre import StartError

    try:
        done = app(words or ["--help"], prog_name="keepline", standalone_mode=False)
    except typer.TyperException as error:  # wrongly asked
        return complain(error.format_message(), 2)
    except (ConfigError, DirectoryError, NotSecure, StartError) as error:
        return complain(str(error), 2)
    except Failed as error:
        return complain(str(error), 1)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 1
    return done if isinstance(done, int) else 0
