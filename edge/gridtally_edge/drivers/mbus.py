"""A wired M-Bus meter of any maker: electricity, gas, water, heat or cooling, as its own header says.

* One readout a poll: everything is read once, when the first value is asked for, and kept until `close`.
* The serial number is the identification of eight digits that is printed on the meter.
* The commodity comes from the device type in the header; `commodity` in the settings overrides it (pulse adapters say
  "other"). A meter of no known commodity answers and has no readings.
* Values stored at a date come with `read_billing`, the meter's own clock with `read_clock`.

Source: EN 13757-2:2018, EN 13757-3:2018.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, LineDefaults, Origin, Vector
from gridtally_edge.drivers.mbus_values import ROWS, checks_of, clock_of, readings_of, stored_readings, text_of
from gridtally_edge.drivers.model import Capability, Diagnostic, NamePlate, Now, Reading
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.mbus.address import Address
from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.frames import decode_frame
from gridtally_edge.protocols.mbus.header import Identity, medium_name
from gridtally_edge.protocols.mbus.link import LinkTiming, read_telegrams
from gridtally_edge.protocols.mbus.records import Record
from gridtally_edge.protocols.mbus.telegram import Telegram, decode_answer
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class MbusSettings:
    """`address`: "1" to "250", 8 digits of identification, or 16 digits with maker, version and medium. `timeout_ms` runs
    until the answer begins; at 300 baud at least 1200. `commodity` is empty to believe the meter. `utc_offset_min` is the
    zone of its clock, which M-Bus does not tell."""

    address: str
    timeout_ms: int = 600
    retries: int = 2
    commodity: str = ""
    utc_offset_min: int = 0


@dataclass(slots=True)
class MbusPort(BasePort):
    capabilities = frozenset({Capability.CLOCK, Capability.NAME_PLATE, Capability.BILLING, Capability.DIAGNOSTICS})

    address: Address
    settings: MbusSettings
    formats: Formats = field(default_factory=Formats)
    _telegrams: tuple[Telegram, ...] = ()

    def open(self) -> Conversation[None]:
        self._telegrams = ()
        yield from ()

    def close(self) -> Conversation[None]:
        self._telegrams = ()
        yield from ()

    def read_serial(self) -> Conversation[str]:
        return (yield from self._identity()).number

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        records = yield from self._records()
        return readings_of(records, (yield from self._commodity()), now())

    def read_clock(self) -> Conversation[int]:
        clock_ms = clock_of((yield from self._records()), self.settings.utc_offset_min)
        if clock_ms is None:
            raise MeterFault("this M-Bus meter tells no time, or says that its time is not valid")
        return clock_ms

    def read_billing(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        records = yield from self._records()
        stored = stored_readings(records, (yield from self._commodity()), self.settings.utc_offset_min)
        return tuple(reading for reading in stored if from_ms <= reading.at_ms < to_ms)

    def read_name_plate(self) -> Conversation[NamePlate]:
        identity = yield from self._identity()
        records = yield from self._records()
        firmware = text_of(records, "Firmware version") or text_of(records, "Software version")
        model = text_of(records, "Model or version") or f"version {identity.version}"
        return NamePlate(identity.number, identity.maker, model, firmware, medium_name(identity.medium))

    def read_diagnostics(self) -> Conversation[tuple[Diagnostic, ...]]:
        telegrams = yield from self._all()
        return checks_of(telegrams[0].header.flags)

    def run_diagnostics(self) -> Conversation[None]:
        """It looks after itself all the time; what is new stands in the next readout."""
        self._telegrams = ()
        yield from ()

    def _all(self) -> Conversation[tuple[Telegram, ...]]:
        if not self._telegrams:
            timing = LinkTiming(self.settings.timeout_ms, self.settings.retries)
            self._telegrams = yield from read_telegrams(self.address, timing, self.formats)
        return self._telegrams

    def _identity(self) -> Conversation[Identity]:
        telegrams = yield from self._all()
        identity = telegrams[0].header.identity
        if identity is None:
            raise MeterFault("the M-Bus meter answered without telling who it is")
        return identity

    def _records(self) -> Conversation[tuple[Record, ...]]:
        telegrams = yield from self._all()
        return tuple(record for telegram in telegrams for record in telegram.contents.records)

    def _commodity(self) -> Conversation[str]:
        return self.settings.commodity or (yield from self._identity()).commodity


def checked_commodity(commodity: str) -> str:
    """A commodity M-Bus readings can be of, or "". Raises ConfigError."""
    if commodity and commodity not in ROWS:
        raise ConfigError("commodity", commodity, f"leave it empty, or write one of {', '.join(ROWS)}")
    return commodity


def _port(settings: MbusSettings) -> MbusPort:
    checked_commodity(settings.commodity)
    if settings.timeout_ms < 20 or settings.retries < 0:
        raise ConfigError("timeout_ms", settings.timeout_ms, "at least 20 ms, and retries 0 or more")
    return MbusPort(Address.of(settings.address), settings)


def read_vector(data: bytes) -> tuple[tuple[str, str], ...]:
    """What a whole long frame gives, as (quantity, value)."""
    telegram = decode_answer(decode_frame(data))
    identity = telegram.header.identity
    if identity is None:
        raise MeterFault("the frame does not tell who sent it")
    return named_values(readings_of(telegram.contents.records, identity.commodity, 0))


def named_values(readings: tuple[Reading, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((BY_CODE[r.quantity].name, "invalid" if r.quality & Quality.METER_INVALID else str(r.value)) for r in readings)


_LIBMBUS = "recorded by the users of libmbus, values as libmbus reads them"
DRIVER: Driver[MbusSettings] = Driver(
    name="mbus",
    protocol="mbus",
    title="M-Bus meter (EN 13757), any maker",
    document="EN 13757-2:2018 and EN 13757-3:2018",
    settings_type=MbusSettings,
    make_port=_port,
    line=LineDefaults(baud=2_400, parity="E", turnaround_ms=50),
    vectors=(
        Vector(
            "OMS water meter",
            Origin.CAPTURED,
            _LIBMBUS,
            (("water_volume_l", "2850427"), ("flow_l_per_h", "127")),
            reference="mbus_wired/frames/oms_frame2.hex",
        ),
        Vector(
            "NZR electricity meter",
            Origin.CAPTURED,
            _LIBMBUS,
            (("energy_import_wh", "1274"), ("voltage_mv", "237200"), ("current_ma", "0"), ("power_w", "0")),
            reference="mbus_wired/frames/nzr_dhz_5_63.hex",
        ),
        Vector(
            "Elster F2 heat meter",
            Origin.CAPTURED,
            _LIBMBUS,
            (
                ("heat_energy_wh", "5272000"),
                ("heat_volume_l", "1204270"),
                ("flow_temperature_mdeg", "28000"),
                ("return_temperature_mdeg", "34000"),
                ("flow_l_per_h", "0"),
                ("heat_power_w", "0"),
            ),
            reference="mbus_wired/frames/Elster-F2.hex",
        ),
        Vector(
            "Relay pulse adapter on a gas meter",
            Origin.CAPTURED,
            _LIBMBUS,
            (("gas_volume_l", "28760810"),),
            reference="mbus_wired/frames/REL-Relay-Padpuls2.hex",
        ),
        Vector(
            "Sensus PolluTherm without sensors",
            Origin.CAPTURED,
            _LIBMBUS,
            (
                ("heat_energy_wh", "0"),
                ("heat_volume_l", "0"),
                ("flow_l_per_h", "0"),
                ("heat_power_w", "0"),
                ("flow_temperature_mdeg", "invalid"),
                ("return_temperature_mdeg", "invalid"),
            ),
            reference="mbus_wired/frames/SEN_Sensus-PolluTherm.hex",
        ),
    ),
    read_vector=read_vector,
)
