"""`keepline gateway profile`: how devices of one kind are read, and whether it is right."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.shared import Failed, Json, checked_time, put, put_text

if TYPE_CHECKING:
    from gateway_mgmt.access import Community, User
    from gateway_mgmt.profile import Profile

app = typer.Typer(help="How devices of one kind are read.", no_args_is_help=True)

Which = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="A profile's file, or a shipped profile.")
]
MibFolder = Annotated[
    Path | None,
    typer.Option("--mibs", metavar="DIR", help="Your MIB files, for names like MYBOX-MIB::state."),
]
NAME = re.compile(r"[a-z0-9-]+")
SPANS_MOST = 64
SNMP_PORT = 161


@app.command(name="list")
def list_profiles(as_json: Json = False) -> None:
    """The profiles that are shipped."""
    from gateway_mgmt.io.profiles import shipped
    from node import show_profiles

    rows = [
        {
            "profile": name,
            "title": profile.title,
            "object_ids": list(profile.object_ids),
            "ds1": profile.ds1,
            "columns": list(profile.spans),
            "scalars": list(profile.scalars),
        }
        for name, profile in shipped().items()
    ]
    put(rows, as_json, show_profiles.profiles)


@app.command(name="show")
def show_profile(which: Which, mibs: MibFolder = None, as_json: Json = False) -> None:
    """A profile as a file; where it has a typing error, that."""
    import msgspec

    text, profile = found(which, mibs)
    put_text(msgspec.to_builtins(profile) if as_json else text, as_json, str.rstrip)


@app.command(name="numbers")
def show_numbers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile's file.")],
    mibs: Annotated[Path, typer.Option("--mibs", metavar="DIR", help="Your MIB files.")],
    as_json: Json = False,
) -> None:
    """The same profile with numeric OIDs for all names, as nodes read it."""
    import msgspec

    text, profile = found(str(file), mibs)
    put_text(msgspec.to_builtins(profile) if as_json else text, as_json, str.rstrip)


@app.command(name="test")
def try_profile(
    which: Which,
    address: Annotated[
        str, typer.Option("--address", metavar="IP[:PORT]", help="The device's; port 161.")
    ],
    community: Annotated[
        str, typer.Option("--community", metavar="REF", help="v2c: env:NAME or file:/PATH.")
    ] = "",
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="v3: the user,")] = "",
    auth: Annotated[
        str, typer.Option("--auth", metavar="REF", help="its password for authentication,")
    ] = "",
    privacy: Annotated[
        str, typer.Option("--privacy", metavar="REF", help="and the one for privacy.")
    ] = "",
    auth_protocol: Annotated[
        str, typer.Option("--auth-protocol", metavar="sha|sha256", help="Of v3.")
    ] = "sha",
    spans: Annotated[
        str, typer.Option("--spans", metavar="1-4", help="Its E1 lines, by their line index.")
    ] = "",
    mibs: MibFolder = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="For each answer.")
    ] = "2s",
    as_json: Json = False,
) -> None:
    """Ask a device once, and see what a profile makes of its answers.

    Exit status: 0 the profile fits, 1 it should be changed or there was no answer, 2 wrongly asked.
    """
    import asyncio

    import msgspec

    from gateway_mgmt.inventory import Device, Span
    from gateway_mgmt.io.credentials import CredentialError
    from gateway_mgmt.io.poller import make
    from gateway_mgmt.io.trial import Answers, NotAsked, ask
    from gateway_mgmt.trial import judged
    from node import show_profiles

    _, profile = found(which, mibs)
    name = Path(which).stem
    device = Device(
        site="",
        profile=name,
        address=checked_address(address),
        access=checked_access(community, user, auth, privacy, auth_protocol),
        spans={number: Span(number) for number in checked_spans(spans)},
    )
    timeout_ms = checked_time(timeout)

    async def asked() -> Answers:
        poller = make("auto")
        try:
            return await ask(name, device, profile, poller, timeout_ms)
        finally:
            poller.close()

    try:
        answers = asyncio.run(asked())
    except CredentialError as error:
        raise typer.BadParameter(str(error)) from None
    except NotAsked as error:
        raise Failed(str(error)) from None
    trial = judged(device, profile, answers.values, most=answers.most)
    put(msgspec.to_builtins(trial), as_json, show_profiles.trial)
    raise typer.Exit(1 if trial.advice else 0)


def found(which: str, mibs: Path | None) -> tuple[str, "Profile"]:
    """The text of a profile, with numbers only, and what it declares."""
    from gateway_mgmt.io.mibs import load_mibs
    from gateway_mgmt.io.profiles import SHIPPED, shipped
    from gateway_mgmt.mib import MibError, with_numbers
    from gateway_mgmt.profile import ProfileError, read_profile

    is_name = NAME.fullmatch(which) and not Path(which).exists()
    if is_name and which not in shipped():
        known = ", ".join(shipped())
        raise typer.BadParameter(f"{which!r} is no file and no shipped profile; these are: {known}")
    file = SHIPPED / f"{which}.yaml" if is_name else Path(which)
    try:
        text = file.read_bytes()
        if mibs is not None:
            text = with_numbers(text, str(file), load_mibs(mibs))
        return text.decode(errors="replace"), read_profile(text, str(file))
    except OSError as error:
        raise typer.BadParameter(f"{file}: cannot be read: {error.strerror}") from None
    except (MibError, ProfileError) as error:
        raise typer.BadParameter(str(error)) from None


def checked_address(written: str) -> tuple[str, int]:
    from node.fields import HOST

    host, colon, port = written.partition(":")
    is_port = port.isdecimal() and 0 < int(port) < 65_536 if colon else True
    if not HOST.fullmatch(host) or not is_port:
        raise typer.BadParameter(
            f"{written!r} is no IPv4 address like 10.0.0.1 or 10.0.0.1:161", param_hint="--address"
        )
    return host, int(port) if colon else SNMP_PORT


def checked_access(
    community: str, user: str, auth: str, privacy: str, auth_protocol: str
) -> "Community | User":
    from gateway_mgmt.access import AUTH_PROTOCOLS, REFERENCE, Community, User

    given = {"--community": community, "--auth": auth, "--privacy": privacy}
    for option, reference in given.items():
        if reference and not REFERENCE.fullmatch(reference):
            # What it is is not said: it may be the secret itself.
            raise typer.BadParameter("is no env:NAME or file:/PATH", param_hint=option)
    if auth_protocol not in AUTH_PROTOCOLS:
        raise typer.BadParameter(
            f"{auth_protocol!r} is not {' or '.join(AUTH_PROTOCOLS)}", param_hint="--auth-protocol"
        )
    if community and not (user or auth or privacy):
        return Community(community)
    if user and auth and privacy and not community:
        return User(user, auth, privacy, auth_protocol)
    raise typer.BadParameter("--community REF is needed, or --user NAME --auth REF --privacy REF")


def checked_spans(written: str) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, written.split(",")):
        ends = re.fullmatch(r"([0-9]{1,2})(?:-([0-9]{1,2}))?", part)
        last = int(ends[2] or ends[1]) if ends else 0
        if not ends or not 1 <= int(ends[1]) <= last <= SPANS_MOST:
            raise typer.BadParameter(
                f"{part!r} is no span or range of spans from 1 to {SPANS_MOST}",
                param_hint="--spans",
            )
        numbers += range(int(ends[1]), last + 1)
    return sorted(set(numbers))
