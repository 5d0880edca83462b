"""Tells people by e-mail: the first at once, then from time to time what has come since."""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence

from cluster.io.secret import secret
from gateway_mgmt.alarms.formats import mail
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.courier import Refused, Unsent

DIGEST_MS = 60_000


class Mail:
    """`gateway_mgmt.io.courier.Sender`."""

    most = 500

    def __init__(
        self,
        server: tuple[str, int],
        *,
        sender: str,
        to: Sequence[str],
        security: str = "starttls",
        user: str = "",
        password: str = "",
        digest_ms: int = DIGEST_MS,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 20,
    ) -> None:
        """`password` is the reference of a secret; without `user` there is no login."""
        if security not in ("starttls", "tls", "none"):
            raise ValueError(f"mail security {security!r}: it is starttls, tls or none")
        if user and security == "none":
            raise ValueError("mail: a login needs starttls or tls: its password would be readable")
        self.apart_ms = digest_ms
        self._server = server
        self._sender = sender
        self._to = tuple(to)
        self._security = security
        self._user = user
        self._password = password
        self._tls = tls
        self._timeout_s = timeout_s

    async def send(self, messages: Sequence[Message]) -> None:
        password = secret(self._password) if self._user else ""
        await asyncio.to_thread(self._send, messages, password)

    def _send(self, messages: Sequence[Message], password: str) -> None:
        host, port = self._server
        name = f"mail {host}:{port}"
        context = self._tls or ssl.create_default_context()
        try:
            if self._security == "tls":
                link: smtplib.SMTP = smtplib.SMTP_SSL(
                    host, port, timeout=self._timeout_s, context=context
                )
            else:
                link = smtplib.SMTP(host, port, timeout=self._timeout_s)
            with link:
                if self._security == "starttls":
                    link.starttls(context=context)
                if self._user:
                    link.login(self._user, password)
                link.send_message(mail(messages, sender=self._sender, to=self._to))
        except smtplib.SMTPAuthenticationError as error:
            raise Unsent(f"{name}: login refused ({error.smtp_code})") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _verdict(f"{name}: no recipient taken", codes) from None
        except smtplib.SMTPResponseException as error:
            raise _verdict(f"{name}: refused", [error.smtp_code]) from None
        except (OSError, smtplib.SMTPException) as error:
            raise Unsent(f"{name}: {type(error).__name__}") from None


def _verdict(what: str, codes: Sequence[int]) -> Unsent | Refused:
    text = f"{what} ({', '.join(map(str, sorted(set(codes))))})"
    return Refused(text) if all(code >= 500 for code in codes) else Unsent(text)
