"""Who calls whom in a scene: the centre of two shards, and the people on both."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHARDS = ("north", "south")
SIP_PORT = 5060

ARRIVALS_A_SECOND = 20
"""For each shard, until everybody is there: the phones that ring must still ring at the fault."""


@dataclass(frozen=True)
class People:
    """Who does what, over both shards."""

    waiting: int = 100
    talking: int = 100
    ringing: int = 20

    @property
    def calls(self) -> int:
        return self.waiting + self.talking + self.ringing


ALL = People()
FEW = People(waiting=20, talking=20, ringing=4)
"""Where a test is about something else than how many there are."""


@dataclass(frozen=True)
class Part:
    """One shard and its people."""

    shard: str
    number: str
    sip: str
    phones: str
    people: People
    first_agent: int
    first_voice: int
    preferred: tuple[str, ...]

    @property
    def agents(self) -> int:
        return self.people.talking + self.people.ringing

    def centre(self) -> dict[str, dict[str, Any]]:
        """Its part of the centre's file."""
        return {
            "shards": {self.shard: {"sip": f"{self.sip}:{SIP_PORT}", "preferred": self.preferred}},
            "numbers": {self.number: {"queue": self.shard}},
            "queues": {
                self.shard: {"shard": self.shard, "offer_timeout": "20s", "wrap_up": "500ms"}
            },
            "agents": {
                str(self.first_agent + n): {
                    "phone": f"sip:{self.first_agent + n}@{self.phones}:{7001 + n}",
                    "queues": [self.shard],
                }
                for n in range(self.agents)
            },
        }

    def words(self, seed: int) -> list[str]:
        """The command line of its people."""
        mix, last = self.people, self.first_agent + self.agents - 1
        return [
            f"--target={self.sip}:{SIP_PORT}",
            f"--number={self.number}",
            f"--rate={ARRIVALS_A_SECOND}",
            f"--agents={self.first_agent}-{last}@{self.phones}:7001+",
            f"--scenario=talking={mix.talking},ringing={mix.ringing},waiting={mix.waiting}",
            "--talk=1000-2000ms",
            "--ring=200-600ms",
            "--patience=1-6",  # of those who come on top of the scenario
            f"--seed={seed}",
            f"--address={self.phones}",
            f"--first-voice={self.first_voice}",
        ]


def parts(people: People, network: str, nodes: Sequence[str]) -> list[Part]:
    """The two shards, each with half of the people, preferring different nodes."""
    half = People(people.waiting // 2, people.talking // 2, people.ringing // 2)
    return [
        Part(
            shard=shard,
            number=str(4001 + place),
            sip=f"{network}.{1 + place}",
            phones=f"{network}.{11 + place}",
            people=half,
            first_agent=1001 + 1000 * place,
            first_voice=1_000 * place,
            preferred=(*nodes[place:], *nodes[:place]),
        )
        for place, shard in enumerate(SHARDS)
    ]


def centre_of(shards: Sequence[Part]) -> str:
    """The centre's file; JSON is YAML."""
    document: dict[str, dict[str, Any]] = {}
    for part in shards:
        for section, entries in part.centre().items():
            document.setdefault(section, {}).update(entries)
    return json.dumps(document, indent=1)
