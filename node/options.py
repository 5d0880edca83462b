"""What one node is told when it starts."""

import dataclasses
from pathlib import Path

from cluster.identity import Files, NotSecure
from cluster.io.journal import TAILS
from cluster.placement import STEADY_MS
from node.store_options import StoreOptions


@dataclasses.dataclass(frozen=True)
class NodeOptions:
    """The options of `keepline node`."""

    name: str
    data: Path
    """The data directory; `node.directory` says what lies where in it."""
    peers: dict[str, str]
    """This node, and those it is to know from the start: name to the "IP:PORT" where its link and
    API listen. It finds the others in the store."""
    centre: Path | None = None
    """The YAML file of the first version of the centre, where the store has none."""
    metrics_port: int = 0
    """Where /metrics listens; 0: any free port."""
    site: str = ""
    store: StoreOptions = dataclasses.field(default_factory=StoreOptions)
    steady_ms: int = STEADY_MS
    """A node must be up for so long before shards move to it that need not."""
    tls: Files | None = None
    """This node's certificate; None: it uses nothing but loopback."""
    journal: str = "async"
    """"async", "sync" or "off": see `cluster.journaling`."""
    tails: Path = TAILS
    """Where the newest part of the journals lies: in memory that outlives the process."""
    clock_jump_ms: int = 0
    """For drills: SIGUSR2 moves the wall clock so far, and the next one back."""

    @property
    def listen(self) -> str:
        """Where this node's link and API listen."""
        return self.peers[self.name]


def tls_files(
    folder: Path | None, ca: Path | None, cert: Path | None, key: Path | None
) -> Files | None:
    """The files of a folder, or those that are named one by one. Raises NotSecure."""
    if folder and not (ca or cert or key):
        from cluster.io.security import files_in

        return files_in(folder)
    if ca and cert and key and not folder:
        return Files(ca, cert, key)
    if folder or ca or cert or key:
        raise NotSecure("--tls alone, or --tls-ca, --tls-cert and --tls-key together")
    return None
