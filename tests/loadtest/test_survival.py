"""In which state everybody was when the fault struck, what became of him, and what was promised."""

import pytest

from loadtest import facts
from loadtest.facts import Window
from loadtest.promises import broken
from loadtest.survival import STATES, Cell, Fate, cells, fates, merged
from loadtest.verdict import judge
from tests.loadtest.logs import Story, audio

FAULT = 5_000
ANSWERED = FAULT + 80
WRAP_UP = 500


def window(after_ms: int) -> Window:
    return Window(mark="fault", at_ms=FAULT, before_ms=21, after_ms=after_ms, own_late_ms=0)


def found(story: Story) -> dict[str, Fate]:
    """By who."""
    story.log.append(facts.Mark(ms=FAULT, who="", name="fault"))
    verdict = judge(story.log)
    all_of_them = fates(story.log, verdict, "fault", answered_ms=ANSWERED, wrap_up_ms=WRAP_UP)
    return {fate.who: fate for fate in all_of_them}


def hears_with_gap(story: Story, who: str, *heard: tuple[str, int, int], gap_ms: int) -> None:
    """What he heard, and the gap that the fault left in it."""
    old = next(f for f in story.log if isinstance(f, facts.Audio) and f.who == who)
    story.replace(old, audio(who, old.call, old.ms, *heard, windows=(window(gap_ms),)))


def test_a_talk_is_judged_by_the_larger_gap_of_its_two_phones() -> None:
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=1_100, until=19_000)
    hears_with_gap(story, "c0", ("music", 1_010, 1_400), ("a0", 1_420, 18_990), gap_ms=22)
    hears_with_gap(story, "1001", ("c0", 1_420, 18_990), gap_ms=47)
    assert found(story)["c0"] == Fate("talking", "c0", True, 47)


def test_a_held_caller_is_judged_by_his_music() -> None:
    story = Story().join("1001")
    _, yours = story.talk(0, "1001", at=1_000, offered=1_100, until=19_000)
    story.log.append(facts.Held(ms=3_000, who="1001", call=yours, hold=True, status=200))
    hears_with_gap(story, "c0", ("a0", 1_420, 3_000), ("music", 3_010, 18_990), gap_ms=25)
    hears_with_gap(story, "1001", ("c0", 1_420, 3_000), gap_ms=900)
    assert found(story)["c0"] == Fate("held", "c0", True, 25)


def test_a_hold_that_was_taken_back_is_a_talk() -> None:
    story = Story().join("1001")
    _, yours = story.talk(0, "1001", at=1_000, offered=1_100, until=19_000)
    for ms, hold in ((2_000, True), (3_000, False)):
        story.log.append(facts.Held(ms=ms, who="1001", call=yours, hold=hold, status=200))
    assert found(story)["c0"].state == "talking"


@pytest.mark.parametrize(("sound", "state"), [("prompt", "prompt"), ("music", "waiting")])
def test_who_waits_hears_prompt_or_music(sound: str, state: str) -> None:
    story = Story()
    call = story.wait(0, at=4_000, until=19_000)
    story.hears("c0", (sound, 4_010, 18_990))
    hears_with_gap(story, "c0", (sound, 4_010, 18_990), gap_ms=31)
    assert found(story)["c0"] == Fate(state, "c0", True, 31)
    assert call


def test_a_caller_whose_agent_is_rung_is_being_offered() -> None:
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=4_500, ring=8_000, until=19_000)
    hears_with_gap(story, "c0", ("music", 1_010, 12_500), ("a0", 12_520, 18_990), gap_ms=20)
    assert found(story)["c0"] == Fate("offered", "c0", True, 20)


def test_who_called_into_the_silence_counts_with_those_whose_invite_was_unanswered() -> None:
    story = Story()
    story.wait(0, at=ANSWERED + 1, until=19_000)
    for n, at in ((1, 4_990), (2, FAULT + 50)):
        call = story.invite(n, at, answered=400)
        story.log.append(audio(f"c{n}", call, 19_000, ("music", at + 420, 18_990)))
        story.log.append(facts.GaveUp(ms=19_000, who=f"c{n}", call=call))
        story.hang_up(f"c{n}", call, 19_000)
    fates_by_who = found(story)
    assert {who: fate.state for who, fate in fates_by_who.items()} == {
        "c1": "calling",
        "c2": "calling",
    }
    assert fates_by_who["c1"].noticed_ms == 400


def test_an_invite_that_got_no_answer_is_no_survivor() -> None:
    story = Story()
    call = story.invite(0, FAULT - 5, answered=None)
    story.log.append(facts.Refused(ms=37_000, who="c0", call=call, status=408))
    story.log.append(facts.Over(ms=37_000, who="c0", call=call))
    assert found(story)["c0"] == Fate("calling", "c0", False, None)


def test_a_hang_up_under_way_ends_when_both_sides_know() -> None:
    story = Story().join("1001")
    mine, yours = story.talk(
        0, "1001", at=1_000, offered=1_100, until=FAULT - 2, caller_hangs_up=False
    )
    story.log = [f for f in story.log if not isinstance(f, facts.ByeReceived | facts.Over)]
    story.told("c0", mine, FAULT + 120)
    story.log.append(facts.Over(ms=FAULT, who="1001", call=yours))
    fate = found(story)["c0"]
    assert fate == Fate("hanging_up", "c0", True, 122)


def test_a_call_that_was_over_has_no_fate() -> None:
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=1_100, until=2_000)
    story.talk(1, "1001", at=2_600, offered=2_700, until=4_400)
    assert found(story) == {}


@pytest.mark.parametrize(("again", "late_ms"), [(FAULT + 300, 100), (FAULT + 150, 0)])
def test_an_agent_in_wrap_up_survives_by_his_next_offer(again: int, late_ms: int) -> None:
    story = Story().join("1001")
    story.talk(
        0, "1001", at=1_000, offered=1_100, until=FAULT - 300, caller_hangs_up=False
    )  # ready at FAULT + 200
    story.talk(1, "1001", at=2_000, offered=again, until=19_000)
    assert found(story)["1001"] == Fate("wrap_up", "1001", True, late_ms)


def test_an_agent_who_gets_no_call_after_his_wrap_up_was_forgotten() -> None:
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=1_100, until=FAULT - 300, caller_hangs_up=False)
    assert found(story)["1001"] == Fate("wrap_up", "1001", False, None)


def test_a_lost_call_has_not_survived_in_whatever_state() -> None:
    story = Story()
    call = story.invite(0, 1_000)
    story.log.append(audio("c0", call, 6_000, ("music", 1_010, 5_990)))
    story.told("c0", call, 6_000)
    assert found(story)["c0"] == Fate("waiting", "c0", False, None)


def test_without_the_mark_nobody_has_a_fate() -> None:
    story = Story()
    story.wait(0, at=1_000, until=9_000)
    assert fates(story.log, judge(story.log), "fault", answered_ms=0, wrap_up_ms=1) == []


def test_cells_add_up_over_runs_and_keep_the_order_of_states() -> None:
    one = cells([Fate("waiting", "c1", True, 20), Fate("calling", "c2", False, None)])
    two = cells([Fate("waiting", "c3", True, 35), Fate("waiting", "c4", True, None)])
    assert list(one) == [state for state in STATES if state in one]
    assert merged([one, two]) == {"calling": Cell(1, 0, None), "waiting": Cell(3, 3, 35)}


def test_a_refusal_that_crosses_the_end_of_the_call_breaks_no_promise() -> None:
    story = Story().join("1001")
    mine, _ = story.talk(0, "1001", at=1_000, offered=1_100, until=9_000, caller_hangs_up=False)
    for ms, status in ((2_000, 200), (8_999, 481)):
        story.log.append(facts.Probed(ms=ms, who="c0", call=mine, n=ms))
        story.log.append(facts.ProbeAnswered(ms=ms + 2, who="c0", call=mine, n=ms, status=status))
    assert broken(story.log, judge(story.log).lost) == []


@pytest.mark.parametrize("status", [481, 408])
def test_a_call_that_the_cluster_does_not_know_any_more_was_committed_and_lost(status: int) -> None:
    story = Story().join("1001")
    mine, yours = story.talk(0, "1001", at=1_000, offered=1_100, until=19_000)
    story.log.append(facts.Probed(ms=6_000, who="c0", call=mine, n=3))
    story.log.append(facts.ProbeAnswered(ms=6_004, who="c0", call=mine, n=3, status=481))
    story.log.append(facts.Held(ms=7_000, who="1001", call=yours, hold=True, status=status))
    assert len(broken(story.log, judge(story.log).lost)) == 2


def test_a_bye_nobody_sent_breaks_a_promise() -> None:
    story = Story()
    call = story.invite(0, 1_000)
    story.log.append(audio("c0", call, 6_000, ("music", 1_010, 5_990)))
    story.told("c0", call, 6_000)
    assert [line.split(":")[0] for line in broken(story.log, judge(story.log).lost)] == ["c0"]
