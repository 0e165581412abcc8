"""The other lines of a simulated street: IEC 62056-21 and wired M-Bus, which are asked, wireless M-Bus, P1 and mode D, which send.

    [[lines]]
    name = "air"
    protocol = "wmbus"             # or "iec62056-21", "mbus", "p1", "mode-d"
    receiver = "im871a"            # the stick that hears them: im871a, amb8465, transparent, rtl-wmbus
    every_ms = 15000               # how often each meter sends

    [[meters]]
    line = "air"
    serial = "60000001"            # 8 digits: the identification of M-Bus
    address = 1
    medium = "water"               # electricity, water, gas or heat: one home, several meters
    cipher = "mode5"               # or plain, mode7, session; the key follows from the serial

A P1 line has one meter, with a gas meter on its channel 1.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gridtally_edge.protocols.iec62056_21.messages import Mode
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.simulators.iec62056_21 import Iec62056Slave, mode_d_telegram, p1_telegram
from gridtally_edge.simulators.mbus import ELECTRICITY, GAS, HEAT, WATER, MbusSlave, house_identity, house_telegrams
from gridtally_edge.simulators.ports import SimPort
from gridtally_edge.simulators.street import StreetLine, StreetMeter, StreetProtocol
from gridtally_edge.simulators.wmbus import FRAMINGS, Cipher, WmbusSender, framed
from gridtally_edge.transports.link import readable
from gridtally_shared.errors import ConfigError

MEDIA: dict[str, int] = {"electricity": ELECTRICITY, "gas": GAS, "water": WATER, "heat": HEAT}
SENDING: Final = frozenset({StreetProtocol.WMBUS, StreetProtocol.P1, StreetProtocol.MODE_D})
NUMBERED: Final = frozenset({StreetProtocol.WMBUS, StreetProtocol.MBUS})
MBUS_ADDRESSES: Final = range(1, 251)
Teller = Callable[[], bytes]


def check_metering(line: StreetLine, place: StreetMeter) -> None:
    """Raises ConfigError for a meter that can not be on such a line."""
    if line.protocol in NUMBERED and (len(place.serial) != 8 or not place.serial.isdecimal()):
        raise ConfigError("meters.serial", place.serial, "an M-Bus meter has an identification of 8 digits")
    if place.medium not in MEDIA:
        raise ConfigError("meters.medium", place.medium, f"write one of {', '.join(MEDIA)}")
    if place.cipher not in {cipher.value for cipher in Cipher}:
        raise ConfigError("meters.cipher", place.cipher, f"write one of {', '.join(cipher.value for cipher in Cipher)}")
    if line.protocol is StreetProtocol.MBUS and place.address not in MBUS_ADDRESSES:
        raise ConfigError("meters.address", place.address, "a primary address of M-Bus is 1 to 250")
    if line.protocol is StreetProtocol.WMBUS and (line.receiver not in FRAMINGS or line.every_ms <= 0):
        raise ConfigError("lines.receiver", line.receiver, f"write one of {', '.join(FRAMINGS)}, and every_ms above 0")


def key_of(serial: str) -> bytes:
    """The key of a simulated meter: made up, and the same in every run."""
    return hashlib.sha256(f"simulated meter {serial}".encode()).digest()[:16]


def iec_stations(places: Sequence[StreetMeter], meters: Mapping[str, HouseMeter]) -> list[Station]:
    return [_station(place, _iec_slave(place, meters[place.serial])) for place in places]


def _iec_slave(place: StreetMeter, meter: HouseMeter) -> Iec62056Slave:
    offset_min = meter.settings.utc_offset_min
    return Iec62056Slave(meter, str(place.address), Mode.C, password=place.password, utc_offset_min=offset_min, parity=True)


def mbus_stations(places: Sequence[StreetMeter], meters: Mapping[str, HouseMeter]) -> list[Station]:
    return [_station(place, _mbus_slave(place, meters[place.serial])) for place in places]


def _mbus_slave(place: StreetMeter, meter: HouseMeter) -> MbusSlave:
    medium = MEDIA[place.medium]
    readout = house_telegrams(meter, medium, utc_offset_min=meter.settings.utc_offset_min)
    return MbusSlave(place.address, house_identity(meter, medium), readout)


def _station(place: StreetMeter, slave: Iec62056Slave | MbusSlave) -> Station:
    return Station(slave, lambda _answer: place.serial)


def tellers(line: StreetLine, places: Sequence[StreetMeter], meters: Mapping[str, HouseMeter]) -> dict[str, Teller]:
    """By serial, what gives a meter's next telegram as its line carries it."""
    return {place.serial: _teller(line, place, meters[place.serial]) for place in places}


def _teller(line: StreetLine, place: StreetMeter, meter: HouseMeter) -> Teller:
    offset_min = meter.settings.utc_offset_min
    if line.protocol is StreetProtocol.P1:
        return lambda: p1_telegram(meter, utc_offset_min=offset_min)
    if line.protocol is StreetProtocol.MODE_D:
        return lambda: mode_d_telegram(meter, offset_min)
    sender = WmbusSender(meter, MEDIA[place.medium], Cipher(place.cipher), key_of(place.serial), utc_offset_min=offset_min)
    return lambda: framed(line.receiver, sender.telegram())


def metering_settings(line: StreetLine, place: StreetMeter, utc_offset_min: int) -> dict[str, int | str]:
    """The driver's settings that reach this meter."""
    zone = {"utc_offset_min": utc_offset_min}
    if line.protocol is StreetProtocol.P1:
        return {"channel": 0, **zone}
    if line.protocol is StreetProtocol.MODE_D:
        return {"sends": True, **zone}
    if line.protocol is StreetProtocol.WMBUS:
        return {"meter": place.serial, "key": "" if place.cipher == Cipher.PLAIN.value else key_of(place.serial).hex(), **zone}
    if line.protocol is StreetProtocol.MBUS:
        return {"address": str(place.address), **zone}
    return {"address": str(place.address), "password": place.password, "profile": True, "software_parity": True, **zone}


class SendingBus(SimBus):
    """A line whose meters send by themselves, each every `every_ms` and spread over that time. Faults shape their telegrams
    as they shape answers elsewhere."""

    def __init__(self, line: StreetLine, port: SimPort, told: Mapping[str, Teller]) -> None:
        super().__init__(line.name, port, (), Timing())
        self._line, self._told = line, dict(told)

    def device(self) -> str:
        """The device by which a DCU listens to this line."""
        scheme = self._line.protocol.value
        address = self.port.address().removeprefix("tcp://")
        return f"{scheme}://{address}" + (f"?receiver={self._line.receiver}" if self._line.protocol is StreetProtocol.WMBUS else "")

    def _run(self) -> None:
        step_s = self._line.every_ms / 1_000 / max(1, len(self._told))
        due_s, turn = time.monotonic() + step_s, 0
        while not self._closing:
            left_s = max(0.0, due_s - time.monotonic())
            ready = readable((self._wake_reader, *self.port.descriptors()), left_s)
            if self._wake_reader in ready:
                os.read(self._wake_reader, 64)
                self._follow_the_plug()
                continue
            for descriptor in ready:
                self.port.receive(descriptor)
            if time.monotonic() >= due_s:
                due_s, turn = due_s + step_s, turn + 1
                self._tell(turn)

    def _tell(self, turn: int) -> None:
        if self._told and self.port.descriptors():
            serial = tuple(self._told)[turn % len(self._told)]
            self._send(self.faults.shape(serial, self._told[serial]()), time.monotonic())
