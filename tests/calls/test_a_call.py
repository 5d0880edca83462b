"""A call from the first INVITE to the CDR, and every way out of every state."""

import pytest

from calls import flow, inputs
from calls.legs import PROBE_MS
from calls.view import ledger
from cluster.machine import ClusterLost, Promoted
from sip.message import parse
from sip.transaction import TIMER_F_MS
from tests.calls.phones import Caller, Phone
from tests.calls.world import HOLD, SDP, World, centre


def start(agents: int = 1, **options: object) -> tuple[World, list[Phone]]:
    world = World(centre(agents, **options))  # type: ignore[arg-type]
    phones = [Phone(world, str(1001 + i), 7001 + i) for i in range(agents)]

    def hear(msg: object, address: object) -> None:
        for phone in phones:
            phone.hear(msg, address)  # type: ignore[arg-type]

    world.on_message = hear
    return world, phones


def accounted(world: World) -> None:
    assert ledger(world.records)["unaccounted"] == 0


def talking(world: World, phone: Phone) -> Caller:
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    assert world.facts("answered"), world.events
    assert phone.acks
    return caller


def test_a_call_is_answered_prompted_queued_offered_and_talked() -> None:
    world, (phone,) = start()
    caller = talking(world, phone)
    world.run(10_000)
    caller.bye()
    world.run(100)

    (cdr,) = world.facts("ended")
    assert cdr["outcome"] == "answered"
    assert cdr["agent"] == "1001"
    assert 9_900 <= cdr["talk_ms"] <= 10_500
    assert phone.byes
    assert world.agent().state == "wrap_up"
    assert world.deleted == [cdr["call"]]
    accounted(world)
    world.run(40_000)
    assert world.agent().state == "ready"
    assert not [key for key in world.records if key.startswith(("call/", "leg/", "outbox/"))]


def test_the_agents_bye_ends_the_callers_leg_too() -> None:
    world, (phone,) = start(wrap_up_ms=0)
    talking(world, phone)
    phone.bye()
    assert [msg.method for msg, address in world.sent if msg.method == "BYE"] == ["BYE"]
    assert world.answers(200, "BYE")
    assert world.facts("ended")[0]["by"] == "agent"
    assert world.agent().state == "ready"


def test_a_caller_who_leaves_in_the_prompt_was_never_queued() -> None:
    world, _ = start()
    caller = Caller(world)
    caller.call()
    world.run(500)
    caller.bye()
    assert world.facts("ended")[0]["outcome"] == "ended_before_queue"
    assert not world.facts("queued")
    accounted(world)


def test_a_caller_who_leaves_while_waiting_has_abandoned() -> None:
    world, _ = start(agents=0)
    caller = Caller(world)
    caller.call()
    world.run(5_000)
    caller.bye()
    assert world.facts("ended")[0]["outcome"] == "abandoned"
    accounted(world)


def test_a_caller_who_leaves_while_a_phone_rings_takes_the_invite_back() -> None:
    world, (phone,) = start()
    phone.status = 180
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    assert world.agent().state == "offered"
    caller.bye()
    world.run(100)
    assert phone.cancelled
    assert world.agent().state == "ready"
    assert world.agent().leg == ""
    assert world.facts("ended")[0]["outcome"] == "abandoned"
    accounted(world)


def test_cancel_while_it_rings_at_the_caller_gets_200_and_487() -> None:
    world, _ = start(ring_ms=3_000)
    caller = Caller(world)
    caller.invite()
    world.run(1_000)
    assert world.answers(180)
    caller.cancel()
    assert world.answers(200, "CANCEL")
    assert world.answers(487, "INVITE")
    assert world.facts("ended")[0]["outcome"] == "ended_before_queue"
    accounted(world)


def test_after_the_ringing_the_caller_is_answered() -> None:
    world, _ = start(ring_ms=3_000)
    caller = Caller(world)
    caller.invite()
    world.run(2_900)
    assert not world.answers(200)
    world.run(200)
    assert world.answers(200, "INVITE")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (486, "busy"),
        (603, "declined"),
        (480, "declined"),
        (404, "unreachable"),
        (503, "unreachable"),
    ],
)
def test_an_agent_who_does_not_take_it_is_not_ready_and_the_caller_waits(
    status: int, reason: str
) -> None:
    world, (phone,) = start()
    phone.status = status
    Caller(world).call()
    world.run(8_000)
    assert (world.agent().state, world.agent().reason) == ("not_ready", reason)
    assert len(phone.invites) == 1
    assert world.state == [2]


def test_an_agent_who_does_not_answer_in_time_is_cancelled_and_another_is_offered() -> None:
    world, (first, second) = start(agents=2)
    first.status = 180
    Caller(world).call()
    world.run(1_600 + 20_000)
    assert first.cancelled
    assert world.agent("1001").reason == "no_answer"
    world.run(500)
    assert second.invites
    assert world.facts("answered")[0]["agent"] == "1002"


def test_after_a_pause_he_is_not_offered_the_same_call_within_five_seconds() -> None:
    world, (phone,) = start(pause_ms=1_000)
    phone.status = 486
    Caller(world).call()
    world.run(2_000)
    assert len(phone.invites) == 1
    assert world.agent().state in ("paused", "ready")
    world.run(3_900)
    assert len(phone.invites) == 1
    world.run(1_500)
    assert len(phone.invites) == 2


def test_a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() -> None:
    world, (phone,) = start()
    phone.status = 180
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    phone.in_call.add(phone.invites[-1].call_id)  # he lifts the handset: CANCEL comes too late
    caller.bye()
    phone.pick_up()
    world.run(100)
    assert phone.acks
    assert phone.byes
    assert world.agent().state == "ready"


def test_hold_is_answered_on_his_side_and_the_caller_hears_music() -> None:
    world, (phone,) = start()
    talking(world, phone)
    phone.request("INVITE", HOLD)
    world.run(10)
    (session,) = world.media.values()
    caller, agent = session.legs
    assert [source.name for source in caller.hears] == ["music.wav"]
    assert agent.hears == ()
    phone.request("ACK")
    phone.request("INVITE", SDP)
    world.run(10)
    (session,) = world.media.values()
    assert [source.leg for source in session.legs[0].hears] == [agent.name]
    assert [fact["by"] for fact in world.facts("held") + world.facts("retrieved")] == [
        "1001",
        "1001",
    ]


def test_an_offerless_invite_gets_our_offer_and_its_answer_comes_with_the_ack() -> None:
    world, _ = start()
    caller = Caller(world, body="")
    caller.invite()
    world.run(10)
    final = caller.final()
    assert final is not None
    assert "m=audio" in final.body
    caller.ack(SDP)
    world.run(2_000)
    assert world.facts("answered")


def test_a_reinvite_while_ours_is_pending_gets_491() -> None:
    world, (phone,) = start()
    phone.status = 180
    Caller(world).call()
    world.run(2_000)
    phone.status = 200
    phone.pick_up()
    # The 200 is under way; a re-INVITE of ours to the caller is pending.
    world.run(5)
    (session,) = world.media.values()
    refused = inputs.MediaRefused(session.id, session.counter, "no_ports")
    world.post(refused)
    world.run(20)
    assert len(world.requests("INVITE")) >= 1


@pytest.mark.parametrize("ring_ms", [0, 500])
def test_a_call_that_is_set_up_while_the_media_server_restarts_waits_for_it(ring_ms: int) -> None:
    """Found by `keepline chaos --fault media`: it was refused with 503."""
    world, _ = start(ring_ms=ring_ms)
    world.media_refuses = "unreachable"
    caller = Caller(world)
    caller.invite()
    world.run(1_500)
    assert not world.answers(200)
    world.media_refuses = ""
    world.post(inputs.MediaSessions([]))
    world.run(100)
    assert world.answers(200, "INVITE")
    caller.ack()
    world.run(flow.MEDIA_WAIT_MS)
    assert not world.answers(503)
    assert not world.facts("ended")
    accounted(world)


def test_a_call_for_which_the_media_server_stays_away_gets_503() -> None:
    world, _ = start()
    world.media_refuses = "unreachable"
    Caller(world).invite()
    world.run(flow.MEDIA_WAIT_MS - 100)
    assert not world.answers(503)
    world.run(200)
    assert world.answers(503, "INVITE")
    assert world.facts("refused")[0]["cause"] == "media unreachable"
    accounted(world)


def test_an_unknown_number_gets_404_and_its_repeat_too() -> None:
    world, _ = start()
    caller = Caller(world, number="9999")
    caller.invite()
    caller.invite()
    assert len(world.answers(404)) == 2
    assert ledger(world.records)["refused"] == 1
    accounted(world)


@pytest.mark.parametrize("why", ["overload", "draining", "no_media"])
def test_a_call_that_was_turned_away_is_counted_and_nothing_is_kept_of_it(why: str) -> None:
    world, _ = start()
    before = list(world.records)
    world.post(inputs.TurnedAway("4001", why))
    assert (ledger(world.records)["received"], ledger(world.records)["refused"]) == (1, 1)
    assert world.facts("refused")[0]["cause"] == why
    world.run(10)
    assert set(world.records) <= {*before, "ledger"}
    accounted(world)


def test_the_repeat_of_a_call_that_was_taken_is_known_and_a_new_one_is_not() -> None:
    world, _ = start()
    caller = Caller(world)
    caller.invite()
    text = (
        "INVITE sip:4001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:5070;branch={branch}\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:a@b>;tag={tag}\r\nTo: <sip:4001@b>\r\n"
        "Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )
    (leg,) = [record for key, record in world.records.items() if key.startswith("leg/")]
    taken = {
        "branch": leg.invite_branch, "tag": leg.dialog.remote_tag, "call_id": leg.dialog.call_id
    }  # fmt: skip

    def knows(**changed: str) -> bool:
        message = parse(text.format(**(taken | changed)).encode())
        return world.machine.knows(world.records, message)

    assert knows()
    assert not knows(call_id="another")
    assert not knows(tag="another")


def test_a_media_server_that_refuses_the_offer_means_488() -> None:
    world, _ = start()
    world.media_refuses = "not_acceptable"
    Caller(world).invite()
    world.run(10)
    assert world.answers(488)
    assert world.facts("ended")[0]["outcome"] == "refused"
    accounted(world)


def test_a_phone_whose_sdp_is_refused_does_not_cost_the_caller_his_call() -> None:
    world, (phone,) = start()
    phone.status = 180
    Caller(world).call()
    world.run(2_000)
    phone.sdp = SDP.replace("s=-", "s=BAD")
    phone.pick_up()
    world.run(50)
    assert phone.byes
    assert world.state == [2]
    assert world.agent().state == "not_ready"


def test_a_phone_that_vanished_is_found_within_90_seconds() -> None:
    world, (phone,) = start()
    talking(world, phone)
    phone.dead = True
    assert PROBE_MS + TIMER_F_MS < 90_000
    world.run(PROBE_MS)
    probe = next(
        msg for msg in world.requests("OPTIONS") if msg.call_id == phone.invites[0].call_id
    )
    world.post(inputs.TimedOut(probe.branch, "OPTIONS"))
    assert world.facts("ended")[0]["cause"] == "gone"
    assert any(address == ("127.0.0.9", 5070) for msg, address in world.sent if msg.method == "BYE")


def test_a_200_without_ack_ends_the_call() -> None:
    world, _ = start()
    caller = Caller(world)
    caller.invite()
    world.run(33_000)
    assert world.facts("ended")[0]["cause"] == "no_ack"
    assert world.requests("BYE")
    accounted(world)


def test_callers_get_agents_in_order_of_arrival() -> None:
    world, _phones = start(agents=1, wrap_up_ms=0)
    phone = _phones[0]
    world.post(inputs.SetAgent("1001", "not_ready", "meeting"))
    callers = [Caller(world, f"c{i}") for i in range(5)]
    for caller in callers:
        caller.call()
        world.run(100)
    world.run(2_000)
    assert not phone.invites
    world.post(inputs.SetAgent("1001", "ready", ""))
    for _ in callers:
        world.run(100)
        phone.bye()
        world.run(50)
    order = [fact["call"] for fact in world.facts("answered")]
    assert order == [fact["call"] for fact in world.facts("received")]
    accounted(world)


def test_bye_repeated_to_an_ended_dialog_still_gets_200() -> None:
    world, (phone,) = start()
    caller = talking(world, phone)
    caller.bye()
    world.run(10)
    world.takeover()
    caller.cseq -= 1
    caller.bye()
    assert len(world.answers(200, "BYE")) >= 2


def test_digits_by_info_and_by_rtp_are_kept_once() -> None:
    world, (phone,) = start()
    caller = talking(world, phone)
    (session,) = world.media
    world.post(inputs.Digit(session, 7, "caller", "5"))
    world.post(inputs.Digit(session, 7, "caller", "5"))
    caller.request(
        "INFO",
        body="Signal=7\r\nDuration=100\r\n",
        extra="Content-Type: application/dtmf-relay\r\n",
    )
    caller.bye()
    assert world.facts("ended")[0]["digits"].startswith("5")


def test_a_lost_cluster_goes_on_with_the_ledger_and_closes_what_was_open() -> None:
    world, _ = start()
    lost = [
        inputs.LostCall("a", "4001", "x", 1, was_queued=False, was_answered=False),
        inputs.LostCall("b", "4001", "y", 2, was_queued=True, was_answered=False),
        inputs.LostCall("c", "4001", "z", 3, was_queued=True, was_answered=True),
    ]
    known = inputs.CloseLost(7, lost, {"received": 4, "queued": 3, "answered": 2, "ended": 1})
    world.epoch = 7
    world.post(ClusterLost("main", 7))
    assert world.lost_asked == [7]
    world.takeover()  # before the database has answered: the next node asks again
    assert world.lost_asked == [7, 7]
    world.post(known)
    world.post(known)  # the answer to the first node's question, late
    world.takeover()
    assert world.lost_asked == [7, 7]

    assert [cdr["cause"] for cdr in world.facts("ended")] == ["cluster_lost"] * 3
    assert ledger(world.records)["failed"] == 1
    accounted(world)


def test_after_a_long_absence_phones_that_are_gone_are_found_and_audio_is_wanted_again() -> None:
    world, (phone,) = start()
    talking(world, phone)
    phone.dead = True
    world.now_ms += 600_000
    world.media.clear()
    world.takeover()
    world.run(200)
    assert world.media
    probes = {msg.call_id: msg for msg in world.requests("OPTIONS")}
    assert len(probes) == 2  # both legs are asked at once
    world.post(inputs.TimedOut(probes[phone.invites[0].call_id].branch, "OPTIONS"))
    assert world.facts("ended")[0]["cause"] == "gone"
    accounted(world)


def test_a_promoted_shard_closes_the_calls_of_which_only_the_database_knows() -> None:
    world, (phone,) = start()
    talking(world, phone)
    (known,) = (key.removeprefix("call/") for key in world.records if key.startswith("call/"))
    before = ledger(world.records)
    world.takeover()
    world.post(Promoted("main", world.epoch, 1_700_000_000_000))
    lost = [
        inputs.LostCall(known, "4001", "x", 1, was_queued=True, was_answered=True),
        inputs.LostCall("later", "4001", "y", 2, was_queued=True, was_answered=False),
        inputs.LostCall("last", "4001", "z", 3, was_queued=False, was_answered=False),
    ]
    world.post(inputs.CloseLost(world.epoch, lost, {"received": 900}))

    assert [(cdr["outcome"], cdr["cause"]) for cdr in world.facts("ended")] == [
        ("failed", "cluster_lost")
    ] * 2
    after = ledger(world.records)
    assert after["received"] == before["received"] + 2
    assert (after["failed"], after["ended_before_queue"]) == (1, 1)
    accounted(world)
    assert world.facts("promoted")[0]["records_at"] == 1_700_000_000_000


def test_a_promoted_copy_that_was_still_being_received_counts_no_call_twice() -> None:
    """Its ledger was of a later moment than its calls: one that it counts is not in it."""
    world, _ = start(agents=0)
    for name in ("here", "missing"):
        Caller(world, name).call()
    world.run(5_000)
    assert ledger(world.records)["waiting"] == 2
    (missing,) = (fact["call"] for fact in world.facts("received") if fact["caller"] == "missing")
    for key, record in list(world.records.items()):
        is_of_it = missing in (key.removeprefix("call/"), getattr(record, "call", ""))
        if is_of_it or key.startswith("outbox/"):  # which the database has
            del world.committed[key]
    world.takeover()
    world.post(Promoted("main", world.epoch, 1_700_000_000_000))
    accounted(world)
    lost = [inputs.LostCall(missing, "4001", "x", 1, was_queued=True, was_answered=False)]
    world.post(inputs.CloseLost(world.epoch, lost, {}))

    after = ledger(world.records)
    assert (after["received"], after["waiting"], after["failed"]) == (2, 1, 1)
    accounted(world)


def test_an_agent_who_did_not_take_a_call_is_the_last_to_be_offered_the_next() -> None:
    world, (first, second) = start(agents=2, pause_ms=1_000)
    first.status, second.status = 486, 180
    caller = Caller(world)
    caller.call()
    world.run(2_000)
    assert (len(first.invites), len(second.invites)) == (1, 1)
    caller.bye()
    world.run(1_500)
    first.status = second.status = 200
    Caller(world, "c2").call()
    world.run(2_000)
    assert [fact["agent"] for fact in world.facts("answered")] == ["1002"]


def test_a_request_that_is_older_than_the_last_is_out_of_order() -> None:
    world, (phone,) = start()
    caller = talking(world, phone)
    caller.cseq = 10
    caller.request("OPTIONS")
    caller.cseq = 4
    caller.bye()
    assert world.answers(500, "BYE")
    assert not world.facts("ended")


def test_a_cancel_of_another_branch_cancels_nothing() -> None:
    world, _ = start(ring_ms=3_000)
    caller = Caller(world)
    caller.invite()
    world.run(100)
    caller._send("CANCEL", cseq=1, branch="z9hG4bKother")
    assert world.answers(481, "CANCEL")
    assert not world.answers(487)


def test_who_takes_over_asks_and_answers_no_more_than_is_open() -> None:
    world, (phone,) = start()
    talking(world, phone)
    Caller(world, "c9", number="9999").invite()
    world.run(1_000)
    sent = len(world.sent)
    asked: list[object] = []
    world._apply = asked.append  # type: ignore[method-assign, assignment]
    world.takeover()
    assert len(world.sent) == sent
    assert asked == []
