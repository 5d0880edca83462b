"""The centre's YAML file, checked on load: which numbers, queues, agents and shards there are.

What is wrong is one `ConfigError` that names file, line and field; the first fault found is told.
"""

import ipaddress
import re
from pathlib import Path

from calls.centre import Address, Agent, Centre, Number, Queue, Shard
from gateway_mgmt.io.profiles import shipped
from node.fields import clash, shown
from node.inventory_file import SECTIONS, read_inventory
from node.yaml_tree import ConfigError, Tree, read_file, read_tree

__all__ = ["ConfigError", "load_centre", "read_centre", "sip_address"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of shards, queues, agents and nodes: they stand in addresses, keys and file names."""

DIALLED = re.compile(r"[A-Za-z0-9+*#][A-Za-z0-9+*#._-]{0,63}")
"""A number that callers dial."""

PHONE = re.compile(r"sip:([^@\s<>\"]{1,128}@)?([^@\s<>;?\"/]{1,64})(;[^@\s<>\"?]{1,256})?")
"""A phone's URI (RFC 3261 §19.1): user, host and port, parameters."""

STRATEGIES = ("longest_idle",)
AGENT_STATES = ("ready", "not_ready", "signed_out")
ELSEWHERE = ("relay", "redirect", "refuse")

AGENTS_MAX = 10_000
"""In one shard: a change that concerns them all is one step of it."""

DEFAULT_SHARD = "main"
DEFAULT_SIP: Address = ("127.0.0.1", 5060)

LEAST_MS = 100
WEIGHT_MOST = 1_000
HOUR_MS = 3_600_000


def load_centre(path: Path) -> Centre:
    """The centre that the file at `path` declares. Raises ConfigError."""
    return read_centre(read_tree(read_file(path), path))


def read_centre(tree: Tree) -> Centre:
    """The centre that a file declares. Raises ConfigError."""
    top = tree.fields(
        ("numbers", "queues", "agents", "shards", "max_calls", "elsewhere", *SECTIONS)
    )
    shards = read_shards(top.get("shards"))
    queues = read_queues(top.get("queues"), shards)
    numbers = read_numbers(top.get("numbers"), queues)
    agents = read_agents(top.get("agents"), queues)
    inventory = read_inventory(top, numbers, queues, shipped())
    for site, declared in inventory.sites.items():
        for name, shard in shards.items():
            if declared.traps and clash(declared.traps, shard.sip):
                raise tree.wrong_at(
                    ("sites", site, "traps"),
                    f"is in the way of shard {name}, which has {shown(shard.sip)}",
                )
    given: dict[str, int | str] = {}
    if "max_calls" in top:
        given["max_calls"] = top["max_calls"].number(1, 1_000_000)
    if "elsewhere" in top:
        given["elsewhere"] = top["elsewhere"].one_of(ELSEWHERE)
    return Centre(
        numbers=numbers,
        queues=queues,
        agents=agents,
        shards=shards,
        inventory=inventory,
        **given,  # type: ignore[arg-type]  # each value was read by its type
    )


def sip_address(text: str) -> Address | None:
    """`IP:PORT` with a literal IPv4 address; None when it is not one."""
    host, _, port = text.rpartition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536
    return (host, int(port)) if is_port and is_ip(host) else None


def is_ip(host: str) -> bool:
    """Is this a literal IPv4 address? Media and SIP speak no IPv6 yet."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def check_name(tree: Tree, name: str, pattern: re.Pattern[str] = NAME) -> None:
    if not pattern.fullmatch(name):
        raise tree.wrong("a name is 1 to 64 letters, digits and . _ - and starts with no mark")


def read_shards(tree: Tree | None) -> dict[str, Shard]:
    """The shards; none declared: one, called `main`."""
    if tree is None:
        return {DEFAULT_SHARD: Shard(sip=DEFAULT_SIP)}
    shards: dict[str, Shard] = {}
    owner: dict[Address, str] = {}
    for name, value in tree.mapping().items():
        check_name(value, name)
        fields = value.fields(("sip", "preferred", "weight", "elsewhere", "far"), required=("sip",))
        address = sip_address(fields["sip"].text())
        if address is None:
            raise fields["sip"].wrong(
                f"{fields['sip'].text()!r} is no address; write IP:PORT, like 127.0.0.1:5060"
            )
        ip = ipaddress.IPv4Address(address[0])
        if ip.is_unspecified or ip.is_multicast:
            raise fields["sip"].wrong(f"{ip} is not the address of one host; phones answer to it")
        if address in owner:
            raise fields["sip"].wrong(f"is the address of shard {owner[address]} already")
        owner[address] = name
        preferred = read_nodes(fields.get("preferred"))
        far = read_nodes(fields.get("far"))
        if both := [node for node in far if node in preferred]:
            raise fields["far"].wrong(f"{both[0]} is preferred; a far node never leads by itself")
        weight = fields["weight"].number(1, WEIGHT_MOST) if "weight" in fields else 1
        elsewhere = fields["elsewhere"].one_of(ELSEWHERE) if "elsewhere" in fields else ""
        shards[name] = Shard(address, preferred, weight, elsewhere, far)
    if not shards:
        raise tree.wrong("names no shard; leave it out for one called main")
    return shards


def read_nodes(tree: Tree | None) -> tuple[str, ...]:
    """Names of nodes, none twice."""
    nodes: list[str] = []
    for item in tree.items() if tree else ():
        check_name(item, item.text())
        if item.text() in nodes:
            raise item.wrong(f"{item.text()} stands here twice")
        nodes.append(item.text())
    return tuple(nodes)


def read_queues(tree: Tree | None, shards: dict[str, Shard]) -> dict[str, Queue]:
    """The queues. A queue need not name its shard when there is one only."""
    queues: dict[str, Queue] = {}
    for name, value in tree.mapping().items() if tree else ():
        check_name(value, name)
        fields = value.fields(
            ("shard", "strategy", "offer_timeout", "wrap_up", "no_answer", "music")
        )
        given: dict[str, str | int] = {}
        if "shard" in fields:
            given["shard"] = fields["shard"].one_of(shards, "shard")
        elif len(shards) == 1:
            given["shard"] = next(iter(shards))
        else:
            raise value.wrong(f"is missing; known: {', '.join(shards)}", "shard")
        if "strategy" in fields:
            given["strategy"] = fields["strategy"].one_of(STRATEGIES, "strategy")
        if "offer_timeout" in fields:
            offer_ms = fields["offer_timeout"].duration_ms(LEAST_MS, HOUR_MS)
            given["offer_timeout_ms"] = offer_ms
        if "wrap_up" in fields:
            given["wrap_up_ms"] = fields["wrap_up"].duration_ms(0, 24 * HOUR_MS)
        if "no_answer" in fields:
            given["no_answer_pause_ms"] = read_no_answer(fields["no_answer"])
        if "music" in fields:
            given["music"] = sound(fields["music"])
        queues[name] = Queue(**given)  # type: ignore[arg-type]  # each value was read by its type
    return queues


def read_no_answer(tree: Tree) -> int:
    """`not_ready` (0), or `{pause: 3s}` in milliseconds."""
    written = tree.node.value
    if written == "not_ready":
        return 0
    if isinstance(written, str):
        raise tree.wrong("must be not_ready or {pause: 3s}")
    return tree.fields(("pause",), required=("pause",))["pause"].duration_ms(LEAST_MS, 24 * HOUR_MS)


def sound(tree: Tree) -> str:
    """The name of a sound file; empty for none."""
    name = tree.text()
    if name and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\.wav", name):
        raise tree.wrong(f"{name!r} is no name of a WAV file, like welcome.wav, without a folder")
    return name


def read_numbers(tree: Tree | None, queues: dict[str, Queue]) -> dict[str, Number]:
    """The numbers that callers dial."""
    numbers: dict[str, Number] = {}
    for name, value in tree.mapping().items() if tree else ():
        check_name(value, name, DIALLED)
        fields = value.fields(("queue", "prompt", "priority"), required=("queue",))
        given: dict[str, str | int] = {"queue": fields["queue"].one_of(queues, "queue")}
        if "prompt" in fields:
            given["prompt"] = sound(fields["prompt"])
        if "priority" in fields:
            given["priority"] = fields["priority"].number(-1_000, 1_000)
        numbers[name] = Number(**given)  # type: ignore[arg-type]  # each value was read by its type
    return numbers


def read_agents(tree: Tree | None, queues: dict[str, Queue]) -> dict[str, Agent]:
    """The agents. All queues of one agent lie in one shard: he is one record of it."""
    agents: dict[str, Agent] = {}
    owner: dict[str, str] = {}
    counted: dict[str, int] = {}
    for name, value in tree.mapping().items() if tree else ():
        check_name(value, name)
        fields = value.fields(("name", "phone", "queues", "state"), required=("phone", "queues"))
        phone = phone_uri(fields["phone"])
        if phone in owner:
            raise fields["phone"].wrong(f"is the phone of agent {owner[phone]} already")
        owner[phone] = name
        served: list[str] = []
        for item in fields["queues"].items():
            queue = item.one_of(queues, "queue")
            if queue in served:
                raise item.wrong(f"{queue} stands here twice")
            first = served[0] if served else queue
            if queues[queue].shard != queues[first].shard:
                raise item.wrong(
                    f"{queue} is in shard {queues[queue].shard}, {first} in "
                    f"{queues[first].shard}; an agent's queues must be in one shard"
                )
            served.append(queue)
        if not served:
            raise fields["queues"].wrong("names no queue")
        shard = queues[served[0]].shard
        counted[shard] = counted.get(shard, 0) + 1
        if counted[shard] > AGENTS_MAX:
            raise value.wrong(f"is one more than the {AGENTS_MAX} agents of shard {shard}")
        agents[name] = Agent(
            name=fields["name"].text() if "name" in fields else name,
            phone=phone,
            queues=tuple(served),
            state=fields["state"].one_of(AGENT_STATES, "state") if "state" in fields else "ready",
        )
    return agents


def phone_uri(tree: Tree) -> str:
    """A SIP URI whose host is a literal IPv4 address: there is no DNS on the call path."""
    uri = tree.text()
    found = PHONE.fullmatch(uri)
    if not found:
        raise tree.wrong(f"{uri!r} is no SIP URI, like sip:1001@127.0.0.1:7001")
    host = found[2]
    if not is_ip(host) and sip_address(host) is None:
        raise tree.wrong(f"{host!r} is no IPv4 address with an optional port")
    return uri
