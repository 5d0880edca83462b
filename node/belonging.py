"""Does this data directory belong to the cluster whose keys lie in the store?

A cluster has an identity: drawn once, put into the store by compare-and-set, remembered in each
data directory. So a cluster goes on neither with the epochs of another one nor with a store that
was emptied.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass

from cluster.io.clock import now_ms
from cluster.store import Store, StoreAway, StoreRefused, Unknown, Won
from node.directory import Directory, DirectoryError

CLUSTER_KEY = "cluster"
START_MS = 5_000
"""The store is asked for so long before a node gives up starting."""
AGAIN_S = 0.05


class Stranger(StoreRefused):
    """The store is not this node's."""


@dataclass(frozen=True)
class Remembered:
    """What a data directory knows of its cluster."""

    cluster: str = ""
    is_founding: bool = False
    """It was drawn here, and whether it reached the store is not known."""


def read(directory: Directory) -> Remembered:
    """DirectoryError when it is there and cannot be understood."""
    try:
        known = json.loads(directory.cluster.read_bytes())
        return Remembered(known["cluster"], known.get("founding", False))
    except FileNotFoundError:
        return Remembered()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DirectoryError(f"{directory.cluster}: cannot be read: {error}") from None


def write(directory: Directory, known: Remembered) -> None:
    """DirectoryError."""
    fresh = directory.cluster.with_suffix(f".{secrets.token_hex(4)}")
    document = {"cluster": known.cluster} | ({"founding": True} if known.is_founding else {})
    try:
        fresh.write_text(json.dumps(document) + "\n")
        fresh.replace(directory.cluster)
    except OSError as error:
        raise DirectoryError(f"{directory.cluster}: cannot be written: {error.strerror}") from None


async def belong(store: Store, name: str, directory: Directory, *, alone: bool = False) -> str:
    """The cluster's identity, found or founded. Stranger, StoreAway, DirectoryError.

    `name`: of the store, for a person. `alone`: no other directory belongs to the cluster, so an
    empty one founds a cluster and joins none.
    """
    known = read(directory)
    until_ms = now_ms() + START_MS
    while True:
        try:
            rev, value = await store.read(CLUSTER_KEY)
        except StoreAway:
            if now_ms() > until_ms:
                raise
            await asyncio.sleep(AGAIN_S)
            continue
        stands = "" if value is None else value.decode(errors="replace")
        if stands and stands == known.cluster:
            break
        if stands and known.cluster and not known.is_founding:
            raise Stranger(
                f"{name} holds cluster {stands}, but {directory.path} belongs to cluster "
                f"{known.cluster}: use another prefix, or another data directory"
            )
        if stands and alone:
            raise Stranger(
                f"{name} holds cluster {stands} already, to which {directory.path} does not "
                "belong: use another prefix"
            )
        if stands:
            known = Remembered(stands)
            break
        if known.cluster and not known.is_founding:
            raise Stranger(
                f"{name} holds no cluster, but {directory.path} belongs to cluster "
                f"{known.cluster}: bring the store back, or start with an empty directory"
            )
        # Remembered before it is in the store: a crash in between must not make it a stranger's.
        known = known if known.cluster else Remembered(secrets.token_hex(8), is_founding=True)
        write(directory, known)
        if isinstance(await store.cas(CLUSTER_KEY, rev, known.cluster.encode()), (Won, Unknown)):
            continue  # read back
    if read(directory) != (known := Remembered(known.cluster)):
        write(directory, known)
    return known.cluster
