"""`python -m loadtest.io.gateway_command`: virtual gateways, until they are told to end."""

import argparse
import asyncio
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway_mgmt.io.credentials import CredentialError, read
from gateway_mgmt.snmp import usm
from loadtest.fault_script import BadScript, Fault, read_line, read_script
from loadtest.io.gateway_calls import CallPlan
from loadtest.io.gateways import Gateways, Plan
from loadtest.options import BadOption, address, span
from sip.uri import Address

COUNT_MAX = 5_000
CALLS_MAX = 1_000_000
PER_MINUTE_MAX = 60_000
FILES = 65_536


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="keepline gateway simulate",
        description="Virtual gateways with E1 lines, an address of 127.0.0.0/8 for each: SNMP v2c "
        "and v3, traps and informs, SIP that answers OPTIONS and places calls on the lines' time "
        "slots. Faults come from a script, or a line each on "
        'stdin: "at 5s span 1/3 LOS", "span 1/3 clear", "span 1/3 d_channel down", '
        '"gateway 2 dead", "gateway 2 reboot".',
    )
    add = p.add_argument
    add("--count", type=int, default=1, metavar="N", help="how many")
    add("--script", default="", metavar="FILE", help="what goes wrong, and when")
    add("--address", default="127.1.0.1", metavar="IP", help="of the first; the others follow")
    add("--port", type=int, default=1_161, help="of SNMP")
    add("--sip-port", type=int, default=5_060, help="of SIP; 0: none")
    add("--spans", type=int, default=4, help="E1 lines of each")
    add("--community", default="", metavar="REF", help="env:NAME or file:/PATH; otherwise public")
    add("--user", default="noc", help="of SNMPv3")
    add("--auth", default="", metavar="REF", help="its password; without it there is no v3")
    add("--privacy", default="", metavar="REF", help="its other password")
    add("--auth-protocol", default="sha", choices=("sha", "sha256"))
    add("--traps", default="", metavar="IP:PORT", help="where traps go")
    add("--traps-v3", action="store_true", help="as SNMPv3")
    add("--informs", default="", metavar="IP:PORT", help="where informs go")
    add("--informs-v3", action="store_true", help="as SNMPv3")
    add(
        "--same-engine",
        action="store_true",
        help="one v3 engine id for all, as copied devices have",
    )
    add("--calls", type=int, default=0, metavar="N", help="how many are placed, one a time slot")
    add("--to", default="", metavar="IP:PORT", help="where calls go")
    add("--number", action="append", default=[], help="dialled; several: in turn")
    add("--calls-per-minute", type=float, default=60.0, metavar="N", help="of all gateways")
    add("--hold", default="20-60", metavar="S", help="an answered call lasts so long")
    add("--no-rtp", action="store_true", help="calls without audio")
    add("--seed", type=int, default=1, help="the same seed gives the same hold times")
    add("--seconds", type=float, default=None, metavar="S", help="then the run ends")
    add("--json", action="store_true", help="the figures at the end as one JSON document")
    add("--stdin", action="store_true", help="faults on stdin, too; its end ends the run")
    return p


def plan(given: argparse.Namespace) -> Plan:
    """Raises BadOption, CredentialError."""
    if not 1 <= given.count <= COUNT_MAX:
        raise BadOption(f"--count must be from 1 to {COUNT_MAX}")
    if not 1 <= given.spans <= 64:
        raise BadOption("--spans must be from 1 to 64")
    first, _ = address(given.address, 1)
    if not first.startswith("127."):
        raise BadOption(f"--address: {first} is not of 127.0.0.0/8")
    if bool(given.auth) != bool(given.privacy):
        raise BadOption("--auth and --privacy go together")
    for option, is_given in (("traps", given.traps_v3), ("informs", given.informs_v3)):
        if is_given and not given.auth:
            raise BadOption(f"--{option}-v3 needs --auth and --privacy")
        if is_given and not getattr(given, option):
            raise BadOption(f"--{option}-v3 needs --{option} IP:PORT")
    if given.seconds is not None and not given.seconds > 0:
        raise BadOption("--seconds must be above 0")
    keys = None
    if given.auth:
        keys = usm.master(given.auth_protocol, read(given.auth), read(given.privacy))
    return Plan(
        count=given.count,
        first=first,
        port=given.port,
        sip_port=given.sip_port,
        spans=given.spans,
        community=bytes(read(given.community)) if given.community else b"public",
        user=given.user.encode(),
        keys=keys,
        traps=receiver("--traps", given.traps),
        traps_v3=given.traps_v3,
        informs=receiver("--informs", given.informs),
        informs_v3=given.informs_v3,
        same_engine=given.same_engine,
        calls=call_plan(given),
    )


def receiver(option: str, given: str) -> Address | None:
    """Raises BadOption."""
    return named(option, given, 162) if given else None


def named(option: str, given: str, port: int) -> Address:
    """An address that these gateways can reach. Raises BadOption that names the option."""
    try:
        found = address(given, port)
    except BadOption as error:
        raise BadOption(f"{option}: {error}") from None
    if not found[0].startswith("127."):
        raise BadOption(f"{option}: {found[0]} is not of 127.0.0.0/8, where the gateways are")
    return found


def call_plan(given: argparse.Namespace) -> CallPlan | None:
    """Raises BadOption."""
    if not 0 <= given.calls <= CALLS_MAX:
        raise BadOption(f"--calls must be from 0 to {CALLS_MAX}")
    if not given.calls:
        if given.to or given.number:
            raise BadOption(f"{'--to' if given.to else '--number'} is for calls: give --calls N")
        return None
    if not (given.to and given.number):
        raise BadOption("--calls needs --to IP:PORT and --number NUMBER")
    for number in given.number:
        if not (number.isascii() and number.removeprefix("+").isalnum()):
            raise BadOption(f"--number: {number!r} is no number")
    if not 0 < given.calls_per_minute <= PER_MINUTE_MAX:
        raise BadOption(f"--calls-per-minute must be above 0, and at most {PER_MINUTE_MAX}")
    if not given.sip_port:
        raise BadOption("--calls needs a --sip-port that is not 0")
    try:
        hold = span(given.hold)
    except BadOption as error:
        raise BadOption(f"--hold: {error}") from None
    return CallPlan(
        count=given.calls,
        to=named("--to", given.to, 5_060),
        numbers=tuple(given.number),
        per_minute=given.calls_per_minute,
        hold=hold,
        seed=given.seed,
        rtp=not given.no_rtp,
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run(wanted: Plan, faults: list[Fault], given: argparse.Namespace) -> None:
    """Raises OSError, and what a step of a caller's raised."""
    gateways = Gateways(wanted)
    gateways.start()
    last = gateways.host(wanted.count)
    say(f"{wanted.count} gateways at {wanted.first} to {last}, SNMP port {wanted.port}")
    gateways.play(faults, lambda fault: say(fault.written))
    try:
        await told_to_end(gateways, given)
        if gateways.calls is not None:
            await gateways.calls.hang_up_all()
            if gateways.calls.faults:
                raise gateways.calls.faults[0]
        show(gateways, as_json=given.json)
    finally:
        gateways.close()


async def told_to_end(gateways: Gateways, given: argparse.Namespace) -> None:
    """By a signal, the end of stdin, or --seconds. A second signal gives up what is under way."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set() and gateways.calls is not None:
            gateways.calls.done.set()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    ends: list[asyncio.Task[bool]] = [loop.create_task(told.wait())]
    if given.stdin:
        ends.append(loop.create_task(obey(gateways)))
    if gateways.calls is not None:
        ends.append(loop.create_task(gateways.calls.done.wait()))
    done, _ = await asyncio.wait(ends, timeout=given.seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in ends:
        task.cancel()
    for task in done:
        task.result()


async def obey(gateways: Gateways) -> bool:
    """Faults from stdin, until its end."""
    plan = gateways.plan
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        try:
            written = line.decode(errors="replace").strip()
            if written == "count":
                say(f"asked {gateways.asked}")
            elif written:
                found = read_line(written, gateways=plan.count, spans=plan.spans)
                gateways.play([found], lambda fault: say(fault.written))
        except BadScript as error:
            say(f"keepline gateway simulate: {error}")
    return True


def show(gateways: Gateways, *, as_json: bool) -> None:
    """What was placed and told."""
    calls = gateways.calls.figures if gateways.calls is not None else None
    told = gateways.notifier.counted
    if as_json:
        document = {"calls": calls, "told": told, "asked": gateways.asked}
        say(msgspec.json.encode(document).decode())
        return
    for line in calls.lines() if calls else ():
        say(line)
    if gateways.plan.traps or gateways.plan.informs:
        say(told.line())


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    try:
        wanted = plan(given)
        faults: list[Fault] = []
        if given.script:
            text = Path(given.script).read_text(encoding="utf-8")
            faults = read_script(text, gateways=wanted.count, spans=wanted.spans)
        asyncio.run(run(wanted, faults, given))
    except BadScript as error:
        return complain(f"{given.script}: {error}")
    except (BadOption, CredentialError, UnicodeDecodeError) as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{error.filename or given.address}: {error.strerror}")
    return 0


def complain(what: str) -> int:
    sys.stderr.write(f"keepline gateway simulate: {what}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
