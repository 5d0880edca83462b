"""Which centre may follow which, and which shards go on until their calls have ended."""

import pytest
from msgspec.structs import replace

from calls.acceptable import conflict, successor
from calls.centre import Agent, Centre, Number, Queue, Shard

NORTH, SOUTH = Shard(("127.0.0.1", 5060)), Shard(("127.0.0.1", 5062))
EAST = Shard(("127.0.0.1", 5064))
OLD = Centre(
    numbers={"4001": Number("sales")},
    queues={"sales": Queue(shard="north"), "help": Queue(shard="south")},
    agents={
        "1": Agent("1", "sip:1@127.0.0.1", ("sales",)),
        "2": Agent("2", "sip:2@127.0.0.1", ("help",)),
    },
    shards={"north": NORTH, "south": SOUTH},
)
ONLY_SOUTH = Centre(
    numbers={"4001": Number("help")},
    queues={"help": Queue(shard="south")},
    agents={"2": OLD.agents["2"]},
    shards={"south": SOUTH},
)


def why(new: Centre, old: Centre = OLD, *, closed: tuple[str, ...] = ()) -> str:
    found = conflict(old, new, closed=closed)
    return "" if found is None else f"{'.'.join(found.path)}: {found.why}"


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        ONLY_SOUTH,
        replace(OLD, shards={**OLD.shards, "east": EAST}),
        replace(OLD, numbers={"4001": Number("help"), "4002": Number("sales")}),
        replace(OLD, agents={"1": replace(OLD.agents["1"], phone="sip:9@127.0.0.1")}),
        replace(OLD, agents={}, numbers={}, queues={"help": Queue(shard="south")}),
        replace(OLD, max_calls=1, elsewhere="refuse"),
    ],
)
def test_most_changes_may_be_made_at_any_time(new: Centre) -> None:
    assert why(new) == ""


def test_the_address_that_phones_answer_to_stays() -> None:
    moved = replace(OLD, shards={"north": EAST, "south": SOUTH})
    assert why(moved) == (
        "shards.north.sip: must stay 127.0.0.1:5060 while the cluster runs: "
        "that is what phones in its calls answer to"
    )
    assert conflict(OLD, moved, closed=(), is_stopped=True) is None


def test_a_shard_that_closes_keeps_its_address_until_it_is_closed() -> None:
    closing = successor(OLD, ONLY_SOUTH, closed=())
    assert closing.closing == {"north": NORTH}
    for old in (OLD, closing):
        assert why(replace(ONLY_SOUTH, shards={"south": SOUTH, "east": NORTH}), old) == (
            "shards.east.sip: is the address of shard north until its last call has ended"
        )
    back = replace(OLD, shards={"north": EAST, "south": SOUTH})
    assert why(back, closing).startswith("shards.north.sip: must stay 127.0.0.1:5060")
    assert why(back, closing, closed=("north",)) == ""
    assert why(replace(ONLY_SOUTH, shards={"south": SOUTH, "east": NORTH}), closing,
               closed=("north",)) == ""  # fmt: skip


def test_a_shard_closes_until_it_is_closed_or_declared_again() -> None:
    closing = successor(OLD, ONLY_SOUTH, closed=())
    assert successor(closing, replace(ONLY_SOUTH, max_calls=2), closed=()).closing == {
        "north": NORTH
    }
    assert successor(closing, replace(ONLY_SOUTH, max_calls=2), closed=("north",)).closing == {}
    assert successor(closing, OLD, closed=()) == OLD


def test_a_queue_stays_in_its_shard() -> None:
    assert why(replace(OLD, queues={**OLD.queues, "sales": Queue(shard="south")}, agents={})) == (
        "queues.sales.shard: must stay north: its callers wait there; "
        "a queue in south needs another name"
    )


def test_an_agent_changes_shards_in_two_steps() -> None:
    """He may be in a call of the old one, and would be offered another."""
    moved = {**OLD.agents, "1": replace(OLD.agents["1"], queues=("help",))}
    assert why(replace(OLD, agents=moved)) == (
        "agents.1.queues: are of shard south, and he is of north: "
        "remove him first, and add him with the next version"
    )
    gone = replace(OLD, agents={"2": OLD.agents["2"]})
    assert why(gone) == why(replace(OLD, agents=moved), gone) == ""
