"""Where copies should be, who should lead, and how little moves for it: tables and properties."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import (
    AWAY_MS,
    STEADY_MS,
    Move,
    Node,
    Policy,
    Shard,
    Why,
    next_step,
    order,
    plan,
)

FEW = Policy()
MANY = Policy(moves=1_000)


def cluster_of(count: int, *, hosts: int = 0, sites: int = 1) -> list[Node]:
    """Nodes n1, n2, ... on as many hosts and sites."""
    return [
        Node(f"n{n + 1}", site=f"s{n % sites}", host=f"h{n % (hosts or count)}")
        for n in range(count)
    ]


def fresh(count: int, nodes: Sequence[Node], copies: int = 3) -> list[Shard]:
    """Shards as they are after the first start."""
    found = []
    for place in range(count):
        ranked = order(place, [node.name for node in nodes], ())[:copies]
        found.append(Shard(f"{place:03}", ranked[0], ranked))
    return found


def moved(shard: Shard, move: Move) -> Shard:
    return replace(shard, active=move.active, in_sync=move.holders)


def settle(
    nodes: Sequence[Node],
    shards: Iterable[Shard],
    policy: Policy = FEW,
    *,
    some: random.Random | None = None,
) -> tuple[list[Shard], list[Move]]:
    """Plan and carry out until nothing is left to do; with `some`, each time only some of it."""
    now = {shard.name: shard for shard in shards}
    carried: list[Move] = []
    for _ in range(40 * len(now) + 10):
        moves = plan(nodes, now.values(), policy)
        if not moves:
            return list(now.values()), carried
        if some is not None:
            moves = tuple(some.sample(moves, some.randint(1, len(moves))))
        for move in moves:
            now[move.shard] = moved(now[move.shard], move)
            carried.append(move)
    raise AssertionError(f"it does not come to an end: {moves}")


def copied(before: Iterable[Shard], after: Iterable[Shard]) -> int:
    """How many copies are where none was before."""
    old = {shard.name: set(shard.in_sync) for shard in before}
    return sum(len(set(shard.in_sync) - old[shard.name]) for shard in after)


def load(nodes: Iterable[Node], shards: Iterable[Shard]) -> tuple[dict[str, int], dict[str, int]]:
    """Copies and shards led, by node."""
    copies = {node.name: 0 for node in nodes}
    leads = dict(copies)
    for shard in shards:
        leads[shard.active] += shard.weight
        for name in shard.in_sync:
            copies[name] += shard.weight
    return copies, leads


# -- who tries first -------------------------------------------------------------------------------


def test_shards_begin_on_all_nodes_and_go_on_to_all_that_are_left() -> None:
    names = ("n1", "n2", "n3")
    ranked = [order(place, names, ()) for place in range(6)]
    assert [line[0] for line in ranked] == ["n1", "n2", "n3", "n1", "n2", "n3"]
    assert [line[1] for line in ranked if line[0] == "n1"] == ["n2", "n3"]
    assert all(sorted(line) == sorted(names) for line in ranked)


def test_nodes_that_a_centre_names_come_first_and_unknown_ones_not_at_all() -> None:
    assert order(1, ["n3", "n1", "n2"], ["n3", "n9"]) == ("n3", "n2", "n1")


# -- what moves ------------------------------------------------------------------------------------


def test_what_stands_well_does_not_move() -> None:
    nodes = cluster_of(3)
    assert plan(nodes, fresh(100, nodes)) == ()


def test_a_node_that_joins_gets_its_share_and_nothing_else_moves() -> None:
    before = fresh(100, cluster_of(3))
    nodes = cluster_of(4)
    after, _ = settle(nodes, before)
    copies, leads = load(nodes, after)
    assert copies == {"n1": 75, "n2": 75, "n3": 75, "n4": 75}
    assert leads == {"n1": 25, "n2": 25, "n3": 25, "n4": 25}
    assert copied(before, after) == 75
    others = {"n1", "n2", "n3"}
    for old, new in zip(before, after, strict=True):
        assert set(new.in_sync) & others <= set(old.in_sync)
        assert new.active in (old.active, "n4")


def test_a_node_that_just_came_gets_nothing_that_need_not_move() -> None:
    nodes = cluster_of(4)
    nodes[3] = replace(nodes[3], for_ms=STEADY_MS - 1)
    assert plan(nodes, fresh(12, nodes[:3])) == ()


def test_only_a_few_shards_are_on_their_way_at_once() -> None:
    nodes = cluster_of(4)
    moves = plan(nodes, fresh(100, nodes[:3]), Policy(moves=4))
    assert len(moves) == 4
    assert {move.why for move in moves} == {Why.EVEN}


def test_a_drained_node_ends_with_nothing_and_only_its_own_shards_move() -> None:
    nodes = cluster_of(4)
    before, _ = settle(nodes, fresh(100, nodes))
    nodes[1] = replace(nodes[1], draining=True)
    after, _ = settle(nodes, before)
    copies, leads = load(nodes, after)
    assert (copies["n2"], leads["n2"]) == (0, 0)
    for old, new in zip(before, after, strict=True):
        if "n2" not in old.in_sync:
            assert new == old
        elif old.active != "n2":
            assert new.active == old.active


def test_a_drained_node_leads_nothing_at_once_however_many_shards_there_are() -> None:
    nodes = cluster_of(3)
    nodes[0] = replace(nodes[0], draining=True)
    moves = plan(nodes, fresh(100, nodes), Policy(moves=4))
    assert {move.shard for move in moves} >= {s.name for s in fresh(100, nodes) if s.active == "n1"}
    assert all(move.active != "n1" for move in moves)


def test_two_copies_elsewhere_are_enough_for_a_node_that_drains_and_one_is_not() -> None:
    three = cluster_of(3)
    three[2] = replace(three[2], draining=True)
    assert [move.holders for move in plan(three, [Shard("a", "n1", ("n1", "n2", "n3"))])] == [
        ("n1", "n2")
    ]
    two = cluster_of(2)
    two[1] = replace(two[1], draining=True)
    assert plan(two, [Shard("a", "n1", ("n1", "n2"))]) == ()


def test_the_last_node_cannot_be_drained() -> None:
    nodes = [replace(node, draining=True) for node in cluster_of(2)]
    assert plan(nodes, [Shard("a", "n1", ("n1", "n2"))]) == ()


def test_a_lost_copy_is_made_elsewhere_at_once_if_the_next_failure_would_lose_calls() -> None:
    nodes = cluster_of(4)
    nodes[1] = replace(nodes[1], up=False, for_ms=10)
    (move,) = plan(nodes, [Shard("a", "n1", ("n1",))])
    assert (move.why, len(move.holders)) == (Why.COPY, 2)


def test_with_two_copies_a_node_that_went_is_waited_for_before_a_third_is_made() -> None:
    nodes = cluster_of(4)
    shards = [Shard("a", "n1", ("n1", "n3"))]
    nodes[1] = replace(nodes[1], up=False, for_ms=AWAY_MS - 1)
    assert plan(nodes, shards) == ()
    nodes[1] = replace(nodes[1], for_ms=AWAY_MS)
    (move,) = plan(nodes, shards)
    assert set(move.holders) == {"n1", "n3", "n4"}
    nodes[1] = replace(nodes[1], up=True, for_ms=0)
    assert len(plan(nodes, shards)[0].holders) == 3


def test_copies_go_to_other_hosts_and_sites_where_there_are_any() -> None:
    nodes = [
        Node("a1", site="a", host="1"),
        Node("a2", site="a", host="1"),
        Node("a3", site="a", host="2"),
        Node("b1", site="b", host="3"),
    ]
    after, carried = settle(nodes, [Shard("x", "a1", ("a1", "a2", "a3"))])
    assert set(after[0].in_sync) in ({"a1", "a3", "b1"}, {"a2", "a3", "b1"})
    assert [move.why for move in carried] == [Why.SPREAD]


def test_a_shard_returns_to_its_preferred_node_once_that_is_back_for_a_while() -> None:
    nodes = cluster_of(3)
    away = Shard("a", "n2", ("n2", "n1", "n3"), preferred=("n1",))
    nodes[0] = replace(nodes[0], for_ms=STEADY_MS - 1)
    assert plan(nodes, [away]) == ()
    nodes[0] = replace(nodes[0], for_ms=STEADY_MS)
    assert plan(nodes, [replace(away, settled=("n2", "n3"))]) == ()
    (move,) = plan(nodes, [away])
    assert (move.active, move.why) == ("n1", Why.PREFERRED)


def test_a_preferred_node_without_a_copy_gets_one_first() -> None:
    nodes = cluster_of(4)
    (move,) = plan(nodes, [Shard("a", "n2", ("n2", "n3", "n4"), preferred=("n1",))])
    assert (move.active, move.why) == ("n2", Why.PREFERRED)
    assert "n1" in move.holders


def test_a_shard_stays_where_an_operator_put_it_until_that_node_drains() -> None:
    nodes = cluster_of(3)
    shard = Shard("a", "n2", ("n2", "n1", "n3"), preferred=("n1",), ordered=True)
    assert plan(nodes, [shard]) == ()
    nodes[1] = replace(nodes[1], draining=True)
    assert plan(nodes, [shard])[0].active == "n1"


def test_two_shards_of_one_node_are_not_kept_apart_from_an_idle_one() -> None:
    nodes = cluster_of(3)
    all_three = ("n1", "n2", "n3")
    shards = [Shard("a", "n2", all_three), Shard("b", "n2", all_three)]
    after, carried = settle(nodes, shards)
    assert sorted(shard.active for shard in after) == ["n1", "n2"]
    assert len(carried) == 1


def test_a_heavy_shard_counts_for_as_much_as_it_weighs() -> None:
    nodes = cluster_of(2)
    both = ("n1", "n2")
    shards = [Shard(name, "n1", both) for name in "abcd"]
    shards.append(replace(shards[0], name="heavy", weight=4))
    after, _ = settle(nodes, shards)
    assert load(nodes, after)[1] == {"n1": 4, "n2": 4}


def test_a_shard_whose_active_is_away_is_left_to_whoever_takes_over() -> None:
    nodes = cluster_of(3)
    nodes[0] = replace(nodes[0], up=False)
    assert plan(nodes, [Shard("a", "n1", ("n1", "n2", "n3"))]) == ()


# -- one step after the other ----------------------------------------------------------------------


def test_a_move_copies_first_then_hands_over_then_drops() -> None:
    move = Move("a", ("n2", "n3", "n4"), "n4", Why.EVEN)
    step = next_step(move, "n1", ("n1", "n2", "n3"))
    assert (step.copies, step.hand_over_to) == (("n1", "n2", "n3", "n4"), "")
    step = next_step(move, "n1", ("n1", "n2", "n3", "n4"))
    assert (step.copies, step.hand_over_to) == (("n1", "n2", "n3", "n4"), "n4")
    move = Move("a", ("n2", "n3", "n4"), "n4", Why.SURPLUS)
    step = next_step(move, "n4", ("n4", "n1", "n2", "n3"))
    assert (step.copies, step.hand_over_to) == (("n2", "n3", "n4"), "")


def test_a_node_that_drains_does_not_wait_for_a_copy_that_its_successor_does_not_need() -> None:
    move = Move("a", ("n2", "n3", "n4"), "n2", Why.DRAIN)
    assert next_step(move, "n1", ("n1", "n2", "n3")).hand_over_to == "n2"
    assert next_step(move, "n1", ("n1", "n3")).hand_over_to == ""


# -- properties ------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Node], list[Shard]]:
    """Any nodes, and any shards on them, however badly they lie."""
    count = draw(st.integers(1, 7))
    nodes = [
        Node(
            f"n{n}",
            site=draw(st.sampled_from(["", "a", "b", "c"])),
            host=draw(st.sampled_from(["", "x", "y", "z"])),
            up=draw(st.sampled_from([True, True, True, False])),
            for_ms=draw(st.sampled_from([0, AWAY_MS, STEADY_MS])),
            draining=draw(st.sampled_from([False, False, False, True])),
        )
        for n in range(count)
    ]
    names = [node.name for node in nodes]
    shards = []
    for n in range(draw(st.integers(0, 12))):
        in_sync = draw(st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True))
        shards.append(
            Shard(
                f"{n:02}",
                in_sync[0],
                tuple(in_sync),
                preferred=tuple(draw(st.lists(st.sampled_from(names), max_size=3, unique=True))),
                weight=draw(st.sampled_from([1, 1, 1, 2, 5])),
                ordered=draw(st.sampled_from([False, False, True])),
            )
        )
    return nodes, shards


@given(worlds(), st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_planning_comes_to_an_end_whatever_part_of_it_is_carried_out(
    world: tuple[list[Node], list[Shard]], seed: int
) -> None:
    nodes, shards = world
    settle(nodes, shards, some=random.Random(seed))


@given(worlds(), st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_who_plans_from_the_same_plans_the_same(
    world: tuple[list[Node], list[Shard]], seed: int
) -> None:
    nodes, shards = world
    draw = random.Random(seed)
    shuffled = [
        replace(shard, in_sync=tuple(draw.sample(shard.in_sync, len(shard.in_sync))))
        for shard in draw.sample(shards, len(shards))
    ]
    again = plan(draw.sample(nodes, len(nodes)), shuffled)
    assert [replace(m, holders=tuple(sorted(m.holders))) for m in plan(nodes, shards)] == [
        replace(m, holders=tuple(sorted(m.holders))) for m in again
    ]


@given(worlds())
@settings(max_examples=300, deadline=None)
def test_no_plan_makes_a_shard_less_safe(world: tuple[list[Node], list[Shard]]) -> None:
    nodes, shards = world
    known = {node.name: node for node in nodes}
    usable = sum(node.usable for node in nodes)
    now = {shard.name: shard for shard in shards}
    for move in plan(nodes, shards):
        shard = now[move.shard]
        alive = [name for name in shard.in_sync if known[name].up]
        assert len(set(move.holders)) == len(move.holders)
        assert move.active in move.holders
        assert all(known[name].up for name in move.holders)
        assert len(move.holders) >= min(len(alive), usable, 3)
        if move.active != shard.active:
            assert known[move.active].usable
        if known[shard.active].usable and shard.ordered:
            assert move.active == shard.active


@given(worlds())
@settings(max_examples=300, deadline=None)
def test_in_the_end_every_copy_is_there_and_as_far_apart_as_can_be(
    world: tuple[list[Node], list[Shard]],
) -> None:
    nodes, shards = world
    nodes = [replace(node, for_ms=STEADY_MS) for node in nodes]
    usable = {node.name: node for node in nodes if node.usable}
    if not usable:
        return
    sites = len({node.site for node in usable.values()})
    up = {node.name for node in nodes if node.up}
    after, _ = settle(nodes, [shard for shard in shards if shard.active in up])
    for shard in after:
        if shard.active not in usable:  # nobody else could take it
            assert not set(shard.in_sync) & set(usable)
            continue
        wanted = min(3, len(usable))
        on = [name for name in shard.in_sync if name in usable]
        assert len(on) >= wanted
        # A home and an order come before the spread: so many may be bound to one place.
        bound = {*[n for n in shard.preferred if n in usable][:1]}
        bound |= {shard.active} if shard.ordered else set()
        if len({usable[name].site for name in bound}) == len(bound):
            assert len({usable[name].site for name in on}) >= min(sites, wanted)


@given(st.integers(4, 8), st.integers(1, 40), st.integers(0, 1 << 32))
@settings(max_examples=3000, deadline=None)
def test_load_is_even_in_the_end_and_a_join_moves_little(
    count: int, shards: int, seed: int
) -> None:
    draw = random.Random(seed)
    nodes = cluster_of(count)
    before, _ = settle(nodes[:-1], fresh(shards, nodes[:-1]), MANY, some=draw)
    after, _ = settle(nodes, before, some=draw)
    copies, leads = load(nodes, after)
    assert max(copies.values()) - min(copies.values()) <= 1
    assert max(leads.values()) - min(leads.values()) <= 1
    assert copied(before, after) <= -(-3 * shards // count)


AROUND = 2
"""Where each node with room holds a copy already, another shard makes room."""


@given(st.integers(4, 8), st.integers(1, 40))
@settings(max_examples=3000, deadline=None)
def test_a_node_that_is_gone_moves_hardly_more_than_it_held(count: int, shards: int) -> None:
    nodes = cluster_of(count)
    before, _ = settle(nodes, fresh(shards, nodes), MANY)
    gone = nodes[-1].name
    left = []
    for shard in before:  # each of its shards was taken over
        in_sync = tuple(name for name in shard.in_sync if name != gone)
        active = in_sync[0] if shard.active == gone else shard.active
        left.append(replace(shard, active=active, in_sync=in_sync))
    after, _ = settle(nodes[:-1], left, MANY)
    held = sum(gone in shard.in_sync for shard in before)
    assert copied(before, after) <= held + AROUND


def test_places_are_used_one_after_another() -> None:
    names = [f"n{n}" for n in range(5)]
    firsts = [order(place, names, ())[0] for place in range(10)]
    assert all(one != two for one, two in pairwise(firsts))
