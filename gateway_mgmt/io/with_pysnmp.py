"""The default: pysnmp, pure Python, 17 ms of CPU for each gateway.

Its time-outs run on the loop that decodes, so few are asked at once. An engine gets slower with the
number of targets it knows, so there are several. MIB look-up stays off: it costs as much again.
"""

from collections.abc import Sequence
from typing import Any

from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import errind, rfc1905

from gateway_mgmt.access import User
from gateway_mgmt.io.poller import Answer, Answered, Refused, Silent, Target
from gateway_mgmt.snmp import usm
from gateway_mgmt.snmp.pdu import Value

TARGETS_MAX = 250
"""Of one engine."""

AUTH_PROTOCOLS = {
    "sha": hlapi.USM_AUTH_HMAC96_SHA,
    "sha256": hlapi.USM_AUTH_HMAC192_SHA256,
}

WRONG = {
    errind.WrongDigest: "snmp.auth: the key is another one there",
    errind.AuthenticationFailure: "snmp.auth: the key is another one there",
    errind.UnknownUserName: "snmp.user: it knows no such user",
    errind.DecryptionError: "snmp.privacy: the key is another one there",
    errind.UnsupportedSecurityLevel: "snmp.user: there it has no authentication and privacy",
    errind.NotInTimeWindow: "snmp.address: its v3 clock differs; has another device its engine id?",
    errind.UnknownEngineID: "snmp.address: it says another v3 engine id than before",
}


class PysnmpPoller:
    """Engines are made as targets come."""

    name = "pysnmp"
    places = 10

    def __init__(self) -> None:
        self._engines: dict[tuple[str, usm.Master | None], list[hlapi.SnmpEngine]] = {}
        self._known: dict[hlapi.SnmpEngine, set[Target]] = {}
        self._engine_of: dict[Target, hlapi.SnmpEngine] = {}
        self._transports: dict[Target, Any] = {}
        self._objects: dict[str, hlapi.ObjectType] = {}

    async def get(
        self, target: Target, oids: Sequence[str], *, timeout_ms: int, retries: int
    ) -> Answer:
        transport = self._transports.get(target)
        if transport is None:
            transport = await hlapi.UdpTransportTarget.create(
                target.address, timeout=timeout_ms / 1_000, retries=retries
            )
            self._transports[target] = transport
        transport.timeout, transport.retries = timeout_ms / 1_000, retries
        asked = [self._object(oid) for oid in oids]
        try:
            failed, status, index, varbinds = await hlapi.get_cmd(
                self._engine(target),
                self._auth(target),
                transport,
                hlapi.ContextData(),
                *asked,
                lookupMib=False,
            )
        except (PySnmpError, PyAsn1Error) as error:
            return Refused(f"SNMP: {type(error).__name__}")
        if isinstance(failed, errind.RequestTimedOut):
            return Silent()
        if failed:
            why = next((said for kind, said in WRONG.items() if isinstance(failed, kind)), None)
            return Refused(why or f"SNMP: {type(failed).__name__}")
        if status:
            return Refused(f"SNMP: it answers error {int(status)} at varbind {int(index)}")
        return Answered({str(bound[0]): plain(bound[1]) for bound in varbinds})

    def forget(self, target: Target) -> None:
        """An engine finds out by itself that another one answers."""

    def close(self) -> None:
        for engine in self._known:
            engine.close_dispatcher()

    def _engine(self, target: Target) -> hlapi.SnmpEngine:
        """One in which a user's name has one meaning: pysnmp knows users by their names."""
        if target not in self._engine_of:
            found = target.credentials
            user = found.access.user if isinstance(found.access, User) else ""
            engines = self._engines.setdefault((user, found.keys), [])
            if not engines or len(self._known[engines[-1]]) >= TARGETS_MAX:
                engines.append(hlapi.SnmpEngine())
                self._known[engines[-1]] = set()
            self._known[engines[-1]].add(target)
            self._engine_of[target] = engines[-1]
        return self._engine_of[target]

    def _auth(self, target: Target) -> hlapi.CommunityData | hlapi.UsmUserData:
        found = target.credentials
        if found.keys is None:
            assert found.community is not None
            return hlapi.CommunityData(found.community.decode("latin-1"), mpModel=1)
        assert isinstance(found.access, User)
        return hlapi.UsmUserData(
            found.access.user,
            authKey=hlapi.OctetString(found.keys.auth),
            privKey=hlapi.OctetString(found.keys.privacy),
            authProtocol=AUTH_PROTOCOLS[found.keys.protocol],
            privProtocol=hlapi.USM_PRIV_CFB128_AES,
            authKeyType=hlapi.USM_KEY_TYPE_MASTER,
            privKeyType=hlapi.USM_KEY_TYPE_MASTER,
        )

    def _object(self, oid: str) -> hlapi.ObjectType:
        if oid not in self._objects:
            self._objects[oid] = hlapi.ObjectType(hlapi.ObjectIdentity(oid))
        return self._objects[oid]


def plain(value: Any) -> Value:
    """pysnmp's value as ours."""
    if isinstance(value, rfc1905.NoSuchObject | rfc1905.NoSuchInstance | rfc1905.EndOfMibView):
        return None
    if isinstance(value, univ.OctetString):
        return bytes(value)
    if isinstance(value, univ.ObjectIdentifier):
        return str(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
