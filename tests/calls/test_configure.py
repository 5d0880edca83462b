"""The centre changes while calls are up: each kind of change, with and without a takeover after it.

`change` is what an apply does to a shard. Whoever waits or talks when it comes loses nothing by it.
"""

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from calls import inputs, view
from calls.centre import Agent, Centre, Number, Queue, Shard
from calls.configure import SETTLED_AT_ONCE
from calls.flow import PROMPT_MS_MAX
from calls.records import TALKING, WAITING
from calls.trunks import is_trunk
from gateway_mgmt.inventory import Inventory, Trunk
from gateway_mgmt.trunks import TrunkState
from sip.message import Message
from tests.calls.phones import Caller, Phone
from tests.calls.world import SIP, World

DESK = {
    str(1001 + n): Agent(f"Desk {n}", f"sip:{1001 + n}@127.0.0.2:{7001 + n}", ("support",))
    for n in range(3)
}
CENTRE = Centre(
    numbers={"4001": Number("support", prompt=""), "4002": Number("sales", prompt="")},
    queues={"support": Queue(wrap_up_ms=0), "sales": Queue(wrap_up_ms=0)},
    agents={"1001": DESK["1001"]},
    shards={"main": Shard(SIP)},
)
ELSEWHERE = Shard(("127.0.0.1", 5099))


class Floor:
    """A shard and everybody's phone, on virtual time."""

    def __init__(self, then: Callable[["Floor"], None]) -> None:
        self.world = World(CENTRE)
        self.phones = {name: Phone(self.world, name, 7001 + n) for n, name in enumerate(DESK)}
        self.moved = Phone(self.world, "1001", 7009)
        """Another phone, which an agent may get."""
        self._then = then

        def hear(msg: Message, address: tuple[str, int]) -> None:
            for phone in (*self.phones.values(), self.moved):
                phone.hear(msg, address)

        self.world.on_message = hear

    def change(self, centre: Centre) -> None:
        self.world.configure(centre)
        self._then(self)

    def caller(self, name: str = "c1", number: str = "4001") -> Caller:
        """A caller who waits, or talks if an agent takes him."""
        caller = Caller(self.world, name, number)
        caller.call()
        self.world.run(50)
        return caller

    def refused(self, name: str, number: str) -> int:
        """How a new call to the number is refused."""
        caller = Caller(self.world, name, number)
        caller.invite()
        self.world.run(10)
        final = caller.final()
        assert final is not None
        return final.status

    def calls(self, state: int) -> list[str]:
        """Numbers of the calls in this state."""
        return [
            record.number
            for key, record in self.world.records.items()
            if key.startswith("call/") and record.state == state
        ]

    def queues(self) -> dict[str, bool]:
        """Every queue, and is it removed?"""
        rows = view.queues(self.world.records, "main", self.world.now_ms)
        return {row["queue"]: row["removed"] for row in rows}

    def agents(self) -> dict[str, bool]:
        rows = view.agents(self.world.records, "main", self.world.now_ms)
        return {row["agent"]: row["removed"] for row in rows}


def nothing(floor: Floor) -> None:
    """The node lives on."""


def takeover(floor: Floor) -> None:
    """Another node goes on with what was committed, and it is behind: its centre is the first."""
    floor.world.takeover()
    floor.world.post(inputs.Configure(CENTRE, 1))


def takeovers(floor: Floor) -> None:
    takeover(floor)
    takeover(floor)


@pytest.fixture(params=(nothing, takeover, takeovers))
def floor(request: pytest.FixtureRequest) -> Iterator[Floor]:
    """At the end of every story the ledger adds up and the shard decides by the last version."""
    made = Floor(request.param)
    yield made
    assert view.ledger(made.world.records)["unaccounted"] == 0
    assert view.version(made.world.records) == made.world.version


def test_a_removed_queue_is_served_out_and_takes_no_new_calls(floor: Floor) -> None:
    world, phone = floor.world, floor.phones["1001"]
    talks = floor.caller("c1")
    floor.caller("c2")
    floor.caller("c3")
    assert (floor.calls(TALKING), floor.calls(WAITING)) == (["4001"], ["4001"] * 2)

    floor.change(
        replace(CENTRE, numbers={"4002": CENTRE.numbers["4002"]}, queues={"sales": Queue()},
                agents={"1002": replace(DESK["1002"], queues=("sales",))})
    )  # fmt: skip

    assert floor.refused("c4", "4001") == 404
    assert floor.queues() == {"sales": False, "support": True}
    assert floor.agents() == {"1001": True, "1002": False}
    talks.bye()
    world.run(100)
    for served in ("c2", "c3"):  # by who is removed too: nobody else could
        assert floor.calls(TALKING) == ["4001"], served
        phone.bye()
        world.run(100)
    assert [fact["outcome"] for fact in world.facts("ended")] == ["answered"] * 3
    assert {fact["agent"] for fact in world.facts("ended")} == {"1001"}
    assert world.facts("closed") == [{"queue": "support", "call": ""}]
    assert floor.queues() == {"sales": False}
    assert floor.agents() == {"1002": False}
    assert world.facts("agent")[-1] == {
        "agent": "1001", "state": "removed", "reason": "configured", "call": "",
    }  # fmt: skip


def test_a_removed_queue_without_calls_is_gone_at_once(floor: Floor) -> None:
    floor.change(replace(CENTRE, numbers={"4001": Number("support")}, queues={"support": Queue()}))

    assert floor.queues() == {"support": False}
    assert floor.refused("c1", "4002") == 404


def test_a_removed_queue_is_served_by_the_agents_who_stay_too(floor: Floor) -> None:
    """They are of another queue by now, and take the callers of both in the order of arrival."""
    floor.world.post(inputs.SetAgent("1001", "not_ready", "lunch"))
    floor.caller("c1", "4001")
    moved = replace(
        CENTRE,
        numbers={"4002": CENTRE.numbers["4002"]},
        queues={"sales": CENTRE.queues["sales"]},
        agents={"1001": replace(DESK["1001"], queues=("sales",))},
    )

    floor.change(moved)
    floor.caller("c2", "4002")
    floor.world.post(inputs.SetAgent("1001", "ready", ""))
    floor.world.run(50)

    assert (floor.calls(TALKING), floor.calls(WAITING)) == (["4001"], ["4002"])
    floor.phones["1001"].bye()
    floor.world.run(50)
    assert (floor.calls(TALKING), floor.calls(WAITING)) == (["4002"], [])
    assert floor.queues() == {"sales": False}


def test_a_queue_that_is_declared_again_while_it_closes_goes_on(floor: Floor) -> None:
    floor.world.post(inputs.SetAgent("1001", "not_ready", "lunch"))
    floor.caller("c1", "4002")
    floor.change(replace(CENTRE, numbers={"4001": Number("support")}, queues={"support": Queue()}))
    assert floor.queues() == {"support": False, "sales": True}

    floor.change(replace(CENTRE, agents={"1001": replace(DESK["1001"], queues=("sales",))}))
    floor.world.post(inputs.SetAgent("1001", "ready", ""))
    floor.world.run(50)

    assert floor.queues() == {"support": False, "sales": False}
    assert floor.calls(TALKING) == ["4002"]
    floor.caller("c2", "4002")
    assert floor.calls(WAITING) == ["4002"]


def test_an_agent_who_is_removed_while_he_talks_finishes_his_call(floor: Floor) -> None:
    world = floor.world
    caller = floor.caller("c1")
    floor.caller("c2")

    floor.change(replace(CENTRE, agents={"1002": DESK["1002"]}))
    world.run(50)

    assert floor.agents() == {"1001": True, "1002": False}
    assert floor.calls(TALKING) == ["4001"] * 2  # c2 is the new agent's
    world.run(60_000)
    assert not world.facts("ended")
    caller.bye()
    world.run(100)
    (cdr,) = world.facts("ended")
    assert (cdr["outcome"], cdr["agent"]) == ("answered", "1001")
    assert cdr["talk_ms"] >= 60_000
    assert floor.agents() == {"1002": False}


def test_an_agent_who_is_removed_while_his_phone_rings_may_still_answer(floor: Floor) -> None:
    world, phone = floor.world, floor.phones["1001"]
    phone.status = 180
    floor.caller("c1")

    floor.change(replace(CENTRE, agents={"1002": DESK["1002"]}))
    phone.pick_up()
    world.run(100)

    assert floor.calls(TALKING) == ["4001"]
    phone.bye()
    world.run(100)
    assert world.facts("ended")[0]["agent"] == "1001"
    assert floor.agents() == {"1002": False}


def test_an_agent_who_is_removed_while_his_phone_rings_and_declines_is_replaced(
    floor: Floor,
) -> None:
    world, phone = floor.world, floor.phones["1001"]
    phone.status = 180
    floor.caller("c1")

    floor.change(replace(CENTRE, agents={"1002": DESK["1002"]}))
    phone.reply(phone.invites[-1], 486)
    world.run(100)

    assert floor.agents() == {"1002": False}
    assert floor.calls(TALKING) == ["4001"]
    assert world.facts("answered")[0]["agent"] == "1002"


def test_an_agent_who_is_removed_in_his_wrap_up_is_gone_at_once(floor: Floor) -> None:
    floor.change(replace(CENTRE, queues={**CENTRE.queues, "support": Queue(wrap_up_ms=9_000)}))
    floor.caller("c1").bye()
    floor.world.run(100)
    assert floor.world.agent().state == "wrap_up"

    floor.change(replace(CENTRE, agents={}))

    assert floor.agents() == {}


def test_an_agent_who_is_declared_again_before_he_has_finished_stays(floor: Floor) -> None:
    floor.caller("c1")
    floor.change(replace(CENTRE, agents={}))
    floor.change(CENTRE)
    floor.caller("c2")

    floor.phones["1001"].bye()
    floor.world.run(100)

    assert floor.calls(TALKING) == ["4001"]
    assert floor.agents() == {"1001": False}


def test_an_agent_who_is_added_gets_the_caller_who_waits(floor: Floor) -> None:
    floor.world.post(inputs.SetAgent("1001", "signed_out", ""))
    floor.caller("c1")
    assert floor.calls(WAITING) == ["4001"]

    floor.change(replace(CENTRE, agents={**CENTRE.agents, "1002": DESK["1002"]}))
    floor.world.run(50)

    assert floor.world.facts("answered")[0]["agent"] == "1002"


def test_an_agent_who_serves_another_queue_gets_its_caller_at_once(floor: Floor) -> None:
    floor.caller("c1", "4002")
    assert floor.calls(WAITING) == ["4002"]

    floor.change(
        replace(CENTRE, agents={"1001": replace(DESK["1001"], queues=("support", "sales"))})
    )
    floor.world.run(50)

    assert floor.calls(TALKING) == ["4002"]


def test_an_agents_new_phone_rings_from_the_next_offer_on(floor: Floor) -> None:
    world, old = floor.world, floor.phones["1001"]
    first = floor.caller("c1")
    floor.caller("c2")

    floor.change(
        replace(CENTRE, agents={"1001": replace(DESK["1001"], phone="sip:1001@127.0.0.2:7009")})
    )
    world.run(60_000)
    assert floor.calls(TALKING) == ["4001"]
    assert old.in_call
    first.bye()
    world.run(100)

    assert len(old.invites) == 1
    assert len(floor.moved.invites) == 1
    assert floor.calls(TALKING) == ["4001"]
    floor.moved.bye()
    world.run(100)
    assert [fact["outcome"] for fact in world.facts("ended")] == ["answered"] * 2


def test_a_number_that_leads_to_another_queue_moves_nobody_who_waits(floor: Floor) -> None:
    floor.world.post(inputs.SetAgent("1001", "not_ready", "lunch"))
    floor.caller("c1")

    floor.change(replace(CENTRE, numbers={"4001": Number("sales", prompt="", priority=5)}))
    floor.caller("c2")

    rows = view.calls(floor.world.records, floor.world.now_ms)
    assert [(row["queue"], row["priority"]) for row in rows] == [("support", 0), ("sales", 5)]
    floor.world.post(inputs.SetAgent("1001", "ready", ""))
    floor.world.run(50)
    assert floor.world.facts("answered")[0]["call"] == rows[0]["call"]


def test_who_hears_the_prompt_of_a_number_that_is_removed_is_queued(floor: Floor) -> None:
    floor.change(replace(CENTRE, numbers={"4001": Number("support", prompt="welcome.wav")}))
    floor.caller("c1")
    floor.change(replace(CENTRE, numbers={}))
    assert floor.refused("c2", "4001") == 404
    floor.world.run(PROMPT_MS_MAX)  # this world's media server does not say again that it ended

    assert floor.calls(TALKING) == ["4001"]


def test_who_is_answered_when_his_number_is_removed_is_queued(floor: Floor) -> None:
    caller = Caller(floor.world)
    caller.invite()
    floor.world.run(10)
    floor.change(replace(CENTRE, numbers={}))
    caller.ack()
    floor.world.run(100)

    assert floor.calls(TALKING) == ["4001"]


def test_fewer_calls_at_once_end_none_that_is_up(floor: Floor) -> None:
    for name in ("c1", "c2", "c3"):
        floor.caller(name)
    floor.change(replace(CENTRE, max_calls=2))

    assert floor.refused("c4", "4001") == 503
    for _ in range(3):
        floor.phones["1001"].bye()
        floor.world.run(100)
    assert [fact["outcome"] for fact in floor.world.facts("ended")] == ["answered"] * 3
    floor.caller("c5")
    assert floor.calls(TALKING) == ["4001"]


def test_a_queues_times_and_sounds_are_new_for_what_comes_next(floor: Floor) -> None:
    world = floor.world
    caller = floor.caller("c1")
    floor.change(
        replace(
            CENTRE,
            queues={
                **CENTRE.queues,
                "support": Queue(wrap_up_ms=7_000, offer_timeout_ms=900, music="b.wav"),
            },
        )
    )
    caller.bye()
    world.run(100)
    assert world.agent().state == "wrap_up"
    floor.phones["1001"].status = 180
    floor.caller("c2")
    (session,) = world.media.values()
    assert "b.wav" in repr(session)
    world.run(7_000)
    assert world.agent().state == "offered"
    world.run(1_000)
    assert (world.agent().state, world.agent().reason) == ("not_ready", "no_answer")


def test_a_removed_shard_is_served_out(floor: Floor) -> None:
    world = floor.world
    callers = [floor.caller("c1"), floor.caller("c2")]

    floor.change(
        Centre(
            numbers={"4001": Number("far")},
            queues={"far": Queue(shard="other")},
            agents={"9": Agent("Far", "sip:9@127.0.0.2:7999", ("far",))},
            shards={"other": ELSEWHERE},
            closing={"main": Shard(SIP)},
        )
    )

    assert floor.refused("c3", "4001") == 404
    assert not view.is_served_out(world.records)
    for caller in callers:
        assert floor.calls(TALKING) == ["4001"]
        caller.bye()
        world.run(100)
    assert floor.queues() == {}
    assert floor.agents() == {}
    assert not view.is_served_out(world.records)  # phones may repeat their BYE
    world.run(40_000)
    assert view.is_served_out(world.records)


def test_an_agent_of_another_shard_serves_out_no_queue_here(floor: Floor) -> None:
    """He could be offered a call in both."""
    floor.caller("c1")
    floor.caller("c2")

    floor.change(
        Centre(
            numbers={},
            queues={"support": Queue(shard="other")},
            agents={"1001": DESK["1001"], "1002": DESK["1002"]},
            shards={"main": Shard(SIP), "other": ELSEWHERE},
        )
    )
    floor.phones["1001"].bye()
    floor.world.run(1_000)

    assert floor.agents() == {}
    assert floor.calls(WAITING) == ["4001"]
    assert floor.queues() == {"support": True}


def test_an_older_version_and_one_that_is_known_change_nothing(floor: Floor) -> None:
    floor.change(replace(CENTRE, max_calls=7))
    for version in (1, 2):
        floor.world.post(inputs.Configure(CENTRE, version))

    assert floor.world.records["settings"].centre.max_calls == 7
    assert [fact["version"] for fact in floor.world.facts("configured")] == [1, 2]


def test_an_agents_state_that_is_asked_for_when_he_is_gone_asks_nobody(floor: Floor) -> None:
    floor.change(replace(CENTRE, agents={}))
    floor.world.post(inputs.SetAgent("1001", "ready", ""))
    assert floor.agents() == {}


MANY = 2 * SETTLED_AT_ONCE + 100


def many(queue: str) -> dict[str, Agent]:
    return {
        str(10_000 + n): Agent(str(n), f"sip:{n}@127.0.0.3:{7001 + n}", (queue,), "not_ready")
        for n in range(MANY)
    }


def test_a_change_of_a_thousand_agents_takes_steps_of_a_few_hundred() -> None:
    world = World(CENTRE)
    changed: list[int] = []
    before: dict[str, bytes] = {}

    def committed(step: int) -> None:
        keys = before.keys() | world.committed.keys()
        differ = [key for key in keys if before.get(key) != world.committed.get(key)]
        changed.append(sum(key.startswith("agent/") for key in differ))
        before.clear()
        before.update(world.committed)

    before.update(world.committed)
    world.after_commit = committed
    for centre in (
        replace(CENTRE, agents=many("support")),
        replace(CENTRE, agents=many("sales")),
        replace(CENTRE, agents={}),
    ):
        changed.clear()
        world.configure(centre)
        assert view.version(world.records) == world.version  # in force at once
        world.run(100)
        assert max(changed) <= SETTLED_AT_ONCE
        listed = view.agents(world.records, "main", world.now_ms)
        assert {row["agent"] for row in listed} == set(centre.agents)


@pytest.mark.parametrize("gone", [False, True])
def test_a_node_that_dies_among_the_steps_of_a_change_leaves_nobody_out(gone: bool) -> None:
    world = World(CENTRE)
    everybody = replace(CENTRE, agents=many("support"))
    world.configure(everybody)
    if gone:
        world.run(100)
        world.configure(replace(CENTRE, agents={}))
    wanted = {} if gone else everybody.agents
    listed = view.agents(world.records, "main", world.now_ms)
    assert {row["agent"] for row in listed} != set(wanted)

    world.takeover()
    world.post(inputs.Configure(world.centre, 1))  # behind, and it does not matter
    world.run(100)

    listed = view.agents(world.records, "main", world.now_ms)
    assert {row["agent"] for row in listed} == set(wanted)


def test_an_undone_step_among_them_leaves_nobody_out() -> None:
    world = World(CENTRE)
    world.configure(replace(CENTRE, agents=many("support")))
    world.machine.open(world.records)  # as after a step that raised
    world.run(100)
    assert len(view.agents(world.records, "main", world.now_ms)) == MANY


def test_a_shard_knows_of_each_declared_trunk_what_it_was_told_last() -> None:
    floor = Floor(lambda floor: floor.world.takeover())
    trunks = Inventory(trunks={"bsnl-pri": Trunk(), "tata": Trunk()})
    floor.change(replace(CENTRE, inventory=trunks))
    out = TrunkState("bsnl-pri", "out", 0, 30, ("los@tg1/1",), order=2)
    for told in (out, TrunkState("bsnl-pri", "in", 30, 30, order=1), out):
        floor.world.post(told)
    floor.world.post(TrunkState("tata", "partial", 15, 30, order=1))
    floor.world.takeover()
    known = {key: record for key, record in floor.world.records.items() if is_trunk(key)}
    assert known["trunk/bsnl-pri"] == out
    assert known["trunk/tata"].channels == 15
    floor.change(replace(CENTRE, inventory=Inventory(trunks={"tata": Trunk()})))
    assert [key for key in floor.world.records if is_trunk(key)] == ["trunk/tata"]
    facts = floor.world.facts("trunk")
    assert [(fact["trunk"], fact["state"]) for fact in facts] == [
        ("bsnl-pri", "out"),
        ("tata", "partial"),
    ]
    assert facts[0]["why"] == ["los@tg1/1"]


def test_trunks_hold_up_no_shard_that_is_removed() -> None:
    records = {"settings": object(), "trunk/bsnl-pri": TrunkState("bsnl-pri", "in", 30, 30)}
    assert view.is_served_out(records)
    assert not view.is_served_out(records | {"outbox/1": object()})


def test_callers_are_counted_by_what_they_dialled_and_where_they_wait() -> None:
    floor = Floor(lambda floor: None)
    floor.caller("c1")
    floor.caller("c2", "4002")
    records = floor.world.records
    assert view.callers(records, {"4001"}, set()) == 1
    assert view.callers(records, {"4001"}, {"support", "sales"}) == 2
    assert view.callers(records, set(), set()) == 0
