"""Who gets which call: waiting callers and idle agents in, offers with their reasons out.

Pure and derived: the shard's records are the truth, this is an index over them, built anew after a
takeover. Order in a queue is priority, then time of arrival in the centre; a caller whose offer was
not taken comes back to the same place, since nothing of his key has changed.

No caller waits in a queue while an agent who may take him is idle: every change that could make a
pair calls `for_call` or `for_agent`.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence

import msgspec

CANDIDATES_SHOWN = 5
"""So many candidates are kept with a decision."""

Place = tuple[int, int, int, str]
"""(-priority, arrival in ms, order, call): smaller is served first."""


class Offer(msgspec.Struct, frozen=True):
    """A call for an agent, and why him."""

    call: str
    agent: str
    strategy: str
    candidates: list[tuple[str, int]]
    """Agents who could have had it with the time since when they are idle, best first."""
    ahead: int
    """Callers who wait in the queue with a better place (they may not have this agent)."""


class Acd:
    """Queues and idle agents of one shard."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._waiting: dict[str, list[Place]] = {queue: [] for queue in queues}
        self._idle: dict[str, list[tuple[int, str]]] = {queue: [] for queue in queues}
        self._place: dict[str, tuple[str, Place]] = {}
        self._agent: dict[str, tuple[int, tuple[str, ...]]] = {}

    def wait(self, call: str, *, queue: str, priority: int, arrived_ms: int, order: int) -> None:
        """`call` waits in `queue` from now on."""
        assert call not in self._place, call
        place = (-priority, arrived_ms, order, call)
        self._place[call] = (queue, place)
        insort(self._waiting.setdefault(queue, []), place)

    def leave(self, call: str) -> None:
        """`call` waits no more; harmless for one that does not."""
        found = self._place.pop(call, None)
        if found is not None:
            queue, place = found
            line = self._waiting[queue]
            del line[bisect_left(line, place)]

    def idle(self, agent: str, *, queues: tuple[str, ...], idle_ms: int) -> None:
        """`agent` can be offered calls of `queues`; he has had none since `idle_ms`."""
        self.busy(agent)
        self._agent[agent] = (idle_ms, queues)
        for queue in queues:
            insort(self._idle.setdefault(queue, []), (idle_ms, agent))

    def busy(self, agent: str) -> None:
        """`agent` can be offered nothing."""
        found = self._agent.pop(agent, None)
        if found is not None:
            idle_ms, queues = found
            for queue in queues:
                line = self._idle[queue]
                del line[bisect_left(line, (idle_ms, agent))]

    def waiting(self, queue: str) -> int:
        """How many wait in `queue`."""
        return len(self._waiting.get(queue, ()))

    def calls(self, queue: str) -> list[str]:
        """Who waits in `queue`, the first to be served first."""
        return [place[3] for place in self._waiting.get(queue, ())]

    def for_call(
        self, call: str, *, strategy: str, tried: Mapping[str, int], now_ms: int
    ) -> Offer | None:
        """An idle agent for `call`, by `strategy`; None while there is none."""
        assert strategy == "longest_idle", strategy
        queue, place = self._place[call]
        able: list[tuple[str, int]] = []
        for idle_ms, agent in self._idle.get(queue, ()):
            if tried.get(agent, 0) <= now_ms:
                able.append((agent, idle_ms))
                if len(able) == CANDIDATES_SHOWN:
                    break
        if not able:
            return None
        ahead = bisect_left(self._waiting[queue], place)
        return Offer(call, able[0][0], strategy, able, ahead)

    def for_agent(
        self,
        agent: str,
        *,
        strategy_of: Callable[[str], str],
        tried_by: Callable[[str], Mapping[str, int]],
        now_ms: int,
    ) -> Offer | None:
        """The caller who has the best place in any of the agent's queues; None if none waits.

        The agent must be idle. A caller who was offered to him a moment ago is passed over.
        """
        idle_ms, queues = self._agent[agent]
        best: tuple[Place, str, int] | None = None
        for queue in queues:
            for ahead, place in enumerate(self._waiting.get(queue, ())):
                if tried_by(place[3]).get(agent, 0) > now_ms:
                    continue
                if best is None or place < best[0]:
                    best = (place, queue, ahead)
                break
        if best is None:
            return None
        place, queue, ahead = best
        return Offer(place[3], agent, strategy_of(queue), [(agent, idle_ms)], ahead)
