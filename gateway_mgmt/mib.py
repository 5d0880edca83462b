"""Numbers of the names in MIB files, as a site has them of its vendors: `MYBOX-MIB::lineState`.

Only the tree of names is read (`name ... ::= { parent 3 }`), not types nor texts, so no compiler is
needed, and a file that a strict one would refuse is of use all the same. Nothing of it is shipped.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import yaml

ROOTS = {
    "ccitt": "0",
    "iso": "1",
    "org": "1.3",
    "dod": "1.3.6",
    "internet": "1.3.6.1",
    "directory": "1.3.6.1.1",
    "mgmt": "1.3.6.1.2",
    "mib-2": "1.3.6.1.2.1",
    "system": "1.3.6.1.2.1.1",
    "interfaces": "1.3.6.1.2.1.2",
    "transmission": "1.3.6.1.2.1.10",
    "experimental": "1.3.6.1.3",
    "private": "1.3.6.1.4",
    "enterprises": "1.3.6.1.4.1",
    "snmpV2": "1.3.6.1.6",
    "snmpModules": "1.3.6.1.6.3",
}
"""What SNMPv2-SMI (RFC 2578) and SNMPv2-MIB name; a site need not have these files."""

FILE_BYTES_MAX = 4 << 20
FILES_MAX = 1_000
DEPTH_MAX = 64

NAME = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,127})::([A-Za-z][A-Za-z0-9-]{0,127})((?:\.[0-9]+)*)")
_BESIDE = re.compile(r'"[^"]*"|--(?:[^\n-]|-(?!-))*(?:--|\n|$)')
"""Texts and comments (X.208 §8.6)."""
_MODULE = re.compile(r"([A-Z][A-Za-z0-9-]*)\s+DEFINITIONS\s*(?:[A-Z]+\s+TAGS\s*)?::=\s*BEGIN")
_IMPORTS = re.compile(r"\bIMPORTS\b(.*?);", re.DOTALL)
_FROM = re.compile(r"([^;]*?)\bFROM\s+([A-Z][A-Za-z0-9-]*)", re.DOTALL)
_ASSIGNED = re.compile(
    r"\b([a-z][A-Za-z0-9-]*)\s+(?:OBJECT\s+IDENTIFIER|OBJECT-TYPE|MODULE-IDENTITY|OBJECT-IDENTITY"
    r"|OBJECT-GROUP|NOTIFICATION-TYPE|NOTIFICATION-GROUP|MODULE-COMPLIANCE|AGENT-CAPABILITIES)\b"
    r"((?:(?!::=).)*?)::=\s*\{([^{}]*)\}",
    re.DOTALL,
)
_PART = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*\(\s*([0-9]+)\s*\)|([A-Za-z][A-Za-z0-9-]*)|([0-9]+)")


class MibError(Exception):
    """The text is the one line a person needs."""


class Module(NamedTuple):
    imports: dict[str, str]
    """The module that each name is of."""
    names: dict[str, list[str]]
    """Where each name of this module is below: its parent, a name or number, then numbers."""


class Mibs:
    """Some modules; their names as numbers."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules

    def number(self, module: str, name: str) -> str:
        """`lineState` of `MYBOX-MIB`. Raises MibError."""
        if module not in self._modules:
            known = ", ".join(sorted(self._modules)) or "none"
            raise MibError(f"no MIB file has the module {module}; there are: {known}")
        if name not in self._modules[module].names:
            raise MibError(f"{module} has no object {name}")
        return self._number(module, name, 0)

    def _number(self, module: str, name: str, depth: int) -> str:
        found = self._modules.get(module)
        if depth > DEPTH_MAX:
            raise MibError(f"{module}: {name} is below itself")
        if found is None or name not in found.names:
            origin = found.imports.get(name) if found else None
            if origin is not None and origin in self._modules and origin != module:
                return self._number(origin, name, depth + 1)
            if name in ROOTS:
                return ROOTS[name]
            needs = f", which {origin} has: its file is needed, too" if origin else ""
            raise MibError(f"{module}: nothing says where {name} is{needs}")
        first, *rest = found.names[name]
        above = first if first.isdecimal() else self._number(module, first, depth + 1)
        return ".".join((above, *rest))


def read_mib(text: str) -> dict[str, Module]:
    """The modules of a file, by their names."""
    plain = _BESIDE.sub(" ", text)
    starts = list(_MODULE.finditer(plain))
    ends = [*(start.start() for start in starts), len(plain)][1:]
    return {
        start[1]: _module(plain[start.end() : end]) for start, end in zip(starts, ends, strict=True)
    }


def _module(body: str) -> Module:
    imports: dict[str, str] = {}
    listed = _IMPORTS.search(body)
    if listed:
        for names, origin in _FROM.findall(listed[1]):
            imports |= dict.fromkeys(re.findall(r"[A-Za-z][A-Za-z0-9-]*", names), origin)
        body = body[: listed.start()] + body[listed.end() :]
    found = {}
    for name, _, value in _ASSIGNED.findall(body):
        parts = [one[2] or one[3] or one[4] for one in _PART.finditer(value)]
        if parts and all(part.isdecimal() for part in parts[1:]):
            found[name] = parts
    return Module(imports, found)


def with_numbers(text: bytes, file: str, mibs: Mibs) -> bytes:
    """A profile's file with a number for each `MODULE::name`; all else stays. Raises MibError."""
    try:
        written = text.decode()
        tree = yaml.compose(written, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return text  # what is wrong with it, `read_profile` says
    places: list[tuple[int, int, str]] = []
    stack = [tree] if tree is not None else []
    while stack:
        node = stack.pop()
        if isinstance(node, yaml.MappingNode):
            stack += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif found := NAME.fullmatch(node.value):
            line = node.start_mark.line + 1
            try:
                number = mibs.number(found[1], found[2]) + found[3]
            except MibError as error:
                raise MibError(f"{file}:{line}: {node.value}: {error}") from None
            places.append((node.start_mark.index, node.end_mark.index, f'"{number}"'))
    for start, end, number in sorted(set(places), reverse=True):
        written = written[:start] + number + written[end:]
    return written.encode()
