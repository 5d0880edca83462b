"""A real Alertmanager shows an alarm while it stands, and no longer."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.alertmanager import Alertmanager
from gateway_mgmt.io.courier import Refused
from tests.gateway_mgmt.test_senders import notices, until

PROGRAM = shutil.which("prometheus-alertmanager")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM is None and not os.environ.get("CI"),
        reason="Alertmanager is not here: apt-get install prometheus-alertmanager",
    ),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    assert PROGRAM is not None, "apt-get install prometheus-alertmanager"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={config}",
                f"--storage.path={tmp_path}",
                "--cluster.listen-address=",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=log,
        )
        try:
            yield ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait()


def ready(url: str, process: "subprocess.Popen[bytes]") -> str:
    for _ in range(600):
        assert process.poll() is None, "Alertmanager has ended; its log is beside its files"
        try:
            shown(url)
        except OSError:
            time.sleep(0.05)
        else:
            return url
    raise AssertionError("Alertmanager does not answer")


def shown(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts") as answer:
        found: list[dict[str, Any]] = json.load(answer)
        return found


async def test_an_alarm_is_shown_while_it_stands_and_no_longer(url: str) -> None:
    raised, cleared = notices().values()
    now_ms = int(time.time() * 1000)
    for notice in (raised, cleared):
        notice.since_wall_ms, notice.wall_ms = now_ms - 20_000, now_ms - 1_000
    stands: list[Notice] = [raised]

    async def standing() -> list[Message]:
        return [Message(notice, 3) for notice in stands]

    sender = Alertmanager([url], standing, again_ms=50)
    sender.start()
    try:
        await until(lambda: shown(url))
        (alert,) = shown(url)
        assert alert["labels"]["path"] == "tg1/3"
        assert alert["annotations"]["callers"] == "3"
        stands.clear()
        await sender.send([Message(cleared, 3)])
        await asyncio.sleep(0.2)
        assert shown(url) == []
    finally:
        await sender.stop()


async def test_what_is_no_alert_is_refused_for_good(url: str) -> None:
    raised, _ = notices().values()

    async def nothing() -> list[Message]:
        return []

    sender = Alertmanager([url], nothing, labels={"not a label": "x"})
    with pytest.raises(Refused, match="answers 400"):
        await sender.send([Message(raised)])
