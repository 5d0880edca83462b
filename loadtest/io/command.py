"""The command line of the simulation: `python -m loadtest.io`, and `keepline loadtest`."""

import argparse
import sys
from collections.abc import Sequence

import msgspec

from loadtest import options as opts
from loadtest.io.people import run
from loadtest.options import BadOption, Options
from loadtest.report import Report


def parser() -> argparse.ArgumentParser:
    """All options, with their defaults."""
    p = argparse.ArgumentParser(
        prog="keepline loadtest",
        description="Simulated callers and agents, on real SIP and RTP. Exit status 0: no call was "
        "lost or doubled and the queue's order was kept; 1: otherwise; 2: it could not run.",
    )
    add = p.add_argument
    add("--target", default="127.0.0.1:5060", metavar="HOST:PORT", help="where INVITEs go")
    add(
        "--number", action="append", default=[], help="NUMBER or NUMBER@HOST:PORT; several: in turn"
    )
    add("--calls", type=int, default=0, help="how many callers")
    add("--rate", type=float, default=10.0, help="calls a second")
    add("--agents", default="", metavar="LIST", help='e.g. "1001-1100@127.0.0.1:7001+"')
    add("--talk", default="3-8", metavar="S", help="talk time in seconds, or 200-900ms")
    add("--patience", default="120", metavar="S", help="callers give up after so long")
    add("--ring", default="200-1000ms", metavar="S", help="agents pick up after so long")
    add("--hangup", default="random", choices=("caller", "agent", "random"))
    add("--absent", type=int, default=0, metavar="N", help="the last N agents have no phone")
    add("--busy", type=int, default=0, metavar="N", help="N agents before these are busy")
    add("--decline-rate", type=float, default=0.0, help="part of offers declined, 0 to 1")
    add("--ignore-rate", type=float, default=0.0, help="part of offers not answered")
    add("--hold-rate", type=float, default=0.0, help="part of talks with a hold")
    add("--digits", default="", help="keys every caller presses")
    add("--offerless-rate", type=float, default=0.0, help="part of INVITEs without SDP")
    add("--scenario", default="", metavar="MIX", help="talking=N,held=N,ringing=N,waiting=N")
    add("--seed", type=int, default=1, help="the same seed gives the same people")
    add("--no-rtp", action="store_true", help="signalling only, as SIPp's own phones")
    add("--address", default="127.0.0.1", help="the callers' own address")
    add("--first-voice", type=int, default=0, help="when several simulations run together")
    add("--duration", type=float, default=None, metavar="S", help="then everybody hangs up")
    add("--log", default="", metavar="FILE", help="facts, a JSON object a line")
    add("--control", default="", metavar="SOCKET", help="Unix-domain socket for commands")
    add("--stdin", action="store_true", help="commands on standard input")
    add("--json", action="store_true", help="the report as one JSON document")
    return p


def options(given: argparse.Namespace) -> Options:
    """The options that a parsed command line means. Raises BadOption."""
    return Options(
        target=opts.address(given.target),
        numbers=tuple(given.number),
        calls=given.calls,
        rate=given.rate,
        agents=opts.agents(given.agents),
        talk=opts.span(given.talk),
        patience=opts.span(given.patience),
        ring=opts.span(given.ring),
        hangup=given.hangup,
        absent=given.absent,
        busy=given.busy,
        decline_rate=given.decline_rate,
        ignore_rate=given.ignore_rate,
        hold_rate=given.hold_rate,
        digits=given.digits,
        offerless_rate=given.offerless_rate,
        scenario=given.scenario,
        seed=given.seed,
        rtp=not given.no_rtp,
        address=given.address,
        first_voice=given.first_voice,
        duration_s=given.duration,
        log=given.log,
        control=given.control,
        stdin=given.stdin,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a simulation as a command line says; the exit status."""
    given = parser().parse_args(argv)
    try:
        report = run(options(given))
    except (BadOption, OSError) as error:
        print(f"keepline loadtest: {error}", file=sys.stderr)  # noqa: T201  # the command line
        return 2
    _show(report, as_json=given.json)
    return 0 if report.verdict.ok else 1


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        sys.stdout.write("\n".join(report.verdict.lines()) + "\n")
