"""Simulated DLMS meters on one line: octets in, octets out, no I/O.

* `DlmsSlave` hears everything on a bus and answers for the physical addresses it has; frames of other units, and the
  answers of its own ones echoed back, are passed over. Frames may come in pieces, with noise between them.
* `WrapperSlave` is one meter behind its own IP address, over TCP or UDP: one association per client port.
* `push` gives the octets that a meter sends unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms import hdlc, wrapper
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.hdlc import Address, Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.llc432 import LlcPdu
from gridtally_edge.simulators.dlms_access import PUSH_CLIENT, MeterAccess
from gridtally_edge.simulators.dlms_ciphers import MeterCiphers, first_counter
from gridtally_edge.simulators.dlms_device import CosemDevice, Objects
from gridtally_edge.simulators.dlms_doors import Door, Doors
from gridtally_edge.simulators.dlms_echo import Echo
from gridtally_edge.simulators.dlms_image import Firmware, ImageTransfer
from gridtally_edge.simulators.dlms_keys import SecuritySetups
from gridtally_edge.simulators.dlms_link import HdlcSession
from gridtally_edge.simulators.dlms_objects import SimObjects
from gridtally_edge.simulators.dlms_push import Push, PushSetups
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_edge.simulators.dlms_server import CosemServer
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared.events import BY_NAME
from gridtally_shared.meter_settings import LocalPort, SettingKind
from gridtally_shared.records import dataclass

LONGEST_PENDING: Final = 2 * hdlc.MAX_LENGTH
LONGEST_WRAPPED: Final = 1 << 17
FIRMWARE_ACTIVATED: Final = 157
PORT_PREEMPTED: Final = BY_NAME["port_preempted"].code
INDIA: Final = ClockRule(utc_offset_min=330)


@dataclass(frozen=True, slots=True)
class DlmsUnit:
    """One meter. `physical` is the lower HDLC address, `logical` the upper one and the wrapper port. `frame_size` is the
    largest information field, `window` its frames in a row, `max_pdu` the largest PDU. `access` says who may log in and
    how; `password` is a short way to the one of the simple scheme. `quirks` may be changed while the meter runs."""

    meter: SimMeter
    physical: int
    logical: int = 1
    password: bytes = field(default=b"ABCD0001", repr=False)
    clock: ClockRule = INDIA
    frame_size: int = 512
    window: int = 1
    max_pdu: int = 1024
    entry_access_only: bool = False
    access: MeterAccess | None = None
    block_transfer: bool = False
    quirks: QuirkBoard = field(default_factory=QuirkBoard)


class DlmsSlave:
    """Many meters on one bus. Not thread-safe: one bus, one thread."""

    def __init__(self, units: Iterable[DlmsUnit | SimulatedMeter]) -> None:
        meters = [simulated(unit) for unit in units]
        self._units = {(meter.unit.logical, meter.unit.physical): meter for meter in meters}
        self._sessions = {key: meter.hdlc_session() for key, meter in self._units.items()}
        self._pending = b""

    def receive(self, octets: bytes) -> bytes:
        """What the meters send after these octets of the bus; empty where nobody is addressed."""
        buffer = self._pending + octets
        answers = [answer for placed in hdlc.scan(buffer) for answer in self._answer(placed.frame)]
        self._pending = buffer[hdlc.pending_from(buffer) :][-LONGEST_PENDING:]
        return b"".join(hdlc.encode_frame(answer) for answer in answers)

    def forget(self) -> None:
        """Drop a half-received frame, as a meter does after silence on the line."""
        self._pending = b""

    def push(self, push: Push, physical: int | None = None) -> tuple[bytes, ...]:
        """UI frames that the meter at `physical` (the only one, if None) sends unasked, in their order."""
        meter = next(meter for (_, lower), meter in self._units.items() if physical in (None, lower))
        return meter.push(push, "hdlc")

    def _answer(self, frame: Frame) -> tuple[Frame, ...]:
        address = frame.destination
        key = (1, address.upper) if address.lower is None else (address.upper, address.lower)
        session = self._sessions.get(key)
        if session is None or frame.source.lower is not None:
            return ()
        if self._units[key].device.starting():
            session.drop()
            return ()
        return session.handle(frame)


class WrapperSlave:
    """One `meter` over the wrapper. `receive` takes a TCP stream in pieces, or whole datagrams."""

    def __init__(self, unit: DlmsUnit | SimulatedMeter) -> None:
        self.meter = simulated(unit)
        self._logical = self.meter.unit.logical
        self._servers: dict[int, CosemServer] = {}
        self._pending = b""

    def receive(self, octets: bytes) -> bytes:
        """The answers to the whole PDUs that have come; a stream that is no wrapper is thrown away."""
        buffer = self._pending + octets
        placed = wrapper.scan(buffer)
        rest = buffer[placed[-1].end if placed else 0 :]
        self._pending = rest if wrapper.VERSION.startswith(rest[:2]) and len(rest) < LONGEST_WRAPPED else b""
        return b"".join(answer for one in placed for answer in self._answer(one.pdu))

    def forget(self) -> None:
        """The connection was closed: associations and half a PDU are gone."""
        self._pending = b""
        self._servers.clear()

    def push(self, push: Push) -> tuple[bytes, ...]:
        """Wrapper PDUs that the meter sends unasked (one datagram each), in their order."""
        return self.meter.push(push, "wrapper")

    def _answer(self, pdu: wrapper.WrapperPdu) -> tuple[bytes, ...]:
        if pdu.destination != self._logical:
            return ()
        if self.meter.device.starting():
            self._servers.clear()
            return ()
        answers = self._server(pdu.source).handle(pdu.apdu)
        return tuple(wrapper.WrapperPdu(self._logical, pdu.source, answer).octets() for answer in answers)

    def _server(self, client: int) -> CosemServer:
        if client not in self._servers:
            self._servers[client] = CosemServer(self.meter.device)
            self._servers[client].start(client)
        return self._servers[client]


class SimulatedMeter:
    """One meter's device, what it pushes and the firmware it takes, apart from any framing."""

    def __init__(self, unit: DlmsUnit) -> None:
        self.unit = unit
        access = unit.access or MeterAccess(password=unit.password)
        if unit.entry_access_only:
            unit.quirks.add(Quirk.ENTRIES_ONLY)
        ciphers = MeterCiphers(access.keys, unit.quirks, first_counter(unit.meter.snapshot().at_ms)) if access.keys else None
        house = SimObjects(unit.meter, unit.clock)
        self.pushes = PushSetups(house, ciphers if access.ciphered else None)
        self.firmware = Firmware(house)
        self.image = ImageTransfer(unit.quirks, self._activated)
        setups = [SecuritySetups(ciphers, tuple(a.number for a in access.accounts()), unit.meter.report_event)] if ciphers else []
        groups: tuple[Objects, ...] = (self.pushes, self.image, self.firmware, Echo(), *setups, house)
        self.device = CosemDevice(
            groups, access, ciphers, unit.quirks, unit.max_pdu, unit.block_transfer, unit.meter.report_event
        )

    def push(self, push: Push, carry: str) -> tuple[bytes, ...]:
        """What the meter sends unasked, one item for each frame or datagram, in their order."""
        if self.device.doors is not None and not self.device.doors.lets_push():
            return ()
        return tuple(_CARRIED[carry](self.unit, apdu) for apdu in self.pushes.send(push))

    def _activated(self, name: bytes, restarts: bool) -> None:
        self.firmware.name = name
        self.unit.meter.report_event(FIRMWARE_ACTIVATED)
        if restarts:
            self.device.reboot()

    def hdlc_session(self) -> HdlcSession:
        unit = self.unit
        sizes = LinkParameters(unit.frame_size, unit.frame_size, unit.window, unit.window)
        return HdlcSession(CosemServer(self.device, Door.LOCAL), sizes, unit.quirks)


def two_ports(unit: DlmsUnit) -> tuple[DlmsSlave, WrapperSlave]:
    """One meter with a local port and a network port, which give way to each other as its settings say."""
    meter, house = SimulatedMeter(unit), unit.meter

    def rule() -> LocalPort:
        setting = house.setting(SettingKind.LOCAL_PORT)
        return setting if isinstance(setting, LocalPort) else LocalPort()

    meter.device.doors = Doors(rule, lambda: house.report_event(PORT_PREEMPTED))
    return DlmsSlave((meter,)), WrapperSlave(meter)


def simulated(unit: DlmsUnit | SimulatedMeter) -> SimulatedMeter:
    return unit if isinstance(unit, SimulatedMeter) else SimulatedMeter(unit)


def _in_ui_frame(unit: DlmsUnit, apdu: bytes) -> bytes:
    source = Address(unit.logical, unit.physical, 2)
    return hdlc.encode_frame(Frame(Address(PUSH_CLIENT), source, hdlc.UI, hdlc.LLC_RESPONSE + apdu))


_CARRIED: Final[dict[str, Callable[[DlmsUnit, bytes], bytes]]] = {
    "hdlc": _in_ui_frame,
    "wrapper": lambda unit, apdu: wrapper.WrapperPdu(unit.logical, PUSH_CLIENT, apdu).octets(),
    "4-32": lambda unit, apdu: LlcPdu(PUSH_CLIENT, unit.logical, apdu).octets(),
}
