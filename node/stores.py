"""The store that the options ask for."""

from cluster.io.contact import Note
from cluster.io.etcd import EtcdStore
from cluster.io.sqlite import SqliteStore
from cluster.io.zookeeper import ZooKeeperStore
from cluster.store import Store
from node.directory import Directory
from node.store_options import StoreOptions, read_password


def make(options: StoreOptions, directory: Directory, note: Note) -> Store:
    """Not opened. StoreOptionError."""
    if options.is_file:
        return SqliteStore(directory.store, note=note)
    ca, key, cert = (
        None if path is None else str(path) for path in (options.ca, options.key, options.cert)
    )
    user, password = options.user or None, read_password(options)
    if options.kind == "etcd":
        return EtcdStore(
            endpoints=options.endpoints,
            ca_cert=ca,
            cert_key=key,
            cert_cert=cert,
            user=user,
            password=password,
            prefix=options.prefix,
            note=note,
        )
    return ZooKeeperStore(
        options.endpoints,
        ca_cert=ca,
        cert_key=key,
        cert_cert=cert,
        user=user,
        password=password,
        prefix=options.prefix,
        note=note,
    )


def name(options: StoreOptions, directory: Directory) -> str:
    """What it is called where a person reads it."""
    return str(directory.store) if options.is_file else options.url
