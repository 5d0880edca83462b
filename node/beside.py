"""Reading, comparing and writing centres beside the loop, in a process of its own.

A file of ten thousand agents takes a second of a processor. In a thread of the node it would hold
up the loop all the same: after each of its system calls the loop would have to wait for the thread.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from calls.acceptable import conflict
from calls.centre import Centre
from node.centre_file import as_file, as_yaml
from node.config import ConfigError, read_centre
from node.difference import Change, changes
from node.yaml_tree import Tree, read_tree

DEADLINE_MS = 8_000
NICE = 10
"""Calls go before it."""


class Compare(msgspec.Struct, tag=True):
    """What would this change come to?"""

    stands: Centre
    closed: Sequence[str]
    """Shards of what `stands` is closing of which nothing is left."""
    text: str
    """A centre's file; empty: `back`."""
    file: str
    back: Centre | None = None
    is_stopped: bool = False
    """No node runs."""


class Compared(msgspec.Struct):
    """The centre that is wanted, or what is wrong with it."""

    error: str = ""
    centre: Centre | None = None
    changes: msgspec.Raw = msgspec.Raw(b"[]")
    """As `node.difference` has them."""
    counts: dict[str, int] = {}
    """How many of them are added, changed, removed."""
    places: dict[str, str] = {}
    """Where in the file what is new stands that the nodes may have something against."""


class Write(msgspec.Struct, tag=True):
    """How is this centre said in a file?"""

    centre: Centre


class Written(msgspec.Struct):
    """As a document and as a file."""

    centre: msgspec.Raw
    file: str


class Failed(Exception):
    """It did not come to an end; nothing was changed."""


def compare(asked: Compare) -> Compared:
    """Never raises: a wrong file is an `error`."""
    tree: Tree | None = None
    try:
        if asked.text:
            tree = read_tree(asked.text.encode(), Path(asked.file))
            wanted = read_centre(tree)
        else:
            assert asked.back is not None
            wanted = asked.back
    except ConfigError as error:
        return Compared(str(error))
    found = conflict(asked.stands, wanted, closed=asked.closed, is_stopped=asked.is_stopped)
    if found is not None:
        name = ".".join(found.path)
        wrong = tree.wrong_at(found.path, found.why) if tree else f"{name}: {found.why}"
        return Compared(str(wrong))
    differs = changes(asked.stands, wanted)
    counts = dict.fromkeys(("added", "changed", "removed"), 0)
    for change in differs:
        counts[change["change"]] += 1
    places = {} if tree is None else _places(tree, differs)
    return Compared("", wanted, msgspec.Raw(msgspec.json.encode(differs)), counts, places)


def _places(tree: Tree, differs: Sequence[Change]) -> dict[str, str]:
    """Of the addresses of new shards and the queues of new agents: `FILE:LINE: field` by field."""
    found = {}
    sections = tree.mapping()
    for kind, section, field in (("shard", "shards", "sip"), ("agent", "agents", "queues")):
        entries = sections[section].mapping() if section in sections else {}
        for change in differs:
            if (change["kind"], change["change"]) == (kind, "added") and change["name"] in entries:
                place = str(entries[change["name"]].wrong_at((field,), "")).removesuffix(": ")
                found[f"{section}.{change['name']}.{field}"] = place
    return found


def all_new(centre: Centre) -> dict[str, int]:
    """The counts of a first version."""
    own = len(centre.shards) + len(centre.queues) + len(centre.numbers) + len(centre.agents)
    lines = centre.inventory
    seen = len(lines.sites) + len(lines.carriers) + len(lines.devices) + len(lines.trunks)
    seen += len(lines.receivers) + len(lines.profiles)
    return {"added": own + seen, "changed": 0, "removed": 0}


def write(asked: Write) -> Written:
    document = msgspec.Raw(msgspec.json.encode(as_file(asked.centre)))
    return Written(document, as_yaml(asked.centre))


async def compared(asked: Compare) -> Compared:
    """`compare`, beside the loop. Raises Failed."""
    return msgspec.json.decode(await asyncio.to_thread(_run, asked), type=Compared)


async def written(asked: Write) -> Written:
    """`write`, beside the loop. Raises Failed."""
    return msgspec.json.decode(await asyncio.to_thread(_run, asked), type=Written)


def _run(asked: Compare | Write) -> bytes:
    # By subprocess, which forks without a copy of our memory (vfork); uvloop would make one.
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "node.beside"],
            input=msgspec.json.encode(asked),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_MS / 1_000,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"it took longer than {DEADLINE_MS / 1_000:g} s") from None
    except OSError as error:
        raise Failed(f"no process: {error.strerror}") from None
    if done.returncode:
        raise Failed(f"it ended with status {done.returncode}")
    return done.stdout


def main() -> None:
    """One question on stdin, its answer on stdout."""
    os.nice(NICE)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Compare | Write)
    answer = compare(asked) if isinstance(asked, Compare) else write(asked)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
