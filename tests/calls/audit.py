"""What must be true while people talk, and when all is over."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from loadtest.sim.media import MediaServer, direction_of, port_of
from sip.message import Message, parse
from tests.calls.people import SHARD, Person, timeouts

if TYPE_CHECKING:
    from tests.calls.sweep import Sweep

read: Callable[[bytes], Message] = lru_cache(8_192)(parse)
"""Most runs begin with the same datagrams."""


def audit_talk(media: MediaServer, people: list[Person]) -> list[str] | None:
    """Do the media server and both phones of every call agree? None if nobody talks."""
    found: list[str] = []
    looked = False
    for live in media.sessions.values():
        phones = {
            leg.name: person
            for leg in live.wanted.legs
            for person in people
            if port_of(leg.remote) == person.rtp
        }
        if len(phones) < 2 or not all(person.is_up for person in phones.values()):
            continue
        looked = True
        for leg in live.wanted.legs:
            person = phones[leg.name]
            there = person.leg
            assert there is not None
            who = there.who
            if port_of(there.theirs) != live.applied.ports[leg.name]:
                found.append(f"{who} sends to a port that is not his")
            if (direction_of(leg.remote) == "sendonly") != there.held:
                found.append(f"{who} holds: {there.held}, the media server: {leg.remote[-12:]!r}")
            other = next(one for name, one in phones.items() if name != leg.name)
            assert other.leg is not None
            wanted = "" if there.held else "music.wav" if other.leg.held else str(other.rtp)
            heard = media._sound(live, leg)
            if heard != wanted and not (there.held and other.leg.held):
                found.append(f"{who} hears {heard!r} instead of {wanted!r}")
    return found if looked else None


def audit_end(world: "Sweep", *, vanished: bool) -> list[str]:
    """After the last call: what is left, what is missing, what happened twice.

    `vanished`: somebody went without a word, so not every request had an answer.
    """
    found = list(world.wrong)
    found += [f"raised: {fault!r}" for fault in world.faults]
    for person in world.people:
        found += [f"raised at a phone: {fault!r}" for fault in person.faults]
        if not vanished:
            found += timeouts(person)
        if not person.is_over:
            found.append(f"{person.address} is left in a call")
    if world.node is None:
        return [*found, "nobody serves"]
    found += [
        f"left: {key}" for key in world.records if key.startswith(("call/", "leg/", "outbox/"))
    ]
    found += [f"media session {name} is left" for name in world.media.sessions]
    found += _cdrs(world)
    found += _transactions(world, vanished=vanished)
    for key, agent in world.records.items():
        if key.startswith("agent/") and (agent.call or agent.leg):
            found.append(f"{agent.id} still has a call or leg")
    return found


def _cdrs(world: "Sweep") -> list[str]:
    found = []
    received = [fact["call"] for fact in world.facts("received") if fact["call"]]
    ended = Counter(fact["call"] for fact in world.facts("ended"))
    found += [f"{call} has {n} CDRs" for call, n in ended.items() if n != 1]
    found += [f"{call} has no CDR" for call in received if call not in ended]
    found += [f"{call} ended and was not received" for call in ended if call not in received]
    ledger = world.records["ledger"]
    for kind in ("received", "queued", "answered", "abandoned", "failed", "refused"):
        stated = len(world.facts(kind))
        if stated != getattr(ledger, kind):
            found.append(f"ledger: {getattr(ledger, kind)} {kind}, facts: {stated}")
    return found


def _transactions(world: "Sweep", *, vanished: bool) -> list[str]:
    """Every request has one final answer, every offer one INVITE, repeats are the same bytes."""
    found = []
    asked: dict[tuple[str, str], bytes] = {}
    finals: dict[tuple[str, str], set[tuple[int, str]]] = {}
    offers: dict[str, set[str]] = {}
    for datagram, source, _ in world.sent:
        msg = read(datagram)
        if msg.method == "ACK":
            continue
        if msg.method:
            key = (msg.branch, msg.method)
            if asked.setdefault(key, datagram) != datagram:
                found.append(f"another {msg.method} with the same branch")
            if msg.method == "INVITE" and source == SHARD and not msg.to_tag:
                offers.setdefault(msg.call_id, set()).add(msg.branch)
        elif msg.status >= 200:
            finals.setdefault((msg.branch, msg.cseq_method), set()).add((msg.status, msg.to_tag))
    is_forked = bool(world.forks)
    for key in asked:
        answers = finals.get(key, set())
        is_two = is_forked and key[1] in ("INVITE", "CANCEL")
        if len(answers) > 1 + is_two or not (answers or vanished):
            found.append(f"{key[1]} {key[0]}: final answers {sorted(answers)}")
    found += [f"offer {call_id} in {n} INVITEs" for call_id, n in offers.items() if len(n) != 1]
    stated = {fact["call_id"] for fact in world.facts("offered")}
    found += [f"INVITE {call_id} was never stated" for call_id in offers if call_id not in stated]
    return found
