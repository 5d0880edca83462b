"""What a cluster answers, made of what its nodes answer."""

from typing import Any

from node import merge
from node.show import console, status, wish

NODES = [
    {"name": "n1", "pid": 11, "api": "127.0.0.1:1", "metrics": "127.0.0.1:2", "site": ""},
    {"name": "n2", "pid": 12, "api": "127.0.0.1:3", "metrics": "127.0.0.1:4", "site": ""},
    {"name": "n3", "pid": 13, "api": "127.0.0.1:5", "metrics": "127.0.0.1:6", "site": ""},
]


def shard(name: str, role: str, epoch: int, active: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "epoch": epoch,
        "active": f"{active}:i1" if active else "",
        "in_sync": ["n1:i1", "n2:i1", "n3:i1"],
        "serving": role == "active",
        "sip": "udp:127.0.0.1:5060",
        "calls": 0,
        "waiting": 0,
        "talking": 0,
        "ledger": {},
    } | more


def answer(name: str, *shards: dict[str, Any], media_up: bool = True) -> dict[str, Any]:
    return {
        "node": {"name": name, "pid": 99, "site": "here", "alive": True},
        "shards": list(shards),
        "media": [{"name": "media", "up": media_up}],
        "alarms": [],
    }


def test_the_active_of_the_highest_epoch_is_believed() -> None:
    merged = merge.status(
        NODES,
        {
            "n1": answer("n1", shard("main", "active", 4, "n1", calls=7)),
            "n2": answer("n2", shard("main", "active", 5, "n2", calls=8, in_sync=["n2:i1"])),
            "n3": answer("n3", shard("main", "standby", 5, "n2", calls=0)),
        },
    )

    assert [(one["epoch"], one["active"], one["calls"]) for one in merged["shards"]] == [
        (5, "n2", 8)
    ]
    assert merged["shards"][0]["in_sync"] == ["n2"]
    assert merged["can_lose"] == 0


def test_a_node_without_an_answer_is_shown_dead() -> None:
    merged = merge.status(
        NODES, {"n1": None, "n2": answer("n2", shard("main", "active", 1, "n2")), "n3": None}
    )

    assert [(node["name"], node["alive"]) for node in merged["nodes"]] == [
        ("n1", False),
        ("n2", True),
        ("n3", False),
    ]
    assert merged["nodes"][0]["pid"] == 11
    assert merged["nodes"][1]["site"] == "here"


def test_a_node_that_drains_is_shown_so_and_may_be_switched_off() -> None:
    both = {"in_sync": ["n1:i1", "n2:i1"], "calls": 1}
    answers = {
        "n1": answer("n1", shard("main", "active", 1, "n1", **both)) | {"draining": ["n3"]},
        "n2": answer("n2", shard("main", "standby", 1, "n1")),
        "n3": None,
    }
    merged = merge.status(NODES, answers)

    assert [node["draining"] for node in merged["nodes"]] == [False, False, True]
    assert merge.missing(merged) == ""
    assert merge.missing(merge.status(NODES, answers | {"n2": None})) == "node n2 does not answer"


def test_how_far_the_placement_is_with_a_shard_is_told_by_its_active() -> None:
    moving = {"to": ["n4"], "step": "copying", "percent": 60, "why": "load is uneven"}
    merged = merge.status(
        NODES,
        {
            "n1": answer("n1", shard("main", "active", 2, "n1", moving=moving)),
            "n2": answer("n2", shard("main", "standby", 2, "n1", moving=None)),
        },
    )

    assert merged["shards"][0]["moving"] == moving
    assert [wish(moved) for moved in (
        merged["shards"][0],
        {"name": "main", "moving": moving | {"step": "handing over"}},
        {"name": "main", "moving": moving | {"step": "dropping", "why": "a node drains"}},
    )] == [
        "moving main to n4: copying 60 % (load is uneven)",
        "moving main to n4: handing over (load is uneven)",
        "moving main from n4: dropping the copy (a node drains)",
    ]  # fmt: skip


def test_a_shard_of_alarms_is_shown_without_numbers_of_calls() -> None:
    alarms = shard("gateways@delhi", "active", 3, "n1", sip="")
    merged = merge.status(NODES, {"n1": answer("n1", shard("main", "active", 2, "n1"), alarms)})
    shown = console()
    with shown.capture() as picture:
        shown.print(status(merged))
    rows = [line.split() for line in picture.get().splitlines()]

    copies = ["n1", "n2", "n3"]
    assert ["main", "n1", "2", *copies, "127.0.0.1:5060", "0", "0", "0"] in rows
    assert ["gateways@delhi", "n1", "3", *copies] in rows


def test_how_many_can_be_lost_is_told_by_the_shard_with_the_fewest_copies() -> None:
    merged = merge.status(
        NODES,
        {
            "n1": answer("n1", shard("a", "active", 1, "n1")),
            "n2": answer("n2", shard("b", "active", 1, "n2", in_sync=["n2:i1", "n1:i1"])),
        },
    )

    assert merged["can_lose"] == 1


def test_the_ledger_is_the_sum_of_the_shards_as_their_actives_count_it() -> None:
    north = {"received": 10, "queued": 9, "waiting": 4, "answered": 5, "unaccounted": 0}
    south = {"received": 5, "queued": 5, "answered": 4, "unaccounted": 1}
    stale = {"received": 99}
    merged = merge.status(
        NODES,
        {
            "n1": answer("n1", shard("north", "active", 2, "n1", ledger=north)),
            "n2": answer(
                "n2",
                shard("north", "active", 1, "n2", ledger=stale),
                shard("south", "active", 1, "n2", ledger=south),
            ),
        },
    )

    counted = {name: number for name, number in merged["ledger"].items() if number}
    assert counted == {
        "received": 15,
        "queued": 14,
        "waiting": 4,
        "answered": 9,
        "unaccounted": 1,
    }


def test_a_cluster_is_ready_when_every_shard_serves_with_all_its_copies_and_media() -> None:
    def lacks(*answers: dict[str, Any] | None) -> str:
        named = {f"n{n + 1}": one for n, one in enumerate(answers)}
        return merge.missing(merge.status(NODES, named))

    main = shard("main", "active", 1, "n1")
    standby = shard("main", "standby", 1, "n1")
    ready = [answer("n1", main), answer("n2", standby), answer("n3", standby)]

    assert lacks(*ready) == ""
    assert lacks(*ready[:2], None) == "node n3 does not answer"
    assert lacks(None, None, None) == "no node answers"
    assert lacks(answer("n1")) == "no shard is known yet"
    assert lacks(answer("n1", main | {"serving": False})) == "shard main has no serving node"
    assert lacks(answer("n1", main | {"in_sync": ["n1:i1"]})) == "shard main has 1 of 3 copies"
    assert (
        lacks(*ready[:2], answer("n3", standby, media_up=False))
        == "media server media is not reached by every node"
    )


def test_rows_of_a_deposed_node_are_left_out() -> None:
    old = [{"shard": "main", "epoch": 4, "call": "a"}]
    new = [{"shard": "main", "epoch": 5, "call": "b"}, {"shard": "main", "epoch": 5, "call": "c"}]
    other = [{"shard": "south", "epoch": 1, "call": "d"}]

    rows = merge.rows({"n1": old, "n2": new, "n3": None, "n4": other})

    assert [row["call"] for row in rows] == ["b", "c", "d"]
