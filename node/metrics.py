"""What a node counts, for Prometheus: /metrics over HTTP.

The event loop takes a sample once a second; a scrape, which runs in a thread, reads only samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Thread
from typing import NamedTuple
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Sample(NamedTuple):
    """One number: a gauge, or a counter that only grows."""

    name: str
    value: float
    labels: Mapping[str, str]


HELP = {
    "keepline_shard_active": "1 where the shard is active on this node",
    "keepline_shard_epoch": "Epoch of the shard as this node knows it",
    "keepline_shard_in_sync": "Members that hold every committed record",
    "keepline_calls": "Live calls by state",
    "keepline_ledger": "Calls by the class they ended in; unaccounted must be 0",
    "keepline_sip_messages_total": "SIP datagrams by what became of them",
    "keepline_relayed_total": "Messages for numbers of other shards, by what became of them",
    "keepline_outbox_bytes": "Facts that the database does not have yet",
    "keepline_media_up": "1 while the media server answers",
    "keepline_loop_lag_seconds": "Worst lateness of the event loop in the last second",
    "keepline_commit_seconds": "How long steps wait for their commit, averaged over a second",
    "keepline_refused_total": "Calls that the role of the caller's certificate does not allow",
    "keepline_alarms": "Alarms that stand",
    "keepline_gateway_alarms": "Raised alarms of a site's gateways by severity",
    "keepline_gateway_alarm_raised": "1 for each raised alarm: what is wrong with which object",
    "keepline_gateway_up": "1 if the gateway answered the last poll, at least in part",
    "keepline_e1_current_seconds": "Errored (es), severely errored (ses, sefs), unavailable (uas) "
    "seconds of the running 15 minutes",
    "keepline_e1_day_seconds": "The same seconds of the intervals of the last day",
    "keepline_e1_availability_ratio": "Available time of the last day (ITU-T G.826)",
    "keepline_trunk_channels": "Channels of the trunk that call routing may use",
    "keepline_trunk_channels_declared": "Channels of the trunk if all is well",
    "keepline_receiver_waiting_messages": "Messages that a receiver of alarms does not have yet",
    "keepline_gateway_polls_total": "Polls of gateways by what came of them",
    "keepline_gateway_traps_total": "Traps and informs by what became of them",
    "keepline_gateway_traps_lost_total": "Traps and informs that the kernel dropped",
    "keepline_gateway_trap_buffer_bytes": "Socket buffer that was obtained for traps",
    "keepline_gateway_poll_lag_seconds": "How late the polling process was at most in the last 5 s",
}


class Metrics:
    """The collector of one node."""

    def __init__(self) -> None:
        self.samples: Sequence[Sample] = ()
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, value, labels in self.samples:
            family = families.get(name)
            if family is None:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = families[name] = kind(name, HELP[name], labels=list(labels))
            family.add_metric(list(labels.values()), value)
        return families.values()

    def serve(self, host: str, port: int) -> int:
        """Answer /metrics; the port. Raises OSError when it is in use."""
        registry = CollectorRegistry()
        registry.register(self)
        self._server, self._thread = start_http_server(port, host, registry)
        return int(self._server.server_port)

    def close(self) -> None:
        """Answer no more. May be called again."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = None
