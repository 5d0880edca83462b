"""Which nodes there are, as one of them sees it."""

from cluster.placement import Node
from cluster.roster import Roster
from cluster.store import Process


def process(node: str, incarnation: str, started_ms: int, **more: str) -> Process:
    return Process(
        node=node,
        incarnation=incarnation,
        pid=1,
        start_time=1,
        host="h",
        boot_id="b",
        started_ms=started_ms,
        **more,
    )


def test_named_nodes_are_known_and_those_that_wrote_themselves_down() -> None:
    roster = Roster("a", {"a": "1", "b": "2"}, 0)
    roster.learn([process("c", "x", 1, address="3"), process("b", "x", 1, address="9")])
    assert roster.addresses() == {"a": "1", "b": "2", "c": "3"}
    roster.learn([])
    assert roster.addresses() == {"a": "1", "b": "2"}
    assert roster.is_named("b")
    assert not roster.is_named("c")


def test_of_two_processes_of_a_node_the_one_that_greeted_counts_else_the_newest() -> None:
    roster = Roster("a", {"a": "1"}, 0)
    both = [process("c", "old", 5, address="old"), process("c", "new", 9, address="new")]
    assert roster.greeted("c", "new")
    roster.learn(both)
    assert roster.addresses()["c"] == "new"
    assert not roster.greeted("c", "new")
    assert roster.greeted("c", "old")  # its clock went back when it was restarted
    roster.learn(both)
    assert roster.addresses()["c"] == "old"


def test_since_when_a_node_is_up_or_away_is_counted_from_its_link() -> None:
    roster = Roster("a", {"a": "1", "b": "2"}, 100)
    roster.learn([process("b", "x", 1, address="2", site="s")])
    assert roster.nodes(150) == [
        Node("a", up=True, for_ms=50),
        Node("b", site="s", host="h", up=False, for_ms=50),
    ]
    roster.link("b", up=True, now_ms=200)
    roster.link("b", up=True, now_ms=300)
    roster.draining = frozenset(["b"])
    assert roster.nodes(400)[1] == Node("b", "s", "h", up=True, for_ms=200, draining=True)
    roster.link("b", up=False, now_ms=500)
    assert roster.nodes(500)[1].for_ms == 0
