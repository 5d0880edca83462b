"""What one node is told when it starts."""

import dataclasses
from pathlib import Path

from cluster.placement import STEADY_MS


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
    steady_ms: int = STEADY_MS
    """A node must be up for so long before shards move to it that need not."""

    @property
    def listen(self) -> str:
        """Where this node's link and API listen."""
        return self.peers[self.name]
