"""Which centre a cluster begins with when `keepline up` starts it: the file's, or what stands.

The store has the centre, and `keepline apply` changes it there. A file that says what some kept
version was is an old file: what was applied since stays. A file that says something new is the next
version, as if it were applied while nobody runs.
"""

from collections.abc import Container
from pathlib import Path

from msgspec.structs import replace

from calls.acceptable import successor
from calls.centre import Centre
from cluster.io.contact import quiet
from cluster.io.versions import TooLarge
from cluster.store import StoreAway, StoreRefused
from node import stores
from node.addresses import taken
from node.ask import who
from node.belonging import belong
from node.beside import Compare, all_new, compare
from node.configuration import Configuration, Stored
from node.difference import changes, line
from node.directory import Directory
from node.say import say
from node.store_options import StoreOptions
from node.yaml_tree import read_file

LINES = 20
"""So many changes are told at a start."""


class StartError(Exception):
    """The cluster cannot be started; the text is the one line a person needs."""


async def first_centre(
    directory: Directory, file: Path, wanted: Centre, options: StoreOptions
) -> Centre:
    """The centre in force from now on. No node runs.

    Raises ConfigError, DirectoryError, StartError.
    """
    store, name = stores.make(options, directory, quiet), stores.name(options, directory)
    try:
        await store.open()
        await belong(store, name, directory, alone=not options.is_file)
        return await _settled(Configuration(store), file, wanted)
    except StoreAway as error:
        raise StartError(f"{name} does not answer: {error}") from None
    except StoreRefused as error:
        raise StartError(str(error)) from None
    except TooLarge:
        raise StartError(f"{file}: takes more than the store can hold in one value") from None
    finally:
        await store.close()


async def _settled(configuration: Configuration, file: Path, wanted: Centre) -> Centre:
    kept = await configuration.all()
    if not kept:
        _check_free(wanted, ())
        await configuration.write(wanted, after=0, by=who(), counts=all_new(wanted))
        say(f"centre: version 1, from {file}")
        return wanted
    stands, *before = kept
    old = next((version for version in kept if same(version, wanted)), None)
    if old is None:
        return await _applied(configuration, stands, file, wanted)
    _check_free(stands.centre, await configuration.closed(stands.centre))
    say(f"centre: {stands.origin}")
    if old in before:
        say(f"  {file} is what version {old.number} was; keepline diff -f {file} shows the")
        say("  difference to what stands, and keepline apply -f makes it so")
    return stands.centre


async def _applied(
    configuration: Configuration, stands: Stored, file: Path, wanted: Centre
) -> Centre:
    closed = await configuration.closed(stands.centre)
    text = read_file(file).decode()
    found = compare(Compare(stands.centre, closed, text, str(file), is_stopped=True))
    if found.error:
        raise StartError(found.error)
    fresh = successor(stands.centre, wanted, closed=closed)
    _check_free(fresh, ())
    version = await configuration.write(fresh, after=stands.number, by=who(), counts=found.counts)
    say(f"centre: version {version.number}, from {file}; it was version {stands.number}")
    differs = [f"  {line(change)}" for change in changes(stands.centre, wanted)]
    for text in differs[:LINES]:
        say(text)
    if len(differs) > LINES:
        say(f"  and {len(differs) - LINES} more changes")
    return fresh


def same(stored: Stored, centre: Centre) -> bool:
    """Does a file that declares `centre` say what this version is?"""
    return replace(stored.centre, closing={}, closing_sites=()) == centre


def _check_free(centre: Centre, closed: Container[str]) -> None:
    """Raises StartError when the SIP address of a shard that is not closed cannot be bound."""
    for name, shard in (centre.shards | centre.closing).items():
        why = "" if name in closed else taken(name, shard.sip)
        if why:
            raise StartError(why)
