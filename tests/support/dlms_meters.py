"""Simulated DLMS meters on a `Bench`, and clients for them, for tests of the client stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gridtally_edge.protocols.dlms.access import Attribute, attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import Data, octet_string
from gridtally_edge.protocols.dlms.ciphering import CipherKeys
from gridtally_edge.protocols.dlms.client import DlmsClient, Login
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.link import LARGEST, HdlcLink, WrapperLink
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.security import Security
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys
from gridtally_edge.simulators.dlms_echo import ECHO, ECHO_CLASS
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_shared.clock import ManualClock
from support.dlms_bench import Bench
from support.dlms_wire import START_MS, house

SERIAL = attribute(1, "0.0.96.1.0.255", 2)
CLOCK = attribute(8, "0.0.1.0.0.255", 2)
VALUE = Attribute(ECHO_CLASS, ECHO, 2)
RETURN = Attribute(ECHO_CLASS, ECHO, 1)
SECRET = b"0123456789ABCDEF"
KEYS = MeterKeys(b"MTR12345")
KEYS_256 = replace(
    KEYS, unicast=bytes(range(32)), authentication=bytes(range(100, 132)), master=bytes(range(50, 82)), suite=2
)
TITLE = b"GRT12345"


def long_value(octets: int) -> Data:
    return octet_string((bytes(range(256)) * (octets // 256 + 1))[:octets])


def access(mechanism: Mechanism = Mechanism.LLS, ciphered: bool = False, keys: MeterKeys | None = KEYS) -> MeterAccess:
    return MeterAccess(mechanism=mechanism, password=SECRET, secret=SECRET, ciphered=ciphered, keys=keys)


def security(keys: MeterKeys = KEYS, **settings: Any) -> Security:
    counters = settings.pop("counters", None) or MemoryCounters()
    return Security(TITLE, CipherKeys(keys.unicast, keys.authentication), counters, suite=keys.suite, **settings)


@dataclass
class HdlcMeter:
    """One meter behind HDLC; `quirks` may be set while it runs."""

    slave: DlmsSlave
    bench: Bench
    quirks: QuirkBoard


def hdlc_meter(*quirks: Quirk, **unit: Any) -> HdlcMeter:
    board = QuirkBoard(quirks)
    settings = {"frame_size": 2_030, "window": 7, "access": access(), **unit}
    slave = DlmsSlave([DlmsUnit(house("S1", ManualClock(START_MS)), 17, quirks=board, **settings)])
    return HdlcMeter(slave, Bench(slave.receive), board)


@dataclass
class WrapperMeter:
    slave: WrapperSlave
    bench: Bench
    quirks: QuirkBoard


def wrapper_meter(*quirks: Quirk, **unit: Any) -> WrapperMeter:
    board = QuirkBoard(quirks)
    slave = WrapperSlave(DlmsUnit(house("S1", ManualClock(START_MS)), 17, quirks=board, **{"access": access(), **unit}))
    return WrapperMeter(slave, Bench(slave.receive), board)


def hdlc_client(sizes: LinkParameters = LARGEST, server: Address | None = None, **settings: Any) -> DlmsClient:
    link = HdlcLink(Address(48), server or Address(1, 17, 2), sizes, unsolicited=settings.get("unsolicited"))
    return DlmsClient(link, settings.pop("login", Login(Mechanism.LLS, SECRET)), **settings)


def wrapper_client(datagrams: bool = False, **settings: Any) -> DlmsClient:
    link = WrapperLink(48, 1, datagrams=datagrams, unsolicited=settings.get("unsolicited"))
    return DlmsClient(link, settings.pop("login", Login(Mechanism.LLS, SECRET)), **settings)
