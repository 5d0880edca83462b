"""Who calls whom in a demo or a drill: the centre of two shards, and the people on both."""

import contextlib
import json
import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.scenario import Mix

SHARDS = ("north", "south")
SIP_PORT = 5060
FIRST_AGENT_PORT = 7_001
WRAP_UP_MS = 500


class NoNetwork(Exception):
    """No loopback address has its SIP port free."""


@dataclass(frozen=True)
class Part:
    """One shard and the people who call it."""

    shard: str
    number: str
    sip: str
    phones: str
    """The address of callers and agents."""
    mix: Mix
    first_agent: int
    first_voice: int
    preferred: tuple[str, ...]


def parts(mixes: Sequence[Mix], network: str, *, nodes: int, voices: int = 0) -> list[Part]:
    """The shards, each with its people and another preferred node.

    `voices`: so many voices are kept for the callers of each, those who come later included.
    """
    names = [f"n{number + 1}" for number in range(nodes)]
    apart = max(voices, *(mix.callers for mix in mixes))
    return [
        Part(
            shard=shard,
            number=str(4001 + place),
            sip=f"{network}.{1 + place}",
            phones=f"{network}.{11 + place}",
            mix=mix,
            first_agent=1001 + 1000 * place,
            first_voice=place * apart,
            preferred=(*names[place % nodes :], *names[: place % nodes]),
        )
        for place, (shard, mix) in enumerate(zip(SHARDS, mixes, strict=True))
    ]


def centre_yaml(shards: Sequence[Part]) -> str:
    """The centre of these parts; JSON is YAML."""
    centre: dict[str, dict[str, Any]] = {"shards": {}, "numbers": {}, "queues": {}, "agents": {}}
    for part in shards:
        address = f"{part.sip}:{SIP_PORT}"
        centre["shards"][part.shard] = {"sip": address, "preferred": list(part.preferred)}
        centre["numbers"][part.number] = {"queue": part.shard}
        centre["queues"][part.shard] = {
            "shard": part.shard,
            "offer_timeout": "20s",
            "wrap_up": f"{WRAP_UP_MS}ms",
        }
        for n in range(part.mix.agents):
            name = str(part.first_agent + n)
            phone = f"sip:{name}@{part.phones}:{FIRST_AGENT_PORT + n}"
            centre["agents"][name] = {"phone": phone, "queues": [part.shard]}
    return json.dumps(centre, indent=1)


def phone_words(part: Part, seed: int, rate: int) -> list[str]:
    """The command line of the people of one part, `rate` of whom come each second."""
    last = part.first_agent + part.mix.agents - 1
    return [
        f"--target={part.sip}:{SIP_PORT}",
        f"--number={part.number}",
        f"--rate={rate}",
        f"--agents={part.first_agent}-{last}@{part.phones}:{FIRST_AGENT_PORT}+",
        f"--scenario={part.mix}",
        "--talk=1500-3500ms",
        "--ring=200-600ms",
        f"--seed={seed}",
        f"--address={part.phones}",
        f"--first-voice={part.first_voice}",
    ]


def free_network(seed: int) -> str:
    """Three parts of a loopback network in which the shards' ports are free. Raises NoNetwork."""
    draw = random.Random(f"{seed} {os.getpid()}")  # to get out of others' way, not a secret
    for _ in range(20):
        network = f"127.{draw.randint(16, 250)}.{draw.randint(1, 250)}"
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for place in range(len(SHARDS)):
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind((f"{network}.{1 + place}", SIP_PORT))
            return network
    raise NoNetwork("no loopback address has its SIP port free")
