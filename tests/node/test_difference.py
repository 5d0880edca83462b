"""What a change changes, line by line."""

from pathlib import Path

from hypothesis import given, settings

from calls.centre import Centre
from node.config import load_centre, read_centre
from node.difference import changes, line
from node.yaml_tree import read_tree
from tests.node.centres import centres

ROOT = Path(__file__).parents[2]
OLD = """
shards:
  north: {sip: "127.0.0.1:5060", preferred: [n1]}
numbers:
  "4001": {queue: sales}
queues:
  sales: {offer_timeout: 20s, wrap_up: 5s}
agents:
  "1001": {name: Desk 1, phone: "sip:1001@127.0.0.1:7001", queues: [sales]}
  "1003": {phone: "sip:1003@127.0.0.1:7003", queues: [sales]}
"""
NEW = """
shards:
  north: {sip: "127.0.0.1:5060", preferred: [n2, n1], elsewhere: refuse}
  south: {sip: "127.0.0.1:5062"}
numbers:
  "4001": {queue: support, prompt: ""}
  "4002": {queue: sales, priority: 3}
queues:
  sales: {shard: north, wrap_up: 10s, no_answer: {pause: 30s}}
  support: {shard: south}
agents:
  "1001": {name: Desk 1, phone: "sip:1001@127.0.0.1:7009", queues: [sales]}
  "1004": {phone: "sip:1004@127.0.0.1:7004", queues: [support]}
max_calls: 5000
"""


def centre(text: str) -> Centre:
    return read_centre(read_tree(text.encode(), Path("centre.yaml")))


def test_each_kind_of_change_has_its_line() -> None:
    assert [line(change) for change in changes(centre(OLD), centre(NEW))] == [
        "~ shard north: preferred n1 → n2, n1, elsewhere none → refuse",
        "+ shard south at 127.0.0.1:5062",
        "~ queue sales: wrap_up 5s → 10s, no_answer not_ready → {pause: 30s}",
        "+ queue support in shard south",
        "~ number 4001: queue sales → support, prompt welcome.wav → none",
        "+ number 4002 → queue sales",
        "~ agent 1001: phone sip:1001@127.0.0.1:7001 → sip:1001@127.0.0.1:7009",
        "- agent 1003",
        "+ agent 1004 at sip:1004@127.0.0.1:7004 for support",
        "~ centre: max_calls 10000 → 5000",
    ]


def test_a_machine_reads_each_field_before_and_after() -> None:
    found = {change["name"]: change for change in changes(centre(OLD), centre(NEW))}
    assert found["sales"] == {
        "change": "changed",
        "kind": "queue",
        "name": "sales",
        "fields": {"wrap_up": ["5s", "10s"], "no_answer": ["not_ready", {"pause": "30s"}]},
    }
    assert found["1003"]["change"] == "removed"
    assert found["1003"]["fields"]["phone"] == ["sip:1003@127.0.0.1:7003", None]
    assert found["4002"]["fields"] == {
        "queue": [None, "sales"], "prompt": [None, "welcome.wav"], "priority": [None, 3],
    }  # fmt: skip


def test_the_first_version_adds_everything() -> None:
    found = changes(None, load_centre(ROOT / "examples/two-shards.yaml"))
    assert {change["change"] for change in found} == {"added"}
    assert len(found) == 10


@settings(max_examples=100, deadline=None)
@given(centres(), centres())
def test_there_is_a_difference_where_centres_differ_and_only_there(
    one: Centre, two: Centre
) -> None:
    assert changes(one, one) == []
    found = changes(one, two)
    assert bool(found) == (one != two)
    back = changes(two, one)
    assert {(c["kind"], c["name"]) for c in back} == {(c["kind"], c["name"]) for c in found}
    assert all(line(change)[0] in "+-~" for change in found)
