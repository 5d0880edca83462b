"""Centres that a file may declare, drawn."""

from collections.abc import Sequence

from hypothesis import strategies as st
from msgspec.structs import replace

from calls.centre import Agent, Centre, Number, Queue, Shard
from gateway_mgmt.access import AUTH_PROTOCOLS, PRIVACY_PROTOCOLS, Community, User
from gateway_mgmt.alarms.kinds import DEFAULTS, RAISABLE, Kind
from gateway_mgmt.inventory import Carrier, Device, Inventory, Site, Span, Trunk
from gateway_mgmt.io.profiles import shipped
from gateway_mgmt.profile import Column, Profile, Tuning
from gateway_mgmt.receivers import (
    ENTERPRISE,
    SECURITIES,
    TRANSPORTS,
    Alertmanager,
    Inform,
    Mail,
    Syslog,
    Webhook,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,6}", fullmatch=True)
SOUNDS = st.sampled_from(("", "music.wav", "welcome.wav", "a-1.wav"))
KINDS = st.builds(
    Kind,
    severity=st.sampled_from(RAISABLE),
    soak_ms=st.integers(0, 3_600_000),
    hold_ms=st.integers(0, 3_600_000),
)
PROFILES = st.builds(
    Profile,
    title=st.text(max_size=5),
    object_ids=st.sampled_from(((), ("1.3.6.1.4.1.5003",))),
    ds1=st.booleans(),
    intervals=st.integers(0, 96),
    spans=st.sampled_from(
        ({}, {"d_channel": Column("1.3.6.1.4.1.5003.9", 0, {1: "d_channel_down", 2: "los"})})
    ),
    scalars=st.sampled_from(({}, {"serial": "1.3.6.1.2.1.47.1"})),
    alarms=st.dictionaries(
        st.sampled_from(sorted(DEFAULTS)),
        st.builds(
            Tuning, st.sampled_from(("", *RAISABLE)), *[st.sampled_from(("", "0s", "2.5s"))] * 2
        ),
        max_size=2,
    ),
)
REFERENCES = st.sampled_from(("env:TG_1", "file:/etc/tg.key"))
URLS = st.sampled_from(("https://noc.example/hook", "http://127.0.0.1:9093"))
HOSTS = st.tuples(st.sampled_from(("noc.example", "10.0.0.9")), st.integers(1, 65_535))
RECEIVERS = st.one_of(
    st.builds(
        Alertmanager,
        st.lists(URLS, min_size=1, max_size=2, unique=True).map(tuple),
        st.just("") | REFERENCES,
        st.dictionaries(st.sampled_from(("site", "team")), st.text(max_size=5), max_size=2),
    ),
    st.builds(
        Inform,
        st.just(("10.0.0.11", 162)),
        st.builds(Community, REFERENCES) | st.builds(User, st.just("noc"), REFERENCES, REFERENCES),
        st.sampled_from((ENTERPRISE, "1.3.6.1.4.1.99999.7")),
    ),
    st.builds(Webhook, URLS, REFERENCES),
    st.builds(Syslog, HOSTS, st.sampled_from(TRANSPORTS)),
    st.builds(
        Mail,
        HOSTS,
        st.just("keepline@noc.example"),
        st.just(("noc@noc.example",)),
        st.sampled_from(SECURITIES),
        digest_ms=st.integers(1_000, 3_600_000),
    ),
    st.builds(
        Mail,
        HOSTS,
        st.just("keepline@noc.example"),
        st.just(("noc@noc.example", "boss@noc.example")),
        st.sampled_from(SECURITIES[:2]),
        st.just("keepline"),
        REFERENCES,
    ),
)
ELSEWHERE = ("relay", "redirect", "refuse")


@st.composite
def centres(draw: st.DrawFn) -> Centre:
    shards = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    queues = draw(
        st.dictionaries(
            NAMES,
            st.builds(
                Queue,
                shard=st.sampled_from(shards),
                offer_timeout_ms=st.integers(100, 3_600_000),
                wrap_up_ms=st.integers(0, 86_400_000),
                no_answer_pause_ms=st.one_of(st.just(0), st.integers(100, 86_400_000)),
                music=SOUNDS,
            ),
            max_size=4,
        )
    )
    numbers = st.builds(
        Number,
        queue=st.sampled_from(sorted(queues) or [""]),
        prompt=SOUNDS,
        priority=st.integers(-1_000, 1_000),
    )
    agents: dict[str, Agent] = {}
    for n, name in enumerate(draw(st.lists(NAMES, max_size=4, unique=True)) if queues else ()):
        first = draw(st.sampled_from(sorted(queues)))
        same = [q for q in queues if queues[q].shard == queues[first].shard and q != first]
        served = (
            first,
            *draw(st.lists(st.sampled_from(same), unique=True) if same else st.just([])),
        )
        agents[name] = Agent(
            name=draw(st.text(max_size=8)),
            phone=f"sip:{name}@127.0.0.1:{7001 + n}",
            queues=served,
            state=draw(st.sampled_from(("ready", "not_ready", "signed_out"))),
        )
    dialled = draw(st.dictionaries(NAMES, numbers, max_size=4)) if queues else {}
    return Centre(
        numbers=dialled,
        queues=queues,
        agents=agents,
        shards={
            name: Shard(
                sip=("127.0.0.1", 5060 + n),
                preferred=tuple(draw(st.lists(NAMES, max_size=2, unique=True))),
                weight=draw(st.integers(1, 1_000)),
                elsewhere=draw(st.sampled_from(("", *ELSEWHERE))),
            )
            for n, name in enumerate(shards)
        },
        max_calls=draw(st.integers(1, 1_000_000)),
        elsewhere=draw(st.sampled_from(ELSEWHERE)),
        inventory=draw(inventories(sorted(dialled), sorted(queues))),
    )


def some_of(known: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(known), unique=True).map(tuple) if known else st.just(())


@st.composite
def inventories(draw: st.DrawFn, numbers: Sequence[str], queues: Sequence[str]) -> Inventory:
    """Any that a file may declare."""
    nodes = st.lists(NAMES, max_size=2, unique=True).map(tuple)
    kinds = st.dictionaries(st.sampled_from(sorted(DEFAULTS)), KINDS, max_size=2).map(
        lambda found: {
            name: replace(kind, takes_out=DEFAULTS[name].takes_out) for name, kind in found.items()
        }
    )
    sites = {
        name: Site(draw(st.text(max_size=5)), traps, draw(nodes), draw(kinds))
        for n, name in enumerate(draw(st.lists(NAMES, max_size=2, unique=True)))
        for traps in (draw(st.sampled_from((None, ("0.0.0.0", 1_162 + n)))),)
    }
    carriers = draw(st.dictionaries(NAMES, st.builds(Carrier, st.text(max_size=5)), max_size=2))
    trunks = draw(
        st.dictionaries(
            NAMES,
            st.builds(Trunk, st.sampled_from(["", *carriers]), some_of(numbers), some_of(queues)),
            max_size=2,
        )
    )
    own = draw(st.dictionaries(NAMES, PROFILES, max_size=2))
    devices: dict[str, Device] = {}
    home_of: dict[str, str] = {}
    for n, name in enumerate(draw(st.lists(NAMES, max_size=3, unique=True)) if sites else ()):
        slots = draw(st.sets(st.integers(1, 31), min_size=1, max_size=30))
        spans = {
            number: Span(
                index=number + draw(st.sampled_from((0, 100))),
                slots=tuple(sorted(slots)),
                d_channel=draw(st.sampled_from([n for n in range(32) if n not in slots])),
                trunk=draw(st.sampled_from(["", *trunks])),
                errored_seconds_max=draw(st.integers(0, 900)),
            )
            for number in draw(st.sets(st.integers(1, 64), max_size=2))
        }
        devices[name] = Device(
            site=draw(st.sampled_from(sorted(sites))),
            profile=draw(st.sampled_from(sorted({*shipped(), *own}))),
            address=("10.0.0.1", n + 1),
            access=draw(
                st.builds(Community, REFERENCES)
                | st.builds(
                    User,
                    st.just("noc"),
                    REFERENCES,
                    REFERENCES,
                    st.sampled_from(AUTH_PROTOCOLS),
                    st.sampled_from(PRIVACY_PROTOCOLS),
                )
            ),
            sip=draw(st.sampled_from((None, ("10.0.0.1", 5060)))),
            traps_from=draw(st.sampled_from(((), ("10.1.0.1", "10.2.0.255")))),
            interfaces=draw(st.sampled_from(((), (5, 6)))),
            poll_ms=draw(st.integers(1_000, 3_600_000)),
            spans=spans if len({span.index for span in spans.values()}) == len(spans) else {},
        )
        home = devices[name].site
        for number, span in devices[name].spans.items():
            if span.trunk and home_of.setdefault(span.trunk, home) != home:
                devices[name].spans[number] = replace(span, trunk="")
    receivers = draw(st.dictionaries(NAMES, RECEIVERS, max_size=3))
    return Inventory(sites, carriers, devices, trunks, receivers, own)
