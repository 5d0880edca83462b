"""Real servers of the stores for tests, on addresses of their own, and clients of them."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.io.etcd import EtcdStore
from cluster.io.zookeeper import ZooKeeperStore
from loadtest.io import store_servers
from loadtest.io.store_servers import ServersFailed, served
from tests.e2e.cluster import own_address

__all__ = ["EtcdServers", "Servers", "ZooKeeperServers", "served"]


def _set_up(make: Callable[[], None]) -> None:
    """Fail in CI and skip elsewhere if a server is missing."""
    try:
        make()
    except ServersFailed as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


class EtcdServers(store_servers.EtcdServers):
    def __init__(self, folder: Path, members: int) -> None:
        _set_up(lambda: super(EtcdServers, self).__init__(folder, members, own_address()))

    def client(self, prefix: str, **options: Any) -> EtcdStore:
        """Not opened."""
        return EtcdStore(endpoints=self.endpoints, prefix=prefix, **options)

    def guard(self, user: str, password: str, prefix: str) -> None:
        """From now on only who knows a password comes in; this user, to the keys of the prefix."""
        first, end = (base64.b64encode(text.encode()).decode()
                      for text in (prefix, f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"))  # fmt: skip
        self.post(0, "auth/user/add", name="root", password="root")
        self.post(0, "auth/user/grant", user="root", role="root")
        self.post(0, "auth/user/add", name=user, password=password)
        self.post(0, "auth/role/add", name="ours")
        ours = {"permType": "READWRITE", "key": first, "range_end": end}
        self.post(0, "auth/role/grant", name="ours", perm=ours)
        self.post(0, "auth/user/grant", user=user, role="ours")
        self.post(0, "auth/enable")


class ZooKeeperServers(store_servers.ZooKeeperServers):
    def __init__(self, folder: Path, members: int) -> None:
        _set_up(lambda: super(ZooKeeperServers, self).__init__(folder, members, own_address()))

    def client(self, prefix: str, **options: Any) -> ZooKeeperStore:
        """Not opened."""
        return ZooKeeperStore(self.endpoints, prefix=prefix, **options)


Servers = EtcdServers | ZooKeeperServers
