"""What brings messages to each kind of receiver."""

import socket

from gateway_mgmt.io.alertmanager import Alertmanager, Standing
from gateway_mgmt.io.courier import Sender
from gateway_mgmt.io.inform import Inform
from gateway_mgmt.io.mail import Mail
from gateway_mgmt.io.syslog import Syslog
from gateway_mgmt.io.webhook import Webhook
from gateway_mgmt.receivers import Alertmanager as ToAlertmanager
from gateway_mgmt.receivers import Inform as ToInform
from gateway_mgmt.receivers import Mail as ToMail
from gateway_mgmt.receivers import Receiver
from gateway_mgmt.receivers import Syslog as ToSyslog
from gateway_mgmt.receivers import Webhook as ToWebhook


def make(receiver: Receiver, standing: Standing) -> Sender:
    """`standing`: the alarms that it was told of and that are not over."""
    match receiver:
        case ToAlertmanager():
            return Alertmanager(
                receiver.urls, standing, token=receiver.token, labels=receiver.labels
            )
        case ToWebhook():
            return Webhook(receiver.url, receiver.key)
        case ToSyslog():
            return Syslog(receiver.address, transport=receiver.transport, host=socket.gethostname())
        case ToInform():
            return Inform(receiver.address, receiver.access, enterprise=receiver.enterprise)
        case ToMail():
            return Mail(
                receiver.server,
                sender=receiver.sender,
                to=receiver.to,
                security=receiver.security,
                user=receiver.user,
                password=receiver.password,
                digest_ms=receiver.digest_ms,
            )
