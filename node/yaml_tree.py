"""A YAML file as a tree that knows where each value stands, so that an error can name its line.

Every wrong file becomes one `ConfigError`, whose text is one line: `FILE:LINE: field.path: what is
wrong`. Scalars are taken as they are written (`4001` and "4001" are the same name).
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cluster.durations import duration_ms as duration_ms
from cluster.durations import in_words as in_words

MAX_BYTES = 16 << 20
"""A larger file is not a centre."""

MAX_DEPTH = 50
"""Mappings and lists inside each other."""

MAX_SHOWN = 60
"""Characters of a wrong value in an error."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KINDS = {
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:float": "a fraction",
    "tag:yaml.org,2002:timestamp": "a date",
}
NUMBER_TAG = "tag:yaml.org,2002:int"
TEXT_TAG = "tag:yaml.org,2002:str"


class ConfigError(Exception):
    """A file says what cannot be; the text is the one line a person needs."""


def place(file: Path, line: int, field: str, wrong: str) -> ConfigError:
    """The error at `line` (0: none in particular) and `field` (empty: the file as a whole)."""
    where = f"{file}:{line}: " if line else f"{file}: "
    return ConfigError(where + (f"{field}: " if field else "") + wrong)


class Tree:
    """One value of the file, with its place."""

    __slots__ = ("field", "file", "node")

    def __init__(self, file: Path, node: Node, field: str = "") -> None:
        self.file = file
        self.node = node
        self.field = field

    def wrong(self, what: str, field: str = "", node: Node | None = None) -> ConfigError:
        """The error that this value, or the `field` inside it at `node`, is `what`."""
        mark = (node or self.node).start_mark
        line = mark.line + 1 if mark else 0
        return place(self.file, line, self.under(field) if field else self.field, what)

    def under(self, key: str) -> str:
        return f"{self.field}.{key}" if self.field else key

    def kind(self) -> str:
        """What stands here, in words for an error."""
        if isinstance(self.node, MappingNode):
            return "a mapping"
        if isinstance(self.node, SequenceNode):
            return "a list"
        return KINDS.get(self.node.tag) or repr(shortened(self.node.value))

    def mapping(self) -> "dict[str, Tree]":
        """The values by their names. A name that stands twice is an error."""
        if not isinstance(self.node, MappingNode):
            raise self.wrong(f"must be a mapping, is {self.kind()}")
        found: dict[str, Tree] = {}
        for key, value in self.node.value:
            if not isinstance(key, ScalarNode) or not key.value:
                raise self.wrong("a name must be plain text", node=key)
            if key.value in found:
                raise self.wrong("stands here twice", key.value, key)
            found[key.value] = Tree(self.file, value, self.under(key.value))
        return found

    def fields(self, known: Collection[str], required: Collection[str] = ()) -> "dict[str, Tree]":
        """Like `mapping`, with only `known` names and all the `required` ones."""
        found = self.mapping()
        for key, _ in self.node.value:
            if key.value not in known:
                raise self.wrong(f"unknown; known here: {', '.join(known)}", key.value, key)
        for name in required:
            if name not in found:
                raise self.wrong("is missing", name)
        return found

    def wrong_at(self, path: Sequence[str], what: str) -> ConfigError:
        """The error that the value these names lead to is `what`, at the last line on the way."""
        here = self
        for depth, name in enumerate(path):
            inside = here.mapping() if isinstance(here.node, MappingNode) else {}
            if name not in inside:
                return here.wrong(what, ".".join(path[depth:]))
            here = inside[name]
        return here.wrong(what)

    def items(self) -> "list[Tree]":
        """The values of a list."""
        if not isinstance(self.node, SequenceNode):
            raise self.wrong(f"must be a list, is {self.kind()}")
        return [
            Tree(self.file, value, f"{self.field}[{index}]")
            for index, value in enumerate(self.node.value)
        ]

    def text(self) -> str:
        """Text, or a whole number as it is written."""
        if not isinstance(self.node, ScalarNode) or self.node.tag not in (TEXT_TAG, NUMBER_TAG):
            raise self.wrong(f"must be text, is {self.kind()}")
        return str(self.node.value)

    def one_of(self, known: Collection[str], what: str = "") -> str:
        """Text that is one of `known`."""
        value = self.text()
        if value not in known:
            names = ", ".join(known) or "none"
            raise self.wrong(f"{shortened(value)!r} is no {what or 'choice'}; known: {names}")
        return value

    def number(self, least: int, most: int) -> int:
        """A whole number within bounds."""
        is_number = isinstance(self.node, ScalarNode) and self.node.tag == NUMBER_TAG
        if not is_number or not re.fullmatch(r"[-+]?\d{1,12}", self.node.value):
            raise self.wrong(f"must be a whole number, is {self.kind()}")
        value = int(self.node.value)
        if not least <= value <= most:
            raise self.wrong(f"must be from {least} to {most}, is {value}")
        return value

    def duration_ms(self, least_ms: int, most_ms: int) -> int:
        """A time like 20s, 500ms, 1.5s, 2m or 1h, in milliseconds."""
        written = self.node.value if isinstance(self.node, ScalarNode) else ""
        value_ms = duration_ms(written)
        if value_ms is None:
            raise self.wrong(f"must be a time like 20s, 500ms or 2m, is {self.kind()}")
        if not least_ms <= value_ms <= most_ms:
            bounds = f"from {in_words(least_ms)} to {in_words(most_ms)}"
            raise self.wrong(f"must be {bounds}, is {shortened(written)}")
        return value_ms


def shortened(value: str) -> str:
    return value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 3] + "..."


def check_depth(file: Path, text: str) -> None:
    """Raises ConfigError where the text nests so deep that composing it overflows the C stack."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise place(file, line, "", "is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def read_file(file: Path) -> bytes:
    """What stands in the file, at most a byte more than it may be. Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise place(file, 0, "", f"cannot be read: {error.strerror}") from None


def read_tree(raw: bytes, file: Path) -> Tree:
    """The top of a file that holds `raw`. Raises ConfigError when it is not one YAML document."""
    if len(raw) > MAX_BYTES:
        raise place(file, 0, "", f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise place(file, line, "", "is not UTF-8 text") from None
    try:
        check_depth(file, text)
        node = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join((error.problem or error.context or "cannot be parsed").split())
        if "cannot start any token" in why and mark and "\t" in text.splitlines()[mark.line]:
            why = "indented with a tab; YAML wants spaces"
        raise place(file, mark.line + 1 if mark else 0, "", f"not YAML: {why}") from None
    except yaml.YAMLError as error:
        why = " ".join(str(error).split("\n")[0].split())
        raise place(file, 0, "", f"not YAML: {why}") from None
    if node is None:
        raise place(file, 0, "", "is empty")
    return Tree(file, node)
