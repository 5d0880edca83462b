"""Centres that a file may declare, drawn."""

from hypothesis import strategies as st

from calls.centre import Agent, Centre, Number, Queue, Shard

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,6}", fullmatch=True)
SOUNDS = st.sampled_from(("", "music.wav", "welcome.wav", "a-1.wav"))
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
    return Centre(
        numbers=draw(st.dictionaries(NAMES, numbers, max_size=4)) if queues else {},
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
    )
