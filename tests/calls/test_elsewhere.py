"""Whose a number is, and which requests are about a call that is here, whosever it is by now."""

import pytest
from msgspec.structs import replace

from calls.centre import Centre, Number, Queue, Shard
from calls.elsewhere import Elsewhere, elsewhere
from sip.dialog import cancel
from sip.message import Message, parse
from tests.calls.phones import Caller
from tests.calls.world import SIP, World, centre

SOUTH = ("127.0.0.1", 5062)
TWO = Centre(
    numbers={"1": Number("here"), "2": Number("there")},
    queues={"here": Queue("north"), "there": Queue("south")},
    agents={},
    shards={"north": Shard(SIP), "south": Shard(SOUTH)},
)


def test_a_number_of_another_shard_is_relayed_to_it_unless_it_is_said_otherwise() -> None:
    assert elsewhere(TWO, "north", "2") == Elsewhere("relay", SOUTH)
    assert elsewhere(TWO, "south", "1") == Elsewhere("relay", SIP)
    assert elsewhere(TWO, "north", "1") is None
    assert elsewhere(TWO, "north", "3") is None


@pytest.mark.parametrize(
    ("all_of_them", "north", "how"),
    [
        ("redirect", "", "redirect"),
        ("redirect", "relay", "relay"),
        ("relay", "refuse", ""),
        ("refuse", "", ""),
        ("refuse", "redirect", "redirect"),
    ],
)
def test_a_shard_says_it_for_itself_or_the_centre_for_all(
    all_of_them: str, north: str, how: str
) -> None:
    shards = {"north": Shard(SIP, elsewhere=north), "south": Shard(SOUTH)}
    found = elsewhere(replace(TWO, elsewhere=all_of_them, shards=shards), "north", "2")
    assert found == (Elsewhere(how, SOUTH) if how else None)


def test_a_shard_that_is_closing_says_it_still() -> None:
    closing = {"north": Shard(SIP, elsewhere="redirect")}
    moved = replace(
        TWO,
        numbers={"1": Number("there")},
        queues={"there": Queue("south")},
        shards={"south": Shard(SOUTH)},
        closing=closing,
    )
    assert elsewhere(moved, "north", "1") == Elsewhere("redirect", SOUTH)


class Heard(World):
    """Keeps the requests that came in."""

    def request_from(self, text: str, **more: tuple[str, int]) -> None:
        self.came = parse(text.encode())
        self.bytes = text.encode()
        super().request_from(text, **more)

    def knows(self, msg: Message) -> bool:
        return self.machine.knows(self.records, msg)


@pytest.mark.parametrize("taken_over", [False, True])
def test_what_is_about_a_call_here_is_known_whatever_became_of_its_number(taken_over: bool) -> None:
    world = Heard(centre(agents=0, ring_ms=3_000))
    caller = Caller(world)
    caller.invite()
    invite, taken_back = world.came, parse(cancel(world.bytes))
    world.run(3_100)
    caller.ack()
    ack = world.came
    other = Caller(world, "c2")
    other.invite()
    refused = world.came
    world.run(10)
    other.cancel()
    other.cseq = 1
    other.ack()
    ack_of_refusal = world.came
    if taken_over:
        world.takeover()
    world.configure(replace(centre(), numbers={}))
    assert all(map(world.knows, (invite, taken_back, ack, refused, ack_of_refusal)))

    stranger = Heard(centre(agents=0))
    for msg in (invite, taken_back, ack, ack_of_refusal):
        assert not stranger.knows(msg)
