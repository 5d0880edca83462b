"""The verdict finds each way to lose or double a call, in logs that are good but for that."""

from collections.abc import Callable

import msgspec
import pytest

from loadtest import facts
from loadtest.facts import Window
from loadtest.verdict import PhoneState, differing, judge
from tests.loadtest.logs import Story, audio


def good() -> Story:
    """c0 talks to 1001 and hangs up; c1 talks to 1002, who hangs up; c2 waits and gives up."""
    story = Story().join("1001", "1002")
    story.talk(0, "1001", at=1_000, offered=1_100, until=9_000)
    story.talk(1, "1002", at=1_050, offered=1_150, until=9_500, caller_hangs_up=False)
    story.wait(2, at=1_200, until=8_000)
    return story


def test_a_good_run_is_good() -> None:
    verdict = judge(good().log)
    assert verdict.ok
    assert (verdict.offered, verdict.answered, verdict.abandoned) == (3, 2, 1)
    assert (verdict.lost, verdict.doubled, verdict.order_kept) == ([], [], True)
    assert verdict.lines()[0] == ("3 offered, 2 answered, 1 abandoned, 0 open, 0 lost, 0 doubled")


def test_lines_of_different_phones_may_be_mixed() -> None:
    mixed = sorted(good().log, key=lambda fact: fact.ms)
    assert judge(mixed) == judge(good().log)


def test_a_log_survives_being_written_and_read() -> None:
    log = good().log
    assert facts.read(b"".join(facts.line(fact) for fact in log)) == log
    assert msgspec.json.encode(judge(log))


Spoil = Callable[[Story], None]


def _no_final_answer(story: Story) -> None:
    call = story.invite(9, 3_000, answered=None)
    story.log.append(facts.Refused(ms=35_000, who="c9", call=call, status=408))
    story.log.append(facts.Over(ms=35_000, who="c9", call=call))


def _refused(story: Story) -> None:
    call = story.invite(9, 3_000, answered=None)
    story.log.append(facts.Refused(ms=3_010, who="c9", call=call, status=503))
    story.log.append(facts.Over(ms=3_010, who="c9", call=call))


def _waiter_hung_up_on(story: Story) -> None:
    call = story.invite(9, 3_000)
    story.log.append(audio("c9", call, 6_000, ("music", 3_010, 5_990)))
    story.told("c9", call, 6_000)


def _talker_hung_up_on(story: Story) -> None:
    story.drop(facts.ByeSent, "1002")
    story.drop(facts.ByeAnswered, "1002")
    story.log.append(facts.ByeReceived(ms=9_503, who="1002", call="out-1-1150"))


def _bye_unanswered(story: Story) -> None:
    answered = next(f for f in story.log if isinstance(f, facts.ByeAnswered) and f.who == "c0")
    story.replace(answered, facts.ByeAnswered(ms=41_000, who="c0", call="in-0", status=408))


def _bye_refused(story: Story) -> None:
    answered = next(f for f in story.log if isinstance(f, facts.ByeAnswered) and f.who == "c0")
    story.replace(answered, facts.ByeAnswered(ms=9_002, who="c0", call="in-0", status=481))


def _caller_hears_nothing(story: Story) -> None:
    story.hears("c2")


def _agent_does_not_hear_the_caller(story: Story) -> None:
    story.hears("1001")


def _caller_does_not_hear_the_agent(story: Story) -> None:
    story.hears("c0", ("music", 1_010, 8_990))


def _caller_hears_a_caller(story: Story) -> None:
    story.hears("c2", ("music", 1_210, 3_000), ("c1", 3_020, 7_990))


def _caller_hears_an_agent_who_is_in_no_call(story: Story) -> None:
    story.join("1003")
    story.hears("c2", ("music", 1_210, 3_000), ("a2", 3_020, 7_990))


def _talk_goes_silent(story: Story) -> None:
    story.hears("c0", ("music", 1_010, 1_400), ("a0", 1_420, 5_000), silent_ms=4_000)


def _no_ack(story: Story) -> None:
    story.drop(facts.Confirmed, "1002")


def _unfinished(story: Story) -> None:
    call = story.invite(9, 3_000)
    story.log.append(audio("c9", call, 6_000, ("music", 3_010, 5_990)))


@pytest.mark.parametrize(
    ("spoil", "reasons"),
    [
        (_no_final_answer, {("no_answer", "c9")}),
        (_refused, {("refused", "c9")}),
        (_waiter_hung_up_on, {("dropped", "c9")}),
        (_talker_hung_up_on, {("dropped", "c1"), ("dropped", "1002")}),
        (_bye_unanswered, {("bye_unanswered", "c0")}),
        (_bye_refused, {("bye_refused", "c0")}),
        (_caller_hears_nothing, {("no_audio", "c2")}),
        (_agent_does_not_hear_the_caller, {("one_way", "c0"), ("no_audio", "1001")}),
        (_caller_does_not_hear_the_agent, {("one_way", "1001")}),
        (_caller_hears_a_caller, {("wrong_audio", "c2")}),
        (_caller_hears_an_agent_who_is_in_no_call, {("wrong_audio", "c2")}),
        (_talk_goes_silent, {("silent", "c0")}),
        (_no_ack, {("no_ack", "1002")}),
        (_unfinished, {("unfinished", "c9")}),
    ],
)
def test_each_way_to_lose_a_call_is_found(spoil: Spoil, reasons: set[tuple[str, str]]) -> None:
    story = good()
    spoil(story)
    verdict = judge(story.log)
    assert {(loss.reason, loss.who) for loss in verdict.lost} == reasons
    assert not verdict.ok


def _second_offer(story: Story) -> None:
    story.log.append(
        facts.DoubleOffer(ms=5_000, who="1001", call="x", busy="out-0-1100", state="talking")
    )


def _two_callers_hear_one_agent(story: Story) -> None:
    story.hears("c2", ("music", 1_210, 3_000), ("a0", 3_020, 7_990))


def _two_agents_hear_one_caller(story: Story) -> None:
    story.hears("1002", ("c1", 1_470, 4_000), ("c0", 4_020, 9_490))


def _two_phones_ring_for_one_caller(story: Story) -> None:
    story.join("1003", "1004")
    for agent in ("1003", "1004"):
        call = story.offer(agent, 2, 2_000, shown="c2")
        story.log.append(facts.Cancelled(ms=6_000, who=agent, call=call))
        story.log.append(facts.Over(ms=6_000, who=agent, call=call))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_second_offer, "second_offer"),
        (_two_callers_hear_one_agent, "two_callers"),
        (_two_agents_hear_one_caller, "two_agents"),
        (_two_phones_ring_for_one_caller, "two_agents"),
    ],
)
def test_each_way_to_double_a_call_is_found(spoil: Spoil, reason: str) -> None:
    story = good()
    spoil(story)
    verdict = judge(story.log)
    assert [double.reason for double in verdict.doubled] == [reason]
    assert not verdict.ok


def test_byes_that_cross_lose_nothing() -> None:
    story = good()
    answered = next(f for f in story.log if isinstance(f, facts.ByeAnswered) and f.who == "c0")
    received = facts.ByeReceived(ms=9_001, who="c0", call="in-0")
    story.replace(answered, received, msgspec.structs.replace(answered, status=481))
    assert judge(story.log).ok


def test_an_agent_who_picks_up_while_the_caller_gives_up_has_lost_nothing() -> None:
    story = good()
    call = story.offer("1001", 2, 10_000)
    story.pick_up("1001", call, 10_300)
    story.wait(3, at=9_800, until=10_299)
    story.told("1001", call, 10_350)
    story.log.append(audio("1001", call, 10_350))
    assert judge(story.log).ok


def test_silence_while_the_other_side_has_already_hung_up_is_no_loss() -> None:
    """The agent hung up while the cluster was without an active: his BYE got through later."""
    story = good()
    story.hears("c1", ("music", 1_060, 1_450), ("a1", 1_470, 9_490), silent_ms=3_000)
    bye = next(f for f in story.log if isinstance(f, facts.ByeReceived) and f.who == "c1")
    story.replace(bye, msgspec.structs.replace(bye, ms=12_500))
    heard = next(f for f in story.log if isinstance(f, facts.Audio) and f.who == "c1")
    story.replace(heard, msgspec.structs.replace(heard, ms=12_500))
    assert judge(story.log).ok


def test_a_call_that_goes_on_is_open_and_not_lost_before_the_end() -> None:
    story = good()
    _unfinished(story)
    verdict = judge(story.log, ended=False)
    assert verdict.ok
    assert verdict.open == 1


def test_without_audio_callers_may_not_be_hung_up_on_more_often_than_agents_did() -> None:
    log: list[facts.AnyFact] = [
        facts.Joined(ms=0, who="1001", identity="a0", has_audio=False),
        facts.Invited(ms=1, who="c0", call="in", number="4001", identity="c0", has_audio=False),
        facts.Answered(ms=2, who="c0", call="in"),
        facts.Offered(ms=3, who="1001", call="out"),
        facts.Answered(ms=4, who="1001", call="out"),
        facts.Confirmed(ms=5, who="1001", call="out"),
        facts.ByeReceived(ms=9, who="c0", call="in"),
        facts.Over(ms=9, who="c0", call="in"),
    ]
    bye: list[facts.AnyFact] = [
        facts.ByeSent(ms=8, who="1001", call="out"),
        facts.ByeAnswered(ms=8, who="1001", call="out", status=200),
        facts.Over(ms=8, who="1001", call="out"),
    ]
    told: list[facts.AnyFact] = [
        facts.ByeReceived(ms=8, who="1001", call="out"),
        facts.Over(ms=8, who="1001", call="out"),
    ]
    assert judge([*log, *bye]).ok
    assert [loss.reason for loss in judge([*log, *told]).lost] == ["dropped"]
    assert judge([*log, *bye]).order_kept is None


def _window(before: int, after: int) -> Window:
    return Window(mark="fault", at_ms=5_000, before_ms=before, after_ms=after, own_late_ms=3)


def test_gaps_around_a_fault_are_told_apart_for_talkers_and_for_those_who_wait() -> None:
    story = Story().join("1001", "1002")
    for n, (agent, until) in enumerate((("1001", 12_000), ("1002", 4_000))):
        story.talk(n, agent, at=1_000, offered=1_100, until=until)
    story.wait(2, at=1_200, until=11_000)
    for at in (5_000, 5_004):  # by two simulations
        story.log.append(facts.Mark(ms=at, who="", name="fault"))
    windows = {"c0": (22, 41), "1001": (25, 38), "c1": (21, 900), "1002": (21, 20), "c2": (20, 99)}
    for old in [fact for fact in story.log if isinstance(fact, facts.Audio)]:
        window = _window(*windows[old.who])
        story.replace(old, msgspec.structs.replace(old, windows=[window], missing=2))
    verdict = judge(story.log)
    (gaps,) = verdict.gaps
    assert (gaps.talkers, gaps.talkers_before_ms, gaps.talkers_after_ms) == (2, 25, 41)
    assert (gaps.listeners, gaps.listeners_after_ms, gaps.own_late_ms) == (1, 99, 3)
    assert verdict.missing == 10


@pytest.mark.parametrize(
    ("late", "silent_ms", "gap_ms"),
    [([], 510, 30), ([(5_200, 61), (6_600, 99)], 510, 61), ([], 800, 300)],
)
def test_after_the_other_side_hung_up_silence_is_no_gap(
    late: list[tuple[int, int]], silent_ms: int, gap_ms: int
) -> None:
    """The agent hung up at 6,500, his caller was told at 7,000."""
    story = Story().join("1001")
    story.talk(0, "1001", at=1_000, offered=1_100, until=6_500, caller_hangs_up=False)
    story.log.append(facts.Mark(ms=5_000, who="", name="fault"))
    mine, yours = [fact for fact in story.log if isinstance(fact, facts.Audio)]
    story.replace(
        mine,
        msgspec.structs.replace(
            mine, ms=7_000, windows=[_window(21, 510)], late=late, silent_ms=silent_ms
        ),
    )
    story.replace(yours, msgspec.structs.replace(yours, windows=[_window(20, 20)]))
    (gaps,) = judge(story.log).gaps
    assert (gaps.talkers, gaps.talkers_after_ms) == (2, gap_ms)


def test_the_phones_say_what_state_their_agents_are_in() -> None:
    story = good().join("1003", "1004", "1005")
    call = story.invite(9, 10_000)
    story.log.append(audio("c9", call, 12_000, ("music", 10_010, 10_400), ("a3", 10_420, 12_000)))
    story.offer("1003", 8, 11_000)
    talk = story.offer("1004", 9, 10_100)
    story.pick_up("1004", talk, 10_400)
    story.log.append(audio("1004", talk, 12_000, ("c9", 10_420, 12_000)))
    story.log.append(facts.Joined(ms=0, who="1006", identity="a5", absent=True))
    phones = judge(story.log, ended=False).phones
    assert phones == [
        PhoneState("1001", "idle"),
        PhoneState("1002", "idle"),
        PhoneState("1003", "ringing", "out-8-11000"),
        PhoneState("1004", "talking", talk, "c9", call),
        PhoneState("1005", "idle"),
        PhoneState("1006", "absent"),
    ]
    listed = [
        {"agent": "1001", "state": "ready"},
        {"agent": "1002", "state": "wrap_up"},
        {"agent": "1003", "state": "talking"},
        {"agent": "1004", "state": "talking", "call": "x"},
        {"agent": "1006", "state": "not_ready"},
        {"agent": "1009", "state": "ready"},
    ]
    assert differing(phones, listed) == [
        "1003: listed as talking, his phone is ringing",
        "1005: not listed",
        "1009: listed, has no phone here",
    ]
