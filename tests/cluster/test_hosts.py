"""Three hosts over real links and a real store."""

from pathlib import Path

from tests.cluster.hosts import cluster, until
from tests.cluster.toy import Add, Counter, Done


async def test_when_the_active_ends_another_node_goes_on_with_its_records(tmp_path: Path) -> None:
    async with cluster(tmp_path) as three:
        first = await three.served("main", copies=3)
        for n in range(50):
            assert first.host.post("main", Add("k", f"op{n}"))
        assert await first.host.committed("main")
        assert [effect.value for effect in first.performed["main"]] == list(range(1, 51))

        await three.kill(first.name)
        second = await three.served("main", copies=2)

        assert second.name != first.name
        assert second.host.states()["main"].epoch == 2
        assert second.host.shard("main").records["k"].value == 50
        assert second.moved == [("main", first.host.states()["main"].member)]
        assert second.host.post("main", Add("k", "more"))
        await until(lambda: Done("k", "more", 51, "main/2/2") in second.performed["main"])
        assert isinstance(second.host.shard("main").records["k"], Counter)
