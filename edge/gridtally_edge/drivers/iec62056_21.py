"""An electricity meter with IEC 62056-21: read in modes A, B or C over an optical head, a current loop or RS-485, or heard.

* One readout a poll: what the meter shows in its standard readout is read once and kept until `close`.
* `profile = 1` reads the load profile P.01 in the programming mode (R5, with the password where the meter wants one).
* The serial number is 0.0.0, C.1.0 or 96.1.0 of the readout; a meter that shows none goes by its identification text.
* `sends = true` is a meter of mode D: it sends its readout by itself, on a line `mode-d://`, and is never asked. The values
  are of the moment they came.
* A meter with mode E may speak HDLC behind it: `protocols/iec62056_21/session.py`, `hand_over`.

Source: IEC 62056-21:2002; VDEW specification 2.1; EN 62056-61 (codes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from fractions import Fraction
from typing import Final

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, LineDefaults, Origin, Vector
from gridtally_edge.drivers.mbus import named_values
from gridtally_edge.drivers.model import Capability, NamePlate, Now, Pushed, Reading
from gridtally_edge.drivers.obis_text_values import UNITS, cells_by_key, readings_of, whole
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.iec62056_21.datasets import read_data_sets
from gridtally_edge.protocols.iec62056_21.messages import Telegram, read_telegram, sign_on
from gridtally_edge.protocols.iec62056_21.profile import PROFILE, Row, Status, read_profile, span_text, stamp_ms
from gridtally_edge.protocols.iec62056_21.session import SignOn, ask, enter_programming, leave, read_out
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

SERIAL_KEYS: Final = ((0, 0, 0), (96, 1, 0), (96, 1, 1), (0, 0, 9))
TIME, DATE = (0, 9, 1), (0, 9, 2)
INTERVALS: dict[str, tuple[str, str]] = {
    "1.5": ("interval_import_wh", "kW"),
    "2.5": ("interval_export_wh", "kW"),
    "1.29": ("interval_import_wh", "kWh"),
    "2.29": ("interval_export_wh", "kWh"),
}
"""Code of a profile column -> quantity, and the unit that it must have: mean power or energy of the period."""

FLAGS: Final = (
    (Status.INVALID | Status.FATAL, Quality.METER_INVALID),
    (Status.CLOCK_SET, Quality.CLOCK_UNCERTAIN),
    (Status.RESET, Quality.RESET),
    (Status.POWER_DOWN | Status.POWER_UP, Quality.POWER_FAIL),
)


@dataclass(frozen=True, slots=True)
class Iec62056Settings:
    """`address` is the device address, empty where the meter is alone on its line. `max_baud` limits the meter's proposal.
    `initial_baud` 0: the line's coding stays as it is, for a converter that can not change it (then `max_baud` is its
    speed). `software_parity` for a port that knows no 7E1. `utc_offset_min` is the zone of the meter's clock in standard time.
    `sends`: it sends by itself (mode D)."""

    address: str = ""
    password: str = field(default="", repr=False)
    max_baud: int = 19_200
    initial_baud: int = 300
    profile: bool = False
    interval_s: int = 900
    utc_offset_min: int = 60
    timeout_ms: int = 2_000
    software_parity: bool = False
    sends: bool = False


@dataclass(slots=True)
class Iec62056Port(BasePort):
    settings: Iec62056Settings
    how: SignOn
    interval_s: int = 0
    capabilities: frozenset[Capability] = frozenset({Capability.CLOCK, Capability.NAME_PLATE})
    _readout: Telegram | None = None
    _programming: bool = False

    def open(self) -> Conversation[None]:
        self._readout = None
        yield from ()

    def close(self) -> Conversation[None]:
        """The break, where the meter is in its programming mode: else it would hold the bus for minutes."""
        self._readout = None
        if self._programming:
            self._programming = False
            yield from leave(self.how)

    def read_serial(self) -> Conversation[str]:
        return serial_of((yield from self._read()))

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        readout = yield from self._read()
        return readings_of(readout.data_sets, now())

    def read_clock(self) -> Conversation[int]:
        cells = cells_by_key((yield from self._read()).data_sets)
        if TIME not in cells or DATE not in cells:
            raise MeterFault("the readout of this meter shows no time (0.9.1) and date (0.9.2)")
        date, time = cells[DATE].value, cells[TIME].value
        season, digits = _season_and_digits(date, time)
        return stamp_ms(season + digits, self.settings.utc_offset_min)

    def read_name_plate(self) -> Conversation[NamePlate]:
        serial = yield from self.read_serial()
        readout = yield from self._read()
        cells = cells_by_key(readout.data_sets)
        firmware = cells[0, 2, 0].value if (0, 2, 0) in cells else ""
        return NamePlate(serial, readout.identification.maker.upper(), readout.identification.text, firmware)

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        if not self.settings.profile:
            return (yield from BasePort.read_intervals(self, from_ms, to_ms))
        yield from self._program()
        span = span_text(from_ms, to_ms, self.settings.utc_offset_min)
        reply = yield from ask(self.how, "R5", f"{PROFILE}({span})")
        if reply.refused:
            raise MeterFault(f"the meter does not give its load profile: {reply.text or 'refused'}")
        text = reply.text if reply.text.startswith(PROFILE) else PROFILE + reply.text
        rows = read_profile(read_data_sets(text), self.settings.utc_offset_min)
        readings = (reading for row in rows for reading in intervals_of(row))
        return tuple(reading for reading in readings if from_ms <= reading.at_ms < to_ms)

    def read_out(self) -> Conversation[Telegram]:
        """The whole readout, once a session."""
        return (yield from self._read())

    def _read(self) -> Conversation[Telegram]:
        if self._readout is None:
            self._readout = yield from read_out(self.how)
        return self._readout

    def _program(self) -> Conversation[None]:
        if not self._programming:
            self._programming = True
            try:
                yield from enter_programming(self.how, self.settings.password)
            except LinkDown:
                self._programming = False
                raise


def serial_of(telegram: Telegram) -> str:
    """The serial number a readout or telegram shows."""
    cells = cells_by_key(telegram.data_sets)
    shown = (cells[key].value for key in SERIAL_KEYS if key in cells)
    return next((text for text in shown if text), telegram.identification.text)


def hears(settings: Iec62056Settings, data: bytes, at_ms: int) -> Pushed | None:
    """What a telegram of mode D says. Raises MeterFault for a damaged one."""
    if not settings.sends:
        return None
    telegram = read_telegram(data)
    serial, readings = serial_of(telegram), readings_of(telegram.data_sets, at_ms)
    return Pushed(serial, "", None, readings) if serial and readings else None


def intervals_of(row: Row) -> Iterator[Reading]:
    """The known columns of one profile row, stamped with the start of its period."""
    quality = Quality.OK
    for bits, flag in FLAGS:
        if row.status & bits:
            quality |= flag
    start_ms = row.end_ms - row.period_min * 60_000
    for code, unit, number in row.values:
        name, wanted = INTERVALS.get(code, ("", ""))
        if name and unit == wanted:
            hours = Fraction(row.period_min, 60) if unit == "kW" else Fraction(1)
            reading = whole(name, number, UNITS["kwh"][1] * hours, start_ms)
            yield Reading(reading.quantity, start_ms, reading.value, int(quality | reading.quality))


def _season_and_digits(date: str, time: str) -> tuple[str, str]:
    """Season digit (where there is one) and YYMMDDhhmmss of 0.9.2 and 0.9.1: separators are left out."""
    day, clock = ("".join(c for c in text if c.isdigit()) for text in (date, time))
    season, day = (day[0], day[1:]) if len(day) == 7 else ("", day)
    clock = clock[1:] if len(clock) == 7 else clock
    return season, day + clock


def _port(settings: Iec62056Settings) -> BasePort:
    if settings.sends:
        return BasePort()
    how = SignOn(settings.address, settings.max_baud, settings.initial_baud, settings.timeout_ms, 2, settings.software_parity)
    try:
        sign_on(settings.address)
    except ValueError as error:
        raise ConfigError("address", settings.address, str(error)) from None
    if settings.initial_baud not in (0, 300, 600, 1_200, 2_400, 4_800, 9_600, 19_200) or settings.max_baud < 300:
        remedy = "write 300 (the standard's), another speed, or 0 to leave the line as it is"
        raise ConfigError("initial_baud", settings.initial_baud, remedy)
    if not settings.profile:
        return Iec62056Port(settings, how)
    both = frozenset({Capability.CLOCK, Capability.NAME_PLATE, Capability.LOAD_PROFILE})
    return Iec62056Port(settings, how, settings.interval_s, both)


def read_vector(data: bytes) -> tuple[tuple[str, str], ...]:
    """What a whole telegram or readout gives, as (quantity, value)."""
    return named_values(readings_of(read_telegram(data).data_sets, 0))


DRIVER: Driver[Iec62056Settings] = Driver(
    name="iec62056-21",
    protocol="iec62056-21",
    title="Electricity meter with IEC 62056-21 (optical head, RS-485), modes A to D",
    document="IEC 62056-21:2002",
    settings_type=Iec62056Settings,
    make_port=_port,
    line=LineDefaults(baud=300, data_bits=7, parity="E", turnaround_ms=200),
    vectors=(
        Vector(
            "EasyMeter Q3D",
            Origin.CAPTURED,
            "test telegram of dsmr_parser, values as it reads them",
            (
                ("energy_import_wh", "52185783"),
                ("energy_export_wh", "19949322"),
                ("power_w", "2125"),
                ("power_l1_w", "748"),
                ("power_l2_w", "737"),
                ("power_l3_w", "640"),
            ),
            reference="iec62056_21/p1_d0_telegrams.json#dsmr_parser/TELEGRAM_ESY5Q3DB1024_V304",
        ),
    ),
    read_vector=read_vector,
    hears=hears,
)
