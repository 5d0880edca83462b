"""Which nodes there are, where they are, and since when they are up or away, as one node sees it.

A node is known because it was named at the start, or because its process wrote itself into the
store. One that stopped in order has removed what it wrote and is no longer known; one that died is
missed until an operator says that it is gone for good.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.placement import Node
from cluster.store import Process


@dataclass(slots=True)
class _Seen:
    up: bool
    since_ms: int


class Roster:
    """The nodes of a cluster."""

    def __init__(self, me: str, named: Mapping[str, str], now_ms: int) -> None:
        """`named`: node to the address "ip:port" of its links, this one's too."""
        self._me = me
        self._named = dict(named)
        self._newest: dict[str, Process] = {}
        self._seen = {me: _Seen(up=True, since_ms=now_ms)}
        self._began_ms = now_ms
        self._greeted: dict[str, str] = {}
        self.draining: frozenset[str] = frozenset()

    def learn(self, processes: Iterable[Process]) -> None:
        """What stands in the store: of each node the process counts that greeted us last, or the
        newest one."""

        def rank(process: Process) -> tuple[bool, int]:
            return self._greeted.get(process.node) == process.incarnation, process.started_ms

        newest: dict[str, Process] = {}
        for process in processes:
            known = newest.get(process.node)
            if known is None or rank(process) >= rank(known):
                newest[process.node] = process
        self._newest = newest

    def greeted(self, node: str, incarnation: str) -> bool:
        """The node's process is this one now. True: look it up in the store."""
        self._greeted[node] = incarnation
        known = self._newest.get(node)
        return known is None or known.incarnation != incarnation

    def link(self, node: str, *, up: bool, now_ms: int) -> None:
        """The link to this node stands, or stands no more."""
        seen = self._seen.get(node)
        if seen is None or seen.up != up:
            self._seen[node] = _Seen(up, now_ms)

    def is_named(self, node: str) -> bool:
        """Was it named at the start?"""
        return node in self._named

    def addresses(self) -> dict[str, str]:
        """Every node's link, by name."""
        found = {name: process.address for name, process in self._newest.items()}
        found = {name: address for name, address in found.items() if address}
        return dict(sorted((found | self._named).items()))

    def nodes(self, now_ms: int) -> list[Node]:
        """All of them, for the placement."""
        found = []
        for name in self.addresses():
            process = self._newest.get(name)
            seen = self._seen.get(name)
            found.append(
                Node(
                    name,
                    site=process.site if process else "",
                    host=process.host if process else "",
                    up=seen is not None and seen.up,
                    for_ms=now_ms - (seen.since_ms if seen else self._began_ms),
                    draining=name in self.draining,
                )
            )
        return found
