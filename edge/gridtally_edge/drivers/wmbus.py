"""A wireless M-Bus meter of any maker: electricity, gas, water, heat or cooling, heard and never asked.

* `meter` names it: 8 digits of identification, as printed on it. `key` is its AES key of 16 octets (32 hexadecimal digits),
  empty for a meter that does not cipher.
* A telegram of another meter is not ours (None). A telegram of this meter that can not be read is a MeterFault.
* A meter with a key must cipher: a plain telegram in its name is not taken, for anybody can send one.
* The push is named by its access number's layer; a meter that tells its own time makes repeats harmless by it.

Source: EN 13757-3:2018, EN 13757-4:2019, EN 13757-7:2018; OMS specification 4.1, volume 2.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, LineDefaults, Origin, Vector
from gridtally_edge.drivers.mbus import checked_commodity, named_values
from gridtally_edge.drivers.mbus_values import clock_of, readings_of
from gridtally_edge.drivers.model import MeterEvent, Pushed
from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.header import StatusFlag
from gridtally_edge.protocols.wmbus.link import read_frame
from gridtally_edge.protocols.wmbus.telegram import KEY_BYTES, RadioTelegram, Security, open_telegram
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.records import dataclass

BATTERY_LOW = EVENTS["battery_low"].code


@dataclass(frozen=True, slots=True)
class WmbusSettings:
    """`meter`: 8 digits of identification. `key`: 32 hexadecimal digits, or empty. `commodity` is empty to believe the
    meter. `utc_offset_min` is the zone of its clock. `formats` is no setting: it keeps what the meter's compact frames
    need."""

    meter: str
    key: bytes = field(default=b"", repr=False)
    commodity: str = ""
    utc_offset_min: int = 60
    formats: Formats = field(default_factory=Formats, repr=False, compare=False)


def _port(settings: WmbusSettings) -> BasePort:
    checked_commodity(settings.commodity)
    if len(settings.meter) != 8 or _digits_on_air(settings.meter) is None:
        raise ConfigError("meter", settings.meter, "write the 8 digits of identification printed on the meter")
    if settings.key and len(settings.key) != KEY_BYTES:
        raise ConfigError("key", "***", f"a key has {KEY_BYTES} octets: 32 hexadecimal digits")
    return BasePort()


def hears(settings: WmbusSettings, data: bytes, at_ms: int) -> Pushed | None:
    """What a frame (from its L field on) says of this meter. Raises MeterFault for one of it that can not be read."""
    frame = read_frame(data)
    wanted, on_air = settings.meter.upper(), _digits_on_air(settings.meter)
    if on_air is None or on_air not in frame.address + frame.body:  # behind an adapter it stands in the long header
        return None
    telegram = open_telegram(frame, settings.key or None, settings.formats)
    if telegram.identity.number != wanted:
        return None
    if settings.key and telegram.security is Security.PLAIN:
        raise MeterFault(f"meter {wanted} has a key and this telegram is not ciphered: it is not taken")
    return _pushed(settings, telegram, at_ms)


def _digits_on_air(meter: str) -> bytes | None:
    """The identification as radio frames carry it; None where it is none."""
    try:
        return bytes.fromhex(meter)[::-1]
    except ValueError:
        return None


def _pushed(settings: WmbusSettings, telegram: RadioTelegram, at_ms: int) -> Pushed | None:
    records = telegram.contents.records
    readings = readings_of(records, settings.commodity or telegram.identity.commodity, at_ms)
    if not readings:
        return None
    clock_ms = clock_of(records, settings.utc_offset_min)
    events = (MeterEvent(BATTERY_LOW, at_ms),) if StatusFlag.POWER_LOW in telegram.header.flags else ()
    return Pushed(telegram.identity.number, "", clock_ms, readings, events=events)


def read_vector(data: bytes) -> tuple[tuple[str, str], ...]:
    """What a plain frame gives, as (quantity, value)."""
    telegram = open_telegram(read_frame(data))
    return named_values(readings_of(telegram.contents.records, telegram.identity.commodity, 0))


DRIVER: Driver[WmbusSettings] = Driver(
    name="wmbus",
    protocol="wmbus",
    title="Wireless M-Bus meter (EN 13757, OMS), any maker",
    document="EN 13757-4:2019 and EN 13757-7:2018",
    settings_type=WmbusSettings,
    make_port=_port,
    line=LineDefaults(baud=57_600),
    vectors=(
        Vector(
            "gas meter, not ciphered",
            Origin.DOCUMENT,
            "EN 13757-3:2003, annex P, table P.1 (with the frame's CRCs left out)",
            (("gas_volume_l", "28504270"),),
            data=bytes.fromhex("2E4493157856341233037A2A0000002F2F0C1427048502046D32371F1502FD1700002F2F2F2F2F2F2F2F2F2F2F2F2F"),
        ),
    ),
    read_vector=read_vector,
    hears=hears,
)
