"""Which conditions polls look for, on a device and on each of its lines.

`gateway_mgmt.sight` says that they are on, and off; of what is not here nobody would say that it is
over.
"""

from gateway_mgmt import ds1
from gateway_mgmt.inventory import Device, Span
from gateway_mgmt.profile import Profile


def of_device(device: Device) -> tuple[str, ...]:
    found = ("unreachable", "reboot")
    return (*found, "sip_down") if device.sip else found


def of_span(profile: Profile, span: Span) -> tuple[str, ...]:
    found = set(ds1.STATUS_CONDITIONS) if profile.ds1 else set()
    for column in profile.spans.values():
        found.update(column.conditions.values())
    if profile.ds1 and span.errored_seconds_max:
        found.add("errored_seconds")
    return tuple(sorted(found))
