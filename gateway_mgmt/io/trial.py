"""Asks one device once, through a profile, for `gateway_mgmt.trial`."""

from typing import NamedTuple

from gateway_mgmt.inventory import Device
from gateway_mgmt.io.credentials import Credentials
from gateway_mgmt.io.diagnose import diagnose
from gateway_mgmt.io.poller import RETRIES, Answered, Poller, Refused, Target
from gateway_mgmt.profile import Profile
from gateway_mgmt.snmp.pdu import Value
from gateway_mgmt.trial import fields, probes

FEWER = 10
"""Values of a request, when a larger one is not answered."""


class NotAsked(Exception):
    """The device did not answer, or refused; the text is the one line a person needs."""


class Answers(NamedTuple):
    values: dict[str, Value]
    most: int
    """As many are answered in one request; the profile's number, if that was."""


async def ask(name: str, device: Device, profile: Profile, poller: Poller, ms: int) -> Answers:
    """Raises NotAsked, CredentialError."""
    target = Target(name, device.address, Credentials().resolve(device.access))
    asked = [one.oid for one in fields(device, profile)] + probes(device, profile)
    values: dict[str, Value] = {}
    size = profile.max_varbinds
    while asked:
        part = asked[:size]
        answer = await poller.get(target, part, timeout_ms=ms, retries=RETRIES)
        if isinstance(answer, Answered):
            values |= answer.values
            asked = asked[size:]
        elif size > FEWER:
            poller.forget(target)
            size = FEWER
        elif not values:
            raise NotAsked(await why_not(target, answer, ms))
        else:
            asked = asked[size:]
    return Answers(values, size)


async def why_not(target: Target, answer: object, ms: int) -> str:
    where = f"{target.address[0]}:{target.address[1]}"
    why = await diagnose(target, ms) if target.credentials.keys is not None else ""
    if why:
        return f"{where}: {why}"
    if isinstance(answer, Refused):
        return f"{where}: {answer.why}"
    asked = "community" if target.credentials.keys is None else "user"
    return f"{where}: no answer to SNMP; are address and {asked} right, and may we ask from here?"
