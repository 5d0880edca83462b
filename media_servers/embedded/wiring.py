"""Who hears whom in one session, and the wires that make it so.

One voice is passed on packet by packet; a sound is played on the clock; anything more is mixed.
"""

from collections.abc import Callable

from media_servers.embedded.clock import Clock
from media_servers.embedded.leg import Leg
from media_servers.embedded.mix import Mix, Tap
from media_servers.embedded.negotiation import Media
from media_servers.embedded.players import Loop, Once, Sound
from media_servers.embedded.recording import Recorder
from media_servers.verbs import Applied, Event, File, Party, Session


class Live:
    """A session as it is: what was applied last, its legs, its events."""

    __slots__ = (
        "applied", "ended", "legs", "media", "n", "pending", "players", "recorder", "routes",
        "wanted",
    )  # fmt: skip

    def __init__(self, wanted: Session) -> None:
        self.wanted = wanted
        self.applied = Applied(wanted.id, wanted.counter, {}, {})
        self.legs: dict[str, Leg] = {}
        self.media: dict[str, Media] = {}
        self.routes: dict[str, tuple[object, ...]] = {}
        self.players: dict[int, Once] = {}
        self.ended: list[int] = []
        self.recorder: Recorder | None = None
        self.n = 0
        self.pending: list[Event] = []


class Wiring:
    """Connects legs. `on_end(live, play)` is called when a playing has come to its end."""

    def __init__(
        self,
        clock: Clock,
        find_sound: Callable[[str], Sound | None],
        on_end: Callable[[Live, int], None],
    ) -> None:
        self._clock = clock
        self._find_sound = find_sound
        self._on_end = on_end

    def connect(self, live: Live) -> None:
        """Connect every leg to what it hears. Where that is as before, nothing is disturbed."""
        sinks: dict[str, list[Leg]] = {name: [] for name in live.legs}
        players: dict[int, Once] = {}
        for wanted in live.wanted.legs:
            leg = live.legs[wanted.name]
            parties = [
                live.legs[source.leg]
                for source in wanted.hears
                if isinstance(source, Party)
                and source.leg in live.legs
                and source.leg != wanted.name
            ]
            files = [source for source in wanted.hears if isinstance(source, File)]
            for file in files:
                if not file.loop and file.play not in live.ended:
                    players[file.play] = (
                        players.get(file.play)
                        or live.players.get(file.play)
                        or self._once(live, file)
                    )
            route = (
                tuple((party.name, id(party), party.receives) for party in parties),
                tuple(files),
            )
            if live.routes.get(wanted.name) != route:
                live.routes[wanted.name] = route
                self._route(leg, parties, files, players)
            if len(parties) == 1 and not files:
                sinks[parties[0].name].append(leg)
        live.players = players
        for name, leg in live.legs.items():
            leg.sinks = tuple(sinks[name])
        _tap(live)
        for leg in live.legs.values():
            self._time(leg)

    def _time(self, leg: Leg) -> None:
        """Serve the leg on the clock if there is anything to do for it there.

        Music that nobody is sent or records needs no clock: its place is the clock's, and a queue
        of a thousand callers who hold us would cost as much as one that hears it.
        """
        timed = leg.timed
        unheard = isinstance(timed, Loop) and not leg.is_sending and leg.copy is None
        if timed is None or unheard:
            self._clock.drop(leg)
        else:
            self._clock.add(leg)

    def _route(
        self,
        leg: Leg,
        parties: list[Leg],
        files: list[File],
        players: dict[int, Once],
    ) -> None:
        leg.restart()
        leg.timed = None
        leg.hearing = {}
        voices: list[Loop | Once] = []
        for file in files:
            if file.loop:
                sound = self._find_sound(file.name)
                assert sound is not None  # checked before anything was changed
                voices.append(Loop(sound))
            elif file.play in players:
                voices.append(players[file.play])
        if len(voices) == 1 and not parties:
            leg.timed = voices[0]
        elif parties and (voices or len(parties) > 1):
            leg.hearing = {party.name: Tap() for party in parties}
            leg.timed = Mix(tuple(leg.hearing.values()), voices)
        elif len(voices) > 1:
            leg.timed = Mix((), voices)

    def _once(self, live: Live, file: File) -> Once:
        sound = self._find_sound(file.name)
        assert sound is not None  # checked before anything was changed
        then = self._find_sound(file.then) if file.then else None
        return Once(sound, lambda: self._on_end(live, file.play), Loop(then) if then else None)


def _tap(live: Live) -> None:
    """Give the mixes and the recording their taps."""
    first = next(iter(live.legs.values()), None)
    for leg in live.legs.values():
        taps = [
            other.hearing[leg.name] for other in live.legs.values() if leg.name in other.hearing
        ]
        if live.recorder is not None and leg is first:
            taps.append(live.recorder.left)
        leg.taps = tuple(taps)
        leg.copy = live.recorder.right if live.recorder and leg is first else None
