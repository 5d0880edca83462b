"""Tells one URL of each notice, signed."""

import ssl
import time
from collections.abc import Sequence

from cluster.io.secret import secret
from gateway_mgmt.alarms.formats import signature, webhook_body
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.http import check_url, post


class Webhook:
    """`gateway_mgmt.io.courier.Sender`: one POST for each notice, in order."""

    most = 1
    apart_ms = 0

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`key` is the reference of the secret that signs."""
        check_url(url)
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._tls = tls

    async def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = webhook_body(message)
            timestamp = str(int(time.time()))
            headers = {
                "Idempotency-Key": message.notice.id,
                "Keepline-Timestamp": timestamp,
                "Keepline-Signature": signature(secret(self._key), timestamp, body),
            }
            await post(self._url, body, headers, timeout_s=self._timeout_s, tls=self._tls)
