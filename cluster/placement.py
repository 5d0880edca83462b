"""Which nodes should hold a shard's copies, which one should lead it, and what moves for that.

A plan starts from what stands and changes as little as it can:

- copies are on as many sites, and then on as many hosts, as the nodes allow;
- what need not move (the spread, a preferred node, even load) moves a few shards at a time, to
  nodes that have been up for a while, and only if that makes it strictly better: so planning again
  and again comes to an end, whoever plans;
- equal input, in any order, gives an equal plan: every node reads the same store and carries out
  the part of the plan that concerns the shards it leads.

A copy that is missing and a node that drains do not wait for any of this.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cluster.replicas import COPIES

STEADY_MS = 30_000
"""A node must be up for so long before shards move to it that need not."""
AWAY_MS = 10_000
"""A node that went may come back for so long: shards with two copies wait for it with the third."""
MOVES = 4
"""So many shards at most are on their way at once that need not move."""
SAFE = 2
"""With so many copies the next failure loses nothing."""


class Why(Enum):
    """What a move is good for."""

    COPY = "a copy is missing"
    SURPLUS = "a copy too many"
    DRAIN = "a node drains"
    SPREAD = "copies share a site or host"
    PREFERRED = "a preferred node is back"
    EVEN = "load is uneven"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as whoever plans sees it."""

    name: str
    site: str = ""
    host: str = ""
    up: bool = True
    for_ms: int = 1 << 40
    """It has been up, or away, for so long."""
    draining: bool = False

    @property
    def usable(self) -> bool:
        return self.up and not self.draining


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as its key says."""

    name: str
    active: str
    """Its node."""
    in_sync: tuple[str, ...]
    """Nodes that hold all of it, the active's too."""
    preferred: tuple[str, ...] = ()
    """Nodes that should lead it, best first; none: any."""
    weight: int = 1
    ordered: bool = False
    """An operator put it where it is: it stays there while that node is usable."""
    far: tuple[str, ...] = ()
    """Nodes on which it is not placed: what they hold is nobody's business here."""
    settled: tuple[str, ...] | None = None
    """Those of `in_sync` that have been so for a while; None: all."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much, and how fast."""

    copies: int = COPIES
    steady_ms: int = STEADY_MS
    away_ms: int = AWAY_MS
    moves: int = MOVES


DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Move:
    """What should become of one shard."""

    shard: str
    holders: tuple[str, ...]
    """The nodes that hold copies then."""
    active: str
    why: Why


@dataclass(frozen=True, slots=True)
class Step:
    """What the active does next for a move."""

    copies: tuple[str, ...]
    """The nodes that shall hold copies for now."""
    hand_over_to: str = ""


@dataclass(slots=True)
class _Goal:
    """A shard on its way through a plan."""

    shard: Shard
    holders: list[str]
    active: str
    why: Why | None = None


def order(place: int, nodes: Iterable[str], preferred: Sequence[str]) -> tuple[str, ...]:
    """All nodes, in the order in which they try to lead a shard: `preferred` first.

    `place` is the shard's among all shards: each begins elsewhere, and those that begin on the same
    node go on to different ones when it fails.
    """
    names = sorted(nodes)
    first = place % len(names)
    rest = [*names[first + 1 :], *names[:first]]
    shift = place // len(names) % max(1, len(rest))
    ranked = [names[first], *rest[shift:], *rest[:shift]]
    named = [node for node in preferred if node in names]
    return (*named, *(node for node in ranked if node not in named))


def plan(
    nodes: Iterable[Node], shards: Iterable[Shard], policy: Policy = DEFAULT
) -> tuple[Move, ...]:
    """What should change now: all that is urgent, and of the rest as much as may be under way."""
    known = {node.name: node for node in sorted(nodes, key=lambda node: node.name)}
    planner = _Planner(known, sorted(shards, key=lambda shard: shard.name), policy)
    return planner.plan()


def next_step(move: Move, active: str, in_sync: Sequence[str]) -> Step:
    """First the new copies, then the new active, and only then fewer copies."""
    missing = [name for name in move.holders if name not in in_sync]
    if move.active != active:
        # Who drains hands over to whoever is ready; all others wait until every copy is whole.
        is_ready = move.active in in_sync and (not missing or move.why is Why.DRAIN)
        return Step((*in_sync, *missing), move.active if is_ready else "")
    if missing:
        return Step((*in_sync, *missing))
    return Step(move.holders)


class _Planner:
    def __init__(self, nodes: Mapping[str, Node], shards: Sequence[Shard], policy: Policy) -> None:
        self._nodes = nodes
        self._policy = policy
        self._usable = [name for name, node in nodes.items() if node.usable]
        self._steady = [name for name in self._usable if nodes[name].for_ms >= policy.steady_ms]
        self._may_return = any(
            not node.up and not node.draining and node.for_ms < policy.away_ms
            for node in nodes.values()
        )
        self._wanted = min(policy.copies, len(self._usable))
        self._enough = max(self._wanted, min(policy.copies, SAFE))
        """With so many copies elsewhere a node that drains need hold none."""
        self._goals: list[_Goal] = []
        self._holds = dict.fromkeys(nodes, 0)
        self._leads = dict.fromkeys(nodes, 0)
        self._left = policy.moves
        for shard in shards:
            holders = sorted(name for name in shard.in_sync if name in nodes and nodes[name].up)
            if shard.active in holders:  # else whoever takes over plans for it
                self._goals.append(_Goal(shard, holders, shard.active))
                self._leads[shard.active] += shard.weight
                for name in holders:
                    self._holds[name] += shard.weight

    def plan(self) -> tuple[Move, ...]:
        if not self._usable:
            return ()
        for goal in self._goals:
            self._repair(goal)
        for goal in self._goals:
            self._leave_draining(goal)
        for goal in self._goals:
            self._spread(goal)
        for goal in self._goals:
            self._return(goal)
        while self._left and self._even_copies():
            pass
        while self._left and self._even_actives():
            pass
        return tuple(
            Move(goal.shard.name, tuple(goal.holders), goal.active, goal.why)
            for goal in self._goals
            if goal.why is not None
        )

    # -- changing a goal ---------------------------------------------------------------------------

    def _hold(self, goal: _Goal, name: str) -> None:
        goal.holders.append(name)
        self._holds[name] += goal.shard.weight

    def _drop(self, goal: _Goal, name: str) -> None:
        goal.holders.remove(name)
        self._holds[name] -= goal.shard.weight

    def _lead(self, goal: _Goal, name: str) -> None:
        self._leads[goal.active] -= goal.shard.weight
        self._leads[name] += goal.shard.weight
        goal.active = name

    def _begin(self, goal: _Goal, why: Why) -> bool:
        """May this shard move, which need not? It counts once, whatever moves of it."""
        if goal.why in (None, Why.COPY, Why.SURPLUS):
            if not self._left:
                return False
            self._left -= 1
            goal.why = why
        return True

    def _is_pinned(self, goal: _Goal) -> bool:
        """Does something else than even load say who leads it?"""
        return goal.shard.ordered or any(name in self._usable for name in goal.shard.preferred)

    # -- copies ------------------------------------------------------------------------------------

    def _repair(self, goal: _Goal) -> None:
        """As many copies as there should be, no more and no less."""
        while len(goal.holders) < self._wanted:
            if self._may_return and len(goal.holders) >= SAFE:
                break
            chosen = self._best(goal, self._usable, goal.holders)
            if chosen is None:
                break
            self._hold(goal, chosen)
            goal.why = Why.COPY
        while (surplus := self._surplus(goal)) is not None:
            self._drop(goal, surplus)
            goal.why = goal.why or Why.SURPLUS

    def _best(self, goal: _Goal, among: Iterable[str], beside: Sequence[str]) -> str | None:
        """Where the next copy should be, `beside` those that stay."""
        out = (*goal.holders, *goal.shard.far)
        able = [name for name in among if name not in out]
        preferred = goal.shard.preferred
        return min(
            able,
            key=lambda name: (
                [-value for value in self._score([*beside, name])],
                preferred.index(name) if name in preferred else len(preferred),
                self._holds[name],
                name,
            ),
            default=None,
        )

    def _surplus(self, goal: _Goal) -> str | None:
        """The copy that there need not be, if there is one."""
        usable = [name for name in goal.holders if name in self._usable]
        draining = [name for name in goal.holders if name not in self._usable]
        if draining and len(usable) >= self._enough:
            spare = draining
        elif len(usable) > self._wanted:
            spare = usable
        else:
            return None
        kept = {goal.active, *self._home(goal)}
        preferred = goal.shard.preferred
        return min(
            (name for name in spare if name not in kept),
            key=lambda name: (
                [-value for value in self._score([n for n in goal.holders if n != name])],
                -preferred.index(name) if name in preferred else -len(preferred),
                -self._holds[name],
                name,
            ),
            default=None,
        )

    def _home(self, goal: _Goal) -> list[str]:
        """The best of the preferred nodes, and the best that is steady: they keep their copies."""
        preferred = goal.shard.preferred
        usable = [name for name in preferred if name in self._usable][:1]
        steady = [name for name in preferred if name in self._steady][:1]
        return [*usable, *(name for name in steady if name not in usable)]

    def _score(self, holders: Sequence[str]) -> tuple[int, int]:
        """How well copies on these nodes are spread: on how many sites, on how many hosts."""
        nodes = [self._nodes[name] for name in holders]
        return (
            len({node.site for node in nodes}),
            len({(node.site, node.host or node.name) for node in nodes}),
        )

    def _leave_draining(self, goal: _Goal) -> None:
        while draining := [name for name in goal.holders if name not in self._usable]:
            stays = [name for name in goal.holders if name in self._usable]
            chosen = self._best(goal, self._usable, stays)
            if len(stays) >= self._wanted or chosen is None or not self._begin(goal, Why.DRAIN):
                break
            self._hold(goal, chosen)
            spare = [name for name in draining if name != goal.active]
            if not spare:
                break
            self._drop(goal, spare[0])
        if goal.active in self._usable:
            return
        heir = self._heir(goal)
        if heir is not None:
            old = goal.active
            self._lead(goal, heir)
            goal.why = Why.DRAIN
            if sum(name in self._usable for name in goal.holders) >= self._enough:
                self._drop(goal, old)

    def _heir(self, goal: _Goal) -> str | None:
        """Who leads it when its active drains: one that is in sync now, if there is one."""
        preferred = goal.shard.preferred
        return min(
            (name for name in goal.holders if name in self._usable),
            key=lambda name: (
                name not in goal.shard.in_sync,
                preferred.index(name) if name in preferred else len(preferred),
                self._leads[name],
                name,
            ),
            default=None,
        )

    def _spread(self, goal: _Goal) -> None:
        """Exchange one copy if that brings the shard to more sites or hosts."""
        now = self._score(goal.holders)
        keep = self._home(goal)
        options = [
            (
                [-value for value in self._score([*stays, new])],
                old == goal.active,
                self._holds[new] - self._holds[old],
                new,
                old,
            )
            for old in goal.holders
            if old not in keep and not (old == goal.active and goal.shard.ordered)
            for stays in [[name for name in goal.holders if name != old]]
            for new in self._steady
            if new not in (*goal.holders, *goal.shard.far) and self._score([*stays, new]) > now
        ]
        if options and self._begin(goal, Why.SPREAD):
            _, _, _, new, old = min(options)
            self._exchange(goal, old, new)

    def _exchange(self, goal: _Goal, old: str, new: str) -> None:
        self._hold(goal, new)
        if old == goal.active:
            self._lead(goal, new)
        self._drop(goal, old)

    # -- who leads ---------------------------------------------------------------------------------

    def _return(self, goal: _Goal) -> None:
        """To the best of the preferred nodes that has been back for a while."""
        shard = goal.shard
        home = next((name for name in shard.preferred if name in self._steady), None)
        if home is None or home == goal.active or shard.ordered:
            return
        if goal.active in shard.preferred[: shard.preferred.index(home)]:
            return
        if home not in goal.holders:
            if not self._begin(goal, Why.PREFERRED):
                return
            self._hold(goal, home)
            worst = self._surplus(goal)
            if worst is not None:
                self._drop(goal, worst)
        settled = shard.in_sync if shard.settled is None else shard.settled
        if goal.active != home and home in settled and self._begin(goal, Why.PREFERRED):
            self._lead(goal, home)

    def _even_copies(self) -> bool:
        """Move one copy from a node that holds much to one that holds little. False: it is even."""
        for old, new, apart in self._apart(self._holds):
            able = [goal for goal in self._goals if self._may_exchange(goal, old, new, apart)]
            # One that is not led there only has to be copied.
            chosen = min(
                able,
                key=lambda goal: (goal.active == old, -goal.shard.weight, goal.shard.name),
                default=None,
            )
            if chosen is not None and self._begin(chosen, Why.EVEN):
                self._exchange(chosen, old, new)
                return True
        return False

    def _may_exchange(self, goal: _Goal, old: str, new: str, apart: int) -> bool:
        holders = goal.holders
        if new in goal.shard.far or goal.shard.weight >= apart:
            return False
        if old not in holders or new in holders:
            return False
        if old in self._home(goal) or (old == goal.active and self._is_pinned(goal)):
            return False
        stays = [name for name in holders if name != old]
        return self._score([*stays, new]) >= self._score(holders)

    def _even_actives(self) -> bool:
        """Let another holder lead one shard of a node that leads many. False: it is even."""
        for old, new, apart in self._apart(self._leads):
            able = [
                goal
                for goal in self._goals
                if goal.active == old
                and new in goal.holders
                and goal.shard.weight < apart
                and not self._is_pinned(goal)
            ]
            chosen = min(
                able,
                key=lambda goal: (
                    new not in goal.shard.in_sync,
                    -goal.shard.weight,
                    goal.shard.name,
                ),
                default=None,
            )
            if chosen is not None and self._begin(chosen, Why.EVEN):
                self._lead(chosen, new)
                return True
        return False

    def _apart(self, load: Mapping[str, int]) -> list[tuple[str, str, int]]:
        """Pairs of nodes, from much load to little, the furthest apart first."""
        pairs = [
            (old, new, load[old] - load[new])
            for old in self._usable
            for new in self._steady
            if load[old] - load[new] > 1
        ]
        return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))
