"""Where in a profile's file a mistake is, and what it is, in a person's words."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import yaml

Path = list[str | int]
Check = Callable[[Any], object]
"""Raises msgspec.ValidationError."""


def fault(found: Any, error: msgspec.ValidationError, check: Check) -> tuple[Path, str]:
    """Where in `found` the mistake is for which `check` refused it, and what it is."""
    why, _, place = " ".join(str(error).split()).partition(" - at ")
    is_key = place.startswith("`key` in ")
    path = resolved(found, place.removeprefix("`key` in ").strip("`"), check, str(error))
    if is_key:
        path += wrong_key(found, path, check)
    unknown = re.search(r"unknown field `([^`]*)`", why)
    if unknown:
        path.append(unknown[1])
        why = "no field has this name"
    elif is_key:
        why = f"{path[-1]!r} is no number" if "`int`" in why else NO_NAME.format(path[-1])
    elif "matching regex" in why:
        why = f"{at(found, path)!r} is no numeric OID like 1.3.6.1.2.1.1.3.0"
    return path, why


NO_NAME = "{!r} is no name: small letters, digits and _, a letter first"


def resolved(found: Any, place: str, check: Check, wrong: str) -> Path:
    """The path that msgspec means, who writes `[...]` for whichever key of a mapping."""
    path: Path = []
    for part in re.findall(r"\.\w+|\[[^\]]*\]", place):
        if part == "[...]":
            entry = wrong_entry(found, path, check, wrong)
            if not entry:
                break
            path += entry
        else:
            path.append(int(part[1:-1]) if part.startswith("[") else part[1:])
    return path


def wrong_entry(found: Any, path: Path, check: Check, wrong: str) -> Path:
    """The key below `path` whose value is what is wrong."""
    for key, value in at(found, path).items():
        try:
            check(replaced(found, path, {key: value}))
        except msgspec.ValidationError as error:
            if str(error) == wrong:
                return [key]
    return []


def wrong_key(found: Any, path: Path, check: Check) -> Path:
    for key, value in at(found, path).items():
        try:
            check(replaced(found, path, {key: value}))
        except msgspec.ValidationError as error:
            if "`key` in" in str(error):
                return [key]
    return []


def at(found: Any, path: Path) -> Any:
    for part in path:
        found = found[part]
    return found


def replaced(found: Any, path: Path, value: Any) -> Any:
    """A copy with another value there."""
    if not path:
        return value
    first, *rest = path
    if isinstance(found, list):
        return [replaced(one, rest, value) if n == first else one for n, one in enumerate(found)]
    return {**found, first: replaced(found[first], rest, value)}


def in_words(path: Path) -> str:
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) and words == "object_ids" else f".{part}"
        words = words.removeprefix(".")
    return words


def line_of(text: bytes, path: Path) -> int:
    """Where that stands, or as near as there is something. Lines count from 1."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return 1
    if node is None:
        return 1
    line = 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                break
            key, node = pairs[0]
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1
