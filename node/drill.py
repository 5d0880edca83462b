"""What a drill changes in how `keepline up` runs its nodes: links that lead elsewhere, a clock that
can jump. Nobody needs it but `keepline chaos`.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from node.config import ConfigError


class Drill(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file that `up --drill` names."""

    links: dict[str, str] = {}
    """Node to the "IP:PORT" where its link and API listen."""
    through: dict[str, dict[str, str]] = {}
    """Node to its peers, each with the "IP:PORT" that the node shall dial to reach it."""
    clock_jump_ms: int = 0
    """SIGUSR2 moves a node's wall clock so far, and the next one back."""

    def peers(self, node: str, links: Mapping[str, str]) -> dict[str, str]:
        """Where this node finds itself and its peers, who listen at `links`."""
        return {**links, **self.through.get(node, {}), node: links[node]}

    def words(self) -> list[str]:
        """What is added to each node's command line."""
        return [f"--clock-jump={self.clock_jump_ms}"] if self.clock_jump_ms else []


def read_drill(path: Path) -> Drill:
    """The drill of a file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Drill)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: is no drill: {error}") from None
