"""The links of a cluster's nodes, led through a relay that can cut, delay and break them."""

from collections.abc import Sequence
from pathlib import Path

from node.commanded import Commanded
from node.drill import Drill
from node.up import free_ports

HOST = "127.0.0.1"


class Links:
    """Every node reaches every peer by a port of its own. `drill` tells `up`."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Raises StartError when there are no free ports."""
        self._names = names
        pairs = [(node, peer) for node in names for peer in names if node != peer]
        ports = free_ports(len(names) + len(pairs))
        listen = {name: f"{HOST}:{next(ports)}" for name in names}
        entries = {pair: f"{HOST}:{next(ports)}" for pair in pairs}
        self.drill = Drill(
            links=listen,
            through={
                name: {peer: entry for (node, peer), entry in entries.items() if node == name}
                for name in names
            },
        )
        words = [
            f"--link={node}/{peer}={entry}/{listen[peer]}"
            for (node, peer), entry in entries.items()
        ]
        self._relay = Commanded(
            folder, "relay", "loadtest.io.relay", words, title="the relay of the links"
        )

    async def start(self) -> None:
        """Raises CommandFailed."""
        await self._relay.start()

    async def close(self) -> None:
        await self._relay.close()

    async def silence(self, node: str, *, out: bool, into: bool) -> float:
        """Nothing that the node sends (`out`), or is sent (`into`), arrives. When, in ms of the
        monotonic clock.
        """
        silent = [(node, peer) for peer in self._others(node)] if out else []
        silent += [(peer, node) for peer in self._others(node)] if into else []
        return await self._ask(silence=silent)

    async def delay(self, node: str, delay_ms: int) -> float:
        """Everything to and from the node takes so much longer, each way."""
        ways = [way for peer in self._others(node) for way in ((node, peer), (peer, node))]
        return await self._ask(delay=ways, delay_ms=delay_ms)

    async def break_all(self, node: str) -> float:
        """Every connection of the node is reset, and may be made again."""
        return await self._ask(**{"break": [(node, peer) for peer in self._others(node)]})

    async def heal(self) -> None:
        """All is well again."""
        await self._ask(heal=True)

    def _others(self, node: str) -> list[str]:
        return [name for name in self._names if name != node]

    async def _ask(self, **command: object) -> float:
        answer = await self._relay.ask(**command)
        return float(answer["ms"])
