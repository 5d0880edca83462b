"""The centre's file: what it means, and one clear line for everything that can be wrong in it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.centre import Agent, Number, Queue, Shard
from node.config import AGENTS_MAX, ConfigError, load_centre, sip_address
from node.yaml_tree import MAX_BYTES, duration_ms

ROOT = Path(__file__).resolve().parents[2]

TWO_SHARDS = """\
shards:
  north: {sip: "127.0.0.1:5060", preferred: [n1, n2]}
  south: {sip: "127.0.0.2:5060", weight: 5, far: [n3]}
numbers:
  4001: {queue: sales, priority: 5, prompt: hello.wav}
  4002: {queue: support, prompt: ""}
queues:
  sales: {shard: north, offer_timeout: 500ms, wrap_up: 0s, no_answer: {pause: 3s}}
  support: {shard: south, music: quiet.wav, wrap_up: 1.5m, no_answer: not_ready}
agents:
  1001: {name: Desk 1, phone: "sip:1001@127.0.0.1:7001", queues: [sales], state: not_ready}
  1002: {phone: "sip:1002@127.0.0.1:7002;transport=udp", queues: [support]}
max_calls: 500
"""


def load(tmp_path: Path, text: str | bytes) -> object:
    file = tmp_path / "centre.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_centre(file)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """The error's line, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{tmp_path}/")
    return line.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_example_loads(example: Path) -> None:
    assert load_centre(example).numbers


def test_a_centre_that_names_no_shards_is_one_called_main() -> None:
    centre = load_centre(ROOT / "examples/hello.yaml")

    assert centre.shards == {"main": Shard(sip=("127.0.0.1", 5060))}
    assert centre.shard_of_number("4001") == "main"
    assert centre.queues == {"support": Queue(shard="main", offer_timeout_ms=20_000)}
    assert centre.agents == {
        "1001": Agent(name="Desk 1", phone="sip:1001@127.0.0.1:7001", queues=("support",))
    }


def test_every_field_is_read(tmp_path: Path) -> None:
    file = tmp_path / "centre.yaml"
    file.write_text(TWO_SHARDS)
    centre = load_centre(file)

    assert centre.shards == {
        "north": Shard(sip=("127.0.0.1", 5060), preferred=("n1", "n2")),
        "south": Shard(sip=("127.0.0.2", 5060), weight=5, far=("n3",)),
    }
    assert centre.numbers == {
        "4001": Number(queue="sales", priority=5, prompt="hello.wav"),
        "4002": Number(queue="support", prompt=""),
    }
    assert centre.queues == {
        "sales": Queue(shard="north", offer_timeout_ms=500, wrap_up_ms=0, no_answer_pause_ms=3_000),
        "support": Queue(shard="south", music="quiet.wav", wrap_up_ms=90_000),
    }
    assert centre.agents["1001"].state == "not_ready"
    assert centre.agents["1002"].name == "1002"
    assert centre.max_calls == 500


QUEUE = "queues: {support: {}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "centre.yaml: is empty"),
        ("# nothing\n", "centre.yaml: is empty"),
        ("just words\n", "centre.yaml:1: must be a mapping, is 'just words'"),
        ("- a\n- b\n", "centre.yaml:1: must be a mapping, is a list"),
        (
            "numbers:\n\t4001: {queue: support}\n",
            "centre.yaml:2: not YAML: indented with a tab; YAML wants spaces",
        ),
        (
            "queues: {support: {}\nagents: {}\n",
            "centre.yaml:2: not YAML: did not find expected ',' or '}'",
        ),
        (
            QUEUE + "---\nqueues: {}\n",
            "centre.yaml:2: not YAML: but found another document",
        ),
        (b"queues:\n  caf\xe9: {}\n", "centre.yaml:2: is not UTF-8 text"),
        ("queues: *nowhere\n", "centre.yaml:1: not YAML: found undefined alias"),
        (
            "queues:\n  support: {}\n  support: {}\n",
            "centre.yaml:3: queues.support: stands here twice",
        ),
        (
            "queue: {support: {}}\n",
            "centre.yaml:1: queue: unknown; known here: "
            "numbers, queues, agents, shards, max_calls, elsewhere, "
            "sites, carriers, devices, trunks, receivers, profiles",
        ),
        (
            "queues:\n  support:\n    wrapup: 5s\n",
            "centre.yaml:3: queues.support.wrapup: unknown; known here: "
            "shard, strategy, offer_timeout, wrap_up, no_answer, music",
        ),
        ("queues: []\n", "centre.yaml:1: queues: must be a mapping, is a list"),
        ("queues: {support: }\n", "centre.yaml:1: queues.support: must be a mapping, is nothing"),
        ("queues: {[a]: {}}\n", "centre.yaml:1: queues: a name must be plain text"),
        (
            "queues: {-x: {}}\n",
            "centre.yaml:1: queues.-x: a name is 1 to 64 letters, digits and . _ - "
            "and starts with no mark",
        ),
        (
            "queues: {support: {wrap_up: 5}}\n",
            "centre.yaml:1: queues.support.wrap_up: must be a time like 20s, 500ms or 2m, is '5'",
        ),
        (
            "queues:\n  support:\n    offer_timeout: soon\n",
            "centre.yaml:3: queues.support.offer_timeout: "
            "must be a time like 20s, 500ms or 2m, is 'soon'",
        ),
        (
            "queues: {support: {offer_timeout: 2h}}\n",
            "centre.yaml:1: queues.support.offer_timeout: must be from 100ms to 1h, is 2h",
        ),
        (
            "queues: {support: {strategy: random}}\n",
            "centre.yaml:1: queues.support.strategy: 'random' is no strategy; known: longest_idle",
        ),
        (
            "queues: {support: {no_answer: maybe}}\n",
            "centre.yaml:1: queues.support.no_answer: must be not_ready or {pause: 3s}",
        ),
        (
            "queues: {support: {no_answer: {wait: 3s}}}\n",
            "centre.yaml:1: queues.support.no_answer.wait: unknown; known here: pause",
        ),
        (
            "queues: {support: {music: ../secret.wav}}\n",
            "centre.yaml:1: queues.support.music: '../secret.wav' is no name of a WAV file, "
            "like welcome.wav, without a folder",
        ),
        (
            "queues: {support: {shard: west}}\n",
            "centre.yaml:1: queues.support.shard: 'west' is no shard; known: main",
        ),
        (
            QUEUE + 'numbers:\n  "4001": {queue: sales}\n',
            "centre.yaml:3: numbers.4001.queue: 'sales' is no queue; known: support",
        ),
        (
            "numbers: {4001: {prompt: a.wav}}\n",
            "centre.yaml:1: numbers.4001.queue: is missing",
        ),
        (
            QUEUE + "numbers: {4001: {queue: support, priority: high}}\n",
            "centre.yaml:2: numbers.4001.priority: must be a whole number, is 'high'",
        ),
        (
            QUEUE + "numbers: {4001: {queue: support, priority: 1.5}}\n",
            "centre.yaml:2: numbers.4001.priority: must be a whole number, is a fraction",
        ),
        (
            QUEUE + "numbers: {4001: {queue: support, priority: 5000}}\n",
            "centre.yaml:2: numbers.4001.priority: must be from -1000 to 1000, is 5000",
        ),
        (
            QUEUE + "agents:\n  7:\n    phone: sip:7@127.0.0.1:7007\n    queues: [sales]\n",
            "centre.yaml:5: agents.7.queues[0]: 'sales' is no queue; known: support",
        ),
        (
            QUEUE + "agents: {7: {phone: 'sip:7@127.0.0.1', queues: []}}\n",
            "centre.yaml:2: agents.7.queues: names no queue",
        ),
        (
            QUEUE + "agents: {7: {phone: 'sip:7@127.0.0.1', queues: [support, support]}}\n",
            "centre.yaml:2: agents.7.queues[1]: support stands here twice",
        ),
        (
            QUEUE + "agents: {7: {phone: 'tel:+4930', queues: [support]}}\n",
            "centre.yaml:2: agents.7.phone: "
            "'tel:+4930' is no SIP URI, like sip:1001@127.0.0.1:7001",
        ),
        (
            QUEUE + "agents: {7: {phone: 'sip:7@desk.example', queues: [support]}}\n",
            "centre.yaml:2: agents.7.phone: "
            "'desk.example' is no IPv4 address with an optional port",
        ),
        (
            QUEUE + "agents: {7: {phone: 'sip:7@127.0.0.1:99999', queues: [support]}}\n",
            "centre.yaml:2: agents.7.phone: "
            "'127.0.0.1:99999' is no IPv4 address with an optional port",
        ),
        (
            QUEUE + "agents: {7: {phone: true, queues: [support]}}\n",
            "centre.yaml:2: agents.7.phone: must be text, is true or false",
        ),
        (
            QUEUE + "agents: {7: {phone: 'sip:7@127.0.0.1', queues: [support], state: asleep}}\n",
            "centre.yaml:2: agents.7.state: "
            "'asleep' is no state; known: ready, not_ready, signed_out",
        ),
        (
            QUEUE + "agents:\n"
            "  7: {phone: 'sip:7@127.0.0.1', queues: [support]}\n"
            "  8: {phone: 'sip:7@127.0.0.1', queues: [support]}\n",
            "centre.yaml:4: agents.8.phone: is the phone of agent 7 already",
        ),
        ("shards: {}\n", "centre.yaml:1: shards: names no shard; leave it out for one called main"),
        ("shards: {north: {}}\n", "centre.yaml:1: shards.north.sip: is missing"),
        (
            "shards: {north: {sip: 127.0.0.1}}\n",
            "centre.yaml:1: shards.north.sip: '127.0.0.1' is no address; "
            "write IP:PORT, like 127.0.0.1:5060",
        ),
        (
            "shards: {north: {sip: '0.0.0.0:5060'}}\n",
            "centre.yaml:1: shards.north.sip: "
            "0.0.0.0 is not the address of one host; phones answer to it",
        ),
        (
            "shards:\n  north: {sip: '127.0.0.1:5060'}\n  south: {sip: '127.0.0.1:5060'}\n",
            "centre.yaml:3: shards.south.sip: is the address of shard north already",
        ),
        (
            "shards: {a: {sip: '127.0.0.1:1'}, b: {sip: '127.0.0.1:2'}}\nqueues: {q: {}}\n",
            "centre.yaml:2: queues.q.shard: is missing; known: a, b",
        ),
        (
            "shards: {north: {sip: '127.0.0.1:5060', weight: 0}}\n",
            "centre.yaml:1: shards.north.weight: must be from 1 to 1000, is 0",
        ),
        ("max_calls: 0\n", "centre.yaml:1: max_calls: must be from 1 to 1000000, is 0"),
        ("max_calls: [1]\n", "centre.yaml:1: max_calls: must be a whole number, is a list"),
        (
            "elsewhere: drop\n",
            "centre.yaml:1: elsewhere: 'drop' is no choice; known: relay, redirect, refuse",
        ),
        (
            "shards: {north: {sip: '127.0.0.1:5060', preferred: [n1, n2], far: [n3, n2]}}\n",
            "centre.yaml:1: shards.north.far: n2 is preferred; a far node never leads by itself",
        ),
        (
            "shards: {north: {sip: '127.0.0.1:5060', far: [n3, n3]}}\n",
            "centre.yaml:1: shards.north.far[1]: n3 stands here twice",
        ),
        (
            "shards: {north: {sip: '127.0.0.1:5060', elsewhere: drop}}\n",
            "centre.yaml:1: shards.north.elsewhere: "
            "'drop' is no choice; known: relay, redirect, refuse",
        ),
    ],
)
def test_a_wrong_centre_is_one_line_with_file_line_and_field(
    tmp_path: Path, text: str | bytes, line: str
) -> None:
    assert refusal(tmp_path, text) == line


def test_a_shard_has_a_bound_on_its_agents(tmp_path: Path) -> None:
    agents = [
        f"  {n}: {{phone: 'sip:{n}@127.0.0.1', queues: [support]}}\n" for n in range(AGENTS_MAX + 1)
    ]
    assert refusal(tmp_path, QUEUE + "agents:\n" + "".join(agents)) == (
        "centre.yaml:10003: agents.10000: is one more than the 10000 agents of shard main"
    )


def test_the_queues_of_one_agent_lie_in_one_shard(tmp_path: Path) -> None:
    text = TWO_SHARDS.replace("queues: [sales]", "queues: [sales, support]")

    assert refusal(tmp_path, text) == (
        "centre.yaml:11: agents.1001.queues[1]: support is in shard south, sales in north; "
        "an agent's queues must be in one shard"
    )


def test_a_file_that_is_not_there_or_not_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_centre(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_centre(tmp_path)


def test_a_huge_or_deep_file_is_refused_without_being_taken_apart(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"#" * (MAX_BYTES + 1)) == "centre.yaml: is larger than 16 MiB"
    assert refusal(tmp_path, "[" * 100_000) == "centre.yaml:1: is nested too deeply"


def test_a_file_of_aliases_of_aliases_does_not_blow_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: y}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    assert "a0: unknown" in refusal(tmp_path, "\n".join(lines))


@given(text=st.text(max_size=200))
def test_any_text_is_a_centre_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    told = ""
    try:
        load_centre(file)
    except ConfigError as error:
        told = str(error)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("written", "value_ms"),
    [
        ("20s", 20_000),
        ("500ms", 500),
        ("1.5s", 1_500),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("0", 0),
        ("0s", 0),
        ("5", None),
        ("-1s", None),
        ("1 s", None),
        ("1e3s", None),
        ("", None),
        ("9" * 40 + "s", None),
    ],
)
def test_a_time_is_a_number_with_its_unit(written: str, value_ms: int | None) -> None:
    assert duration_ms(written) == value_ms


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:5060", ("127.0.0.1", 5060)),
        ("[::1]:5060", None),
        ("::1:5060", None),
        ("127.0.0.1", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:70000", None),
        ("localhost:5060", None),
        ("[127.0.0.1]:5060", None),
        ("127.0.0.1:5_0", None),
    ],
)
def test_an_address_is_a_literal_ip_and_a_port(
    written: str, address: tuple[str, int] | None
) -> None:
    assert sip_address(written) == address
