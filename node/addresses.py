"""Can a shard's SIP address be had on this machine?"""

import errno
import socket

from calls.centre import Address


def taken(shard: str, address: Address) -> str:
    """Why it cannot be bound, in one line; empty: it can."""
    host, port = address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            why = {
                errno.EADDRINUSE: "is in use by another process",
                errno.EADDRNOTAVAIL: "is no address of this machine",
                errno.EACCES: "needs root (a port below 1024)",
            }.get(error.errno or 0, f"cannot be bound: {error.strerror}")
            return f"udp {host}:{port} (SIP of shard {shard}) {why}"
    return ""
