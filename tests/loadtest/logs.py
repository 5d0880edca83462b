"""Logs of phones as a story: who called when, whom he heard, who hung up."""

from dataclasses import dataclass, field

from loadtest import facts
from loadtest.facts import AnyFact, Audio, Sound, Window


def audio(
    who: str,
    call: str,
    ms: int,
    *heard: tuple[str, int, int],
    silent_ms: int = 10,
    missing: int = 0,
    windows: tuple[Window, ...] = (),
) -> Audio:
    """What a phone heard: (what, from, to)."""
    sounds = [Sound(what, first, last, (last - first) // 20 + 1) for what, first, last in heard]
    return Audio(
        ms=ms,
        who=who,
        call=call,
        heard=sounds,
        packets=sum(sound.packets for sound in sounds),
        missing=missing,
        duplicates=0,
        ssrcs=1,
        gap_ms=21,
        gap_at_ms=ms,
        silent_ms=silent_ms,
        windows=list(windows),
        late=[],
        sent=100,
    )


@dataclass
class Story:
    """A log that is written call by call; times in ms."""

    log: list[AnyFact] = field(default_factory=list)
    agents: int = 0

    def join(self, *names: str) -> "Story":
        for name in names:
            self.log.append(facts.Joined(ms=0, who=name, identity=f"a{self.agents}"))
            self.agents += 1
        return self

    def invite(self, n: int, at: int, *, answered: int | None = 5, priority: int = 0) -> str:
        """Caller `n` dials at `at`, and is answered so much later. His Call-ID."""
        who, call = f"c{n}", f"in-{n}"
        self.log.append(
            facts.Invited(ms=at, who=who, call=call, number="4001", identity=who, priority=priority)
        )
        if answered is not None:
            self.log.append(facts.Answered(ms=at + answered, who=who, call=call))
        return call

    def offer(self, agent: str, n: int, at: int, *, shown: str = "") -> str:
        """An offer reaches the agent's phone. Its Call-ID."""
        call = f"out-{n}-{at}"
        self.log.append(facts.Offered(ms=at, who=agent, call=call, shown=shown))
        return call

    def decline(self, agent: str, n: int, at: int, over: int, *, shown: str = "") -> None:
        """An offer that the agent declines."""
        call = self.offer(agent, n, at, shown=shown)
        self.log.append(facts.Declined(ms=over, who=agent, call=call, status=486))
        self.log.append(facts.Over(ms=over, who=agent, call=call))

    def pick_up(self, agent: str, call: str, at: int) -> None:
        self.log.append(facts.Answered(ms=at, who=agent, call=call))
        self.log.append(facts.Confirmed(ms=at + 1, who=agent, call=call))

    def hang_up(self, who: str, call: str, at: int, status: int = 200) -> None:
        self.log.append(facts.ByeSent(ms=at, who=who, call=call))
        self.log.append(facts.ByeAnswered(ms=at + 2, who=who, call=call, status=status))
        self.log.append(facts.Over(ms=at + 2, who=who, call=call))

    def told(self, who: str, call: str, at: int) -> None:
        """The other side's BYE comes."""
        self.log.append(facts.ByeReceived(ms=at, who=who, call=call))
        self.log.append(facts.Over(ms=at, who=who, call=call))

    def talk(
        self,
        n: int,
        agent: str,
        *,
        at: int,
        offered: int,
        until: int,
        ring: int = 300,
        place: int | None = None,
        caller_hangs_up: bool = True,
    ) -> tuple[str, str]:
        """A whole good call: its two Call-IDs."""
        voice = f"a{place if place is not None else self._place(agent)}"
        mine = self.invite(n, at)
        yours = self.offer(agent, n, offered)
        picked = offered + ring
        self.pick_up(agent, yours, picked)
        music = ("music", at + 10, picked)
        self.log.append(audio(f"c{n}", mine, until, music, (voice, picked + 20, until - 10)))
        self.log.append(audio(agent, yours, until, (f"c{n}", picked + 20, until - 10)))
        if caller_hangs_up:
            self.hang_up(f"c{n}", mine, until)
            self.told(agent, yours, until + 3)
        else:
            self.hang_up(agent, yours, until)
            self.told(f"c{n}", mine, until + 3)
        return mine, yours

    def wait(self, n: int, *, at: int, until: int) -> str:
        """A caller who waits, hears music, and gives up."""
        call = self.invite(n, at)
        who = f"c{n}"
        self.log.append(facts.GaveUp(ms=until, who=who, call=call))
        self.log.append(audio(who, call, until, ("music", at + 10, until - 10)))
        self.hang_up(who, call, until)
        return call

    def _place(self, agent: str) -> int:
        names = [fact.who for fact in self.log if isinstance(fact, facts.Joined)]
        return names.index(agent)

    def replace(self, old: AnyFact, *new: AnyFact) -> None:
        place = self.log.index(old)
        self.log[place : place + 1] = list(new)

    def drop(self, kind: type[AnyFact], who: str) -> None:
        """Nobody saw this."""
        self.log = [f for f in self.log if not (isinstance(f, kind) and f.who == who)]

    def hears(self, who: str, *heard: tuple[str, int, int], silent_ms: int = 10) -> None:
        """Somebody heard something else instead."""
        old = next(f for f in self.log if isinstance(f, Audio) and f.who == who)
        self.replace(old, audio(who, old.call, old.ms, *heard, silent_ms=silent_ms))
