"""What one node is told when it starts."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class NodeOptions:
    """The options of `keepline node`."""

    name: str
    data: Path
    """The data directory; `node.directory` says what lies where in it."""
    centre: Path
    """The centre's YAML file."""
    peers: dict[str, str]
    """Every node, this one included: name to the "IP:PORT" where its link and API listen."""
    metrics_port: int = 0
    """Where /metrics listens; 0: any free port."""
    site: str = ""

    @property
    def listen(self) -> str:
        """Where this node's link and API listen."""
        return self.peers[self.name]
