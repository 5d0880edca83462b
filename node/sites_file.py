"""Sites and profiles of our own in the centre's file: read, and written again."""

from typing import Any

import msgspec
import yaml
from msgspec.structs import replace
from yaml.nodes import MappingNode

from gateway_mgmt.alarms.kinds import DEFAULTS, RAISABLE, Kind
from gateway_mgmt.inventory import Site
from gateway_mgmt.profile import Profile, checked
from node.fields import HOUR_MS, NAME, ip_address, shown, text_of
from node.yaml_tree import Tree, in_words

Fields = dict[str, Any]

TRAP_PORT = 162
UNSAID_OF_PROFILE = msgspec.to_builtins(Profile(title="")) | {"title": None}
"""What need not be said: all but the title."""


def read_site(tree: Tree) -> Site:
    fields = tree.fields(("name", "traps", "preferred", "alarms"))
    kinds: dict[str, Kind] = {}
    for name, value in fields["alarms"].mapping().items() if "alarms" in fields else ():
        if name not in DEFAULTS:
            raise value.wrong(f"no such condition; known: {', '.join(sorted(DEFAULTS))}")
        kinds[name] = _kind(value, DEFAULTS[name])
    preferred: list[str] = []
    for item in fields["preferred"].items() if "preferred" in fields else ():
        if not NAME.fullmatch(item.text()) or item.text() in preferred:
            raise item.wrong(f"{item.text()!r} is no name of a node, or stands here twice")
        preferred.append(item.text())
    traps = ip_address(fields["traps"], TRAP_PORT) if text_of(fields, "traps") else None
    return Site(text_of(fields, "name"), traps, tuple(preferred), kinds)


def _kind(tree: Tree, usual: Kind) -> Kind:
    fields = tree.fields(("severity", "soak", "hold"))
    given: Fields = {}
    if "severity" in fields:
        given["severity"] = fields["severity"].one_of(RAISABLE, "severity")
    for name in ("soak", "hold"):
        if name in fields:
            given[f"{name}_ms"] = fields[name].duration_ms(0, HOUR_MS)
    return replace(usual, **given)


def read_own_profile(tree: Tree) -> Profile:
    loader = yaml.SafeLoader("")
    try:
        found = loader.construct_object(tree.node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError):
        raise tree.wrong("has a value that cannot be read") from None
    finally:
        loader.dispose()
    profile, wrong = checked(found)
    if wrong is not None:
        path, why = wrong
        raise tree.wrong_at([str(part) for part in path], why)
    assert profile is not None
    _refuse_twice(tree)
    return profile


def _refuse_twice(tree: Tree) -> None:
    """A name that stands twice: YAML itself would take the last."""
    if isinstance(tree.node, MappingNode):
        for value in tree.mapping().values():
            _refuse_twice(value)


def site_as_file(site: Site) -> Fields:
    return {
        "name": site.name,
        "traps": shown(site.traps) if site.traps else "",
        "preferred": list(site.preferred),
        "alarms": {
            name: {
                "severity": kind.severity,
                "soak": in_words(kind.soak_ms),
                "hold": in_words(kind.hold_ms),
            }
            for name, kind in site.kinds.items()
        },
    }
