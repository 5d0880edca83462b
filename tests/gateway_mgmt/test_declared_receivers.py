"""What the centre's file declares as a receiver is told: from YAML to a server of each kind."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.courier import Sender
from gateway_mgmt.io.senders import make
from node.config import read_centre
from node.yaml_tree import read_tree
from tests.gateway_mgmt.receivers import Http, Mails, SyslogServer
from tests.gateway_mgmt.test_inform import trapd
from tests.gateway_mgmt.test_senders import brought, until
from tests.gateway_mgmt.virtual import plant

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


def sender(written: str) -> Sender:
    text = f"receivers: {{noc: {{{written}}}}}"
    centre = read_centre(read_tree(text.encode(), Path("centre.yaml")))

    async def nothing() -> Sequence[Message]:
        return []

    return make(centre.inventory.receivers["noc"], nothing)


async def told(written: str) -> None:
    async with brought(sender(written)) as (courier, sent):
        await until(lambda: sum(len(one.notices) for one in sent) == 2, lambda: courier.trouble)
        assert [one.refused for one in sent] == [""] * len(sent)


async def test_alertmanager_and_webhook() -> None:
    with Http() as server:
        await told(f'alertmanager: {{urls: ["{server.url}"], token: "env:T_AUTH"}}')
        await told(f'webhook: {{url: "{server.url}/hook", key: "env:T_AUTH"}}')
        paths = [path for path, _, _ in server.got]
        assert paths == ["/api/v2/alerts", "/hook", "/hook"]


async def test_syslog() -> None:
    async with SyslogServer() as server:
        host, port = server.address
        await told(f'syslog: {{address: "{host}:{port}"}}')
        assert len(server.lines) == 2


async def test_mail() -> None:
    with Mails() as server:
        host, port = server.address
        mail = f'server: "{host}:{port}", from: kl@noc.example, to: [noc@noc.example]'
        await told(f"mail: {{{mail}, security: none}}")
        assert [one.rcpt_tos for one in server.envelopes] == [["noc@noc.example"]]


@pytest.mark.parametrize(
    "access",
    ['community: "env:T_COMMUNITY"', 'user: noc, auth: "env:T_AUTH", privacy: "env:T_PRIVACY"'],
    ids=["v2c", "v3"],
)
async def test_an_snmp_manager(access: str, tmp_path: Path) -> None:
    with trapd(tmp_path) as manager:
        host, port = manager.address
        arc = "1.3.6.1.4.1.9999.7"
        await told(f'inform: {{address: "{host}:{port}", {access}, enterprise: {arc}}}')
        await until(lambda: len(manager.got) == 2)
        names = [one[".1.3.6.1.6.3.1.1.4.1.0"] for one in manager.got]
        assert names == [f"OID: .{arc}.0.1", f"OID: .{arc}.0.2"]
