"""Who was overtaken in a queue, and who has an excuse."""

from loadtest import facts
from loadtest.verdict import judge
from tests.loadtest.logs import Story


def served(*offered: tuple[int, str, int], answered_at: int = 5) -> Story:
    """Callers 0, 1, 2... come 100 ms apart from 1,000 on; (caller, agent, when offered)."""
    story = Story().join("1001", "1002", "1003")
    for n, agent, at in offered:
        story.talk(n, agent, at=1_000 + 100 * n, offered=at, until=at + 3_000)
    assert answered_at == 5
    return story


def jumps(story: Story) -> list[tuple[str, str, int]]:
    return [(o.who, o.by, o.ms) for o in judge(story.log).overtaken]


def test_first_come_first_served_is_in_order() -> None:
    story = served((0, "1001", 2_000), (1, "1002", 4_000), (2, "1001", 6_000))
    assert jumps(story) == []
    assert judge(story.log).order_kept


def test_whoever_is_served_after_a_later_one_was_overtaken() -> None:
    story = served((1, "1001", 2_000), (0, "1002", 4_000), (2, "1001", 6_000))
    assert jumps(story) == [("c0", "c1", 2_000)]
    assert not judge(story.log).order_kept


def test_whoever_gave_up_after_he_was_passed_over_was_overtaken_too() -> None:
    story = served((1, "1001", 2_000))
    story.wait(0, at=1_000, until=5_000)
    assert jumps(story) == [("c0", "c1", 3_000)]


def test_whoever_had_given_up_before_was_not() -> None:
    story = served((1, "1001", 5_500))
    story.wait(0, at=1_000, until=5_000)
    assert jumps(story) == []


def test_callers_who_came_at_the_same_time_have_no_order() -> None:
    story = Story().join("1001", "1002")
    story.talk(0, "1001", at=1_000, offered=4_000, until=7_000)
    story.talk(1, "1002", at=1_004, offered=2_000, until=5_000)  # c0's 200 came at 1,005
    assert jumps(story) == []


def test_offers_made_at_the_same_time_may_arrive_in_either_order() -> None:
    assert jumps(served((1, "1001", 2_000), (0, "1002", 2_040))) == []


def test_near_a_fault_an_invite_may_come_a_repeat_later() -> None:
    story = served((1, "1001", 2_000), (0, "1002", 3_000))
    assert jumps(story) == [("c0", "c1", 1_000)]
    story.log.append(facts.Mark(ms=1_900, who="", name="fault"))
    assert jumps(story) == []


def test_different_priorities_have_no_order() -> None:
    story = Story().join("1001", "1002")
    story.talk(1, "1001", at=1_100, offered=2_000, until=5_000)
    story.talk(0, "1002", at=1_000, offered=4_000, until=7_000)
    first = next(f for f in story.log if isinstance(f, facts.Invited))
    story.replace(
        first,
        facts.Invited(ms=1_100, who="c1", call="in-1", number="4001", identity="c1", priority=9),
    )
    assert jumps(story) == []


def test_whoever_was_being_offered_elsewhere_has_had_his_turn() -> None:
    story = served((1, "1001", 2_500), (0, "1003", 9_000))
    story.decline("1002", 0, 2_000, 8_900)
    assert jumps(story) == []


def test_one_failed_offer_excuses_one_caller_only() -> None:
    story = served((2, "1001", 2_500), (0, "1003", 9_000), (1, "1002", 9_100))
    story.decline("1002", 0, 2_000, 8_900)
    assert jumps(story) == [("c1", "c2", 6_600)]


def test_whoever_was_declined_by_this_very_agent_is_not_offered_to_him_again_at_once() -> None:
    story = served((1, "1001", 4_000), (0, "1002", 9_000))
    story.decline("1001", 0, 2_000, 2_500)
    assert jumps(story) == []


def test_an_agent_who_declined_long_ago_is_no_excuse() -> None:
    story = served((1, "1001", 9_000), (0, "1002", 12_000))
    story.decline("1001", 0, 2_000, 2_500)
    assert jumps(story) == [("c0", "c1", 3_000)]


def test_an_offer_that_showed_another_caller_is_no_excuse() -> None:
    story = served((1, "1001", 2_500), (0, "1003", 9_000))
    story.decline("1002", 7, 2_000, 8_900, shown="c7")
    assert jumps(story) == [("c0", "c1", 6_500)]


def test_each_agent_without_a_phone_may_have_been_offered_one_caller_unseen() -> None:
    story = served((2, "1001", 2_500), (0, "1003", 9_000), (1, "1002", 9_100))
    assert [who for who, _, _ in jumps(story)] == ["c0", "c1"]
    story.log.append(facts.Joined(ms=0, who="1009", identity="a9", absent=True))
    assert [who for who, _, _ in jumps(story)] == ["c1"]


def test_whoever_gave_up_as_his_agent_picked_up_had_had_his_turn() -> None:
    story = Story().join("1001", "1002")
    story.wait(0, at=1_000, until=2_500)
    crossed = story.offer("1002", 0, 2_000)
    story.pick_up("1002", crossed, 2_500)
    story.told("1002", crossed, 2_510)
    story.talk(1, "1001", at=1_100, offered=2_000, until=6_000)
    assert jumps(story) == []
