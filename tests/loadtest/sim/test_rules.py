"""What the rules excuse, and what they do not; and how long a run goes on."""

from random import Random

import pytest

from loadtest.facts import (
    Answered,
    AnyFact,
    ByeAnswered,
    ByeReceived,
    ByeSent,
    Confirmed,
    DoubleOffer,
    Heard,
    Invited,
    Joined,
    Offered,
    Over,
)
from loadtest.sim.calling import Calling
from loadtest.sim.counting import SHARD
from loadtest.sim.world import SETTLE_MS
from tests.cluster.world import run, wait, world


def talk(hangs_up: str) -> list[AnyFact]:
    """c1 talks to 1001 and gets a BYE; what 1001 sent, if anything, is not answered."""
    found: list[AnyFact] = [
        Joined(ms=0, who="1001", identity="a0"),
        Invited(ms=1_000, who="c1", call="call-1", number="4001", identity="c1"),
        Offered(ms=1_100, who="1001", call="offer-1", shown="c1"),
        Answered(ms=1_200, who="1001", call="offer-1"),
        Confirmed(ms=1_210, who="1001", call="offer-1"),
        Answered(ms=1_220, who="c1", call="call-1"),
        Heard(ms=1_300, who="1001", call="offer-1", what="c1"),
        Heard(ms=1_300, who="c1", call="call-1", what="a0"),
        ByeReceived(ms=4_310, who="c1", call="call-1"),
        Over(ms=4_310, who="c1", call="call-1"),
    ]
    if hangs_up == "1001":
        found.append(ByeSent(ms=4_300, who="1001", call="offer-1"))
    return sorted(found, key=lambda fact: fact.ms)


@pytest.mark.parametrize(
    ("hangs_up", "accused"),
    [
        ("1001", []),
        ("nobody", ["lost: c1 dropped got a BYE that no agent of his had sent (call-1)"]),
    ],
)
def test_who_is_excused_still_explains_what_others_saw(hangs_up: str, accused: list[str]) -> None:
    """The agent's call was open when the shard went on with less, and the caller's was not."""
    sim = Calling(Random(1))
    sim.facts = talk(hangs_up)
    sim.call_rules.excused["offer-1"] = None
    sim.call_rules._judge()
    assert sim.rules.broken == accused


@pytest.mark.parametrize(
    ("promoted", "accused"),
    [
        (["s1"], []),
        (
            [],
            [
                "1001 is offered offer-2 while ringing in offer-1",
                "lost: 1001 unfinished  (offer-1)",
            ],
        ),
    ],
)
def test_a_call_that_old_records_offer_again_is_judged_as_it_was(
    promoted: list[str], accused: list[str]
) -> None:
    """It was over when the shard went on with less. The phone rings again, takes the CANCEL for the
    one that it has had, and rings until somebody is tired of it."""
    sim = Calling(Random(1))
    sim.facts.clear()
    for fact in talk("1001"):
        sim.noted(fact)
    sim.noted(ByeAnswered(ms=4_320, who="1001", call="offer-1", status=200))
    sim.noted(Over(ms=4_320, who="1001", call="offer-1"))
    sim.call_rules._promoted |= dict.fromkeys(promoted)
    sim.noted(Offered(ms=9_000, who="1001", call="offer-1", shown="c1"))
    sim.noted(DoubleOffer(ms=9_500, who="1001", call="offer-2", busy="offer-1", state="ringing"))
    sim.call_rules._judge()
    assert sim.rules.broken == accused


def test_a_run_goes_on_for_a_while_after_a_shard_began_anew() -> None:
    sim, _ = world(journal="async")
    for node in sim.names:
        sim.crash(node, 50, reboot=True)
    sim.settle()
    assert sim.counts["promoted"] == 1
    assert sim.now_ms >= sim.rules.histories[SHARD].since_ms + SETTLE_MS


def test_who_was_promoted_and_dies_before_his_machine_is_told_is_not_promoted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """His journal says that the shard went on with less: by a person's word, an epoch ago."""
    sim, _ = world(nodes=1, journal="async")
    run(sim, 500)  # its journal is whole
    sim.crash("n1", 50, reboot=True)
    with monkeypatch.context() as patched:  # its address does not come: it does not serve
        patched.setattr(sim, "move_address", lambda member, old_active, moved: None)
        wait(sim, lambda: "went on with less" in sim.counts, 10_000)
        run(sim, 500)
    sim.crash("n1", 50)
    wait(sim, lambda: sim.leader(SHARD) is not None, 10_000)
    assert sim.counts["went on with less"] == sim.counts["came back"] == 1
