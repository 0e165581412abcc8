"""The `MeterPort` of a Modbus meter: one table, one unit address, requests made once.

* A meter that refuses a merged request (exceptions 2 and 3) is read register by register from then on. What it refuses
  singly it does not have: a reading marked METER_INVALID, and it is not asked again. A meter that has nothing of its table
  is another model: a MeterFault.
* With a model number in its table the meter must answer with a number of this profile before anything is read; another
  number is a MeterFault that names the profile which fits.
* A meter that tells no serial number goes by its label: it counts as answering once its probe makes sense.
* These meters have no load profile, no event log, no clock and no contactor of their own.

Source: MODBUS Application Protocol 1.1b3; protocols.md 3.2 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.modbus_decode import BlockDecoder
from gridtally_edge.drivers.modbus_table import Block, MeterTable, Probe, Register, SerialCell, SerialForm, block_of
from gridtally_edge.drivers.model import Capability, Now, Reading
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    REQUEST_BYTES,
    Query,
    ReadRequest,
    Refusal,
    WordOrder,
    decode_answer,
    decode_value,
    read_registers,
)
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

INVALID_TEXT = "invalid"
TOO_MUCH_AT_ONCE = (ILLEGAL_ADDRESS, ILLEGAL_VALUE)
BLANKS = "\0 \xff"


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """`unit` is the meter's Modbus address, 1..247. `timeout_ms` runs until the answer begins. `label` is the serial number
    printed on a meter that does not tell it. `order` (ABCD, CDAB, BADC, DCBA) overrides the profile's, for meters where it
    is a setting."""

    unit: int
    timeout_ms: int = 500
    retries: int = 2
    label: str = ""
    order: str = ""


@dataclass(frozen=True, slots=True)
class PulseSettings:
    """One input of a pulse module. `milli_per_pulse`: thousandths of the register's unit that one pulse is worth (litres
    for m3). `start_milli`: what the meter showed, in the same thousandths, when the module's counter stood at zero."""

    unit: int
    channel: int = 1
    milli_per_pulse: int = 1_000
    start_milli: int = 0
    label: str = ""
    timeout_ms: int = 500
    retries: int = 2


@dataclass(slots=True)
class _Part:
    """A block with its request and its decoder."""

    query: Query
    decoder: BlockDecoder
    block: Block


Fits = Callable[[Probe, int | float], tuple[str, ...]]
"""Names of the profiles that accept an answer to a probe."""


def nobody_fits(probe: Probe, raw: int | float) -> tuple[str, ...]:
    return ()


@dataclass(slots=True)
class ModbusPort(BasePort):
    """A `MeterPort` for one meter. `unit` is its Modbus address."""

    table: MeterTable
    unit: int
    timeout_ms: int = 500
    retries: int = 2
    label: str = ""
    name: str = "this profile"
    fits: Fits = nobody_fits
    capabilities: frozenset[Capability] = frozenset()
    interval_s: int = 0
    _parts: tuple[_Part, ...] = ()
    _absent: tuple[_Part, ...] = ()
    _serial_query: Query | None = None
    _probed: bool = False

    def __post_init__(self) -> None:
        self._parts = tuple(self._part(block) for block in self.table.blocks())

    @property
    def tells_serial(self) -> bool:
        """Whether the meter itself says who it is."""
        return self.table.serial is not None

    def read_serial(self) -> Conversation[str]:
        """The serial number the meter tells, or its label once the probe makes sense. Raises MeterFault."""
        cell = self.table.serial
        if cell is None:
            yield from self._probe()
            return self.label
        if not self._probed:
            yield from self._probe()
            self._probed = True
        query = self._serial_query or self._query(cell.address, cell.words, cell)
        self._serial_query = query
        octets = query.octets((yield query.exchange))
        if isinstance(octets, Refusal):
            raise MeterFault(f"the meter refused ({query.request}): {octets}")
        return serial_text(cell, octets)

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        """Every register of the table; each carries the time at which its answer was there."""
        readings = tuple(_not_there(part, now()) for part in self._absent)
        for part in self._parts:
            readings += yield from self._read(part, now)
        return readings

    def _read(self, part: _Part, now: Now) -> Conversation[tuple[Reading, ...]]:
        octets = part.query.octets((yield part.query.exchange))
        if not isinstance(octets, Refusal):
            return part.decoder.readings(octets, now())
        if octets.code not in TOO_MUCH_AT_ONCE:
            raise MeterFault(f"the meter refused ({part.query.request}): {octets}")
        if len(part.block.registers) > 1:
            return (yield from self._read_singly(part, now))
        self._lacks(part, octets)
        return (_not_there(part, now()),)

    def _read_singly(self, refused: _Part, now: Now) -> Conversation[tuple[Reading, ...]]:
        """The registers of a refused block one by one, now and from now on."""
        singles = tuple(self._part(block_of((register,))) for register in refused.block.registers)
        self._parts = tuple(one for part in self._parts for one in (singles if part is refused else (part,)))
        readings: tuple[Reading, ...] = ()
        for single in singles:
            readings += yield from self._read(single, now)
        return readings

    def _lacks(self, part: _Part, refusal: Refusal) -> None:
        """Remember what the meter has not. Raises MeterFault when nothing is left."""
        self._absent = (*self._absent, part)
        self._parts = tuple(other for other in self._parts if other is not part)
        if not self._parts:
            self._absent, self._parts = (), tuple(self._part(block) for block in self.table.blocks())
            raise MeterFault(f"the meter at unit {self.unit} has no register of {self.name} ({part.query.request}): {refusal}")

    def _probe(self) -> Conversation[None]:
        probe = self.table.probe
        if probe is None:
            return
        request = ReadRequest(self.unit, probe.function, probe.address, probe.kind.words)
        words = yield from read_registers(request, self.timeout_ms, self.retries)
        raw = decode_value(words, probe.kind, probe.order)
        if not probe.accepts(raw):
            raise MeterFault(self._misfit(probe, raw, words))

    def _misfit(self, probe: Probe, raw: int | float, words: tuple[int, ...]) -> str:
        said = f"the meter at unit {self.unit} is no {self.name}: {probe.what} reads {raw:g}"
        fitting = self.fits(probe, raw)
        if fitting:
            return f"{said}, which is {' or '.join(fitting)}; change the meter's driver to that"
        orders = [o for o in WordOrder if o is not probe.order and probe.accepts(decode_value(words, probe.kind, o))]
        if orders and not probe.values:
            return f"{said}; with order={orders[0].value} it would be {decode_value(words, probe.kind, orders[0]):g}: set that"
        return f"{said}, and no profile here knows that; check model and address"

    def _query(self, address: int, count: int, cell: SerialCell) -> Query:
        return Query(ReadRequest(self.unit, cell.function, address, count), self.timeout_ms, self.retries)

    def _part(self, block: Block) -> _Part:
        request = ReadRequest(self.unit, block.function, block.address, block.count)
        return _Part(Query(request, self.timeout_ms, self.retries), BlockDecoder(block), block)


def _not_there(part: _Part, at_ms: int) -> Reading:
    return Reading(BY_NAME[part.block.registers[0].quantity].code, at_ms, 0, int(Quality.METER_INVALID))


def serial_text(cell: SerialCell, line: bytes) -> str:
    """The serial number from its registers' octets as they stood on the line. Raises MeterFault where none can be."""
    octets = line if cell.order is WordOrder.BIG else bytes(line[place] for place in cell.order.places(len(line) // 2))
    if cell.form is SerialForm.NUMBER:
        return str(int.from_bytes(octets, "big"))
    if cell.form is SerialForm.HEX:
        return octets.hex()
    text = octets.decode("latin-1").strip(BLANKS)
    if not text or not text.isascii() or not text.isprintable():
        raise MeterFault(f"no serial number in registers 0x{cell.address:04X}: {octets.hex(' ')}")
    return text


def modbus_port(table: MeterTable, name: str, fits: Fits, settings: ModbusSettings) -> ModbusPort:
    """The port of one meter. Raises ConfigError for settings that cannot be."""
    _check(settings.unit, settings.timeout_ms, settings.retries)
    if table.serial is None and not settings.label:
        raise ConfigError("label", "", f"{name} does not tell its serial number: write the one printed on the meter")
    if table.serial is not None and settings.label:
        raise ConfigError("label", settings.label, f"{name} tells its serial number itself; leave the label out")
    fitted = _in_order(table, settings.order) if settings.order else table
    return ModbusPort(fitted, settings.unit, settings.timeout_ms, settings.retries, settings.label, name, fits)


def pulse_port(table: MeterTable, name: str, channels: int, stride: int, settings: PulseSettings) -> ModbusPort:
    """The port of one input. Raises ConfigError for settings that cannot be."""
    _check(settings.unit, settings.timeout_ms, settings.retries)
    if not 1 <= settings.channel <= channels:
        raise ConfigError("channel", settings.channel, f"{name} has the channels 1 to {channels}")
    if settings.milli_per_pulse < 1:
        raise ConfigError("milli_per_pulse", settings.milli_per_pulse, "write what one pulse is worth, at least 1 thousandth")
    if not settings.label:
        raise ConfigError("label", "", "a pulse module does not know the meter: write the serial number printed on the meter")
    rows = tuple(_counted(row, stride, settings) for row in table.registers)
    probe = table.probe and replace(table.probe, address=table.probe.address + stride * (settings.channel - 1))
    moved = replace(table, registers=rows, probe=probe)
    return ModbusPort(moved, settings.unit, settings.timeout_ms, settings.retries, settings.label, name)


def _counted(row: Register, stride: int, settings: PulseSettings) -> Register:
    address = row.address + stride * (settings.channel - 1)
    offset = Fraction(settings.start_milli, 1_000)
    return replace(row, address=address, scale=row.scale * Fraction(settings.milli_per_pulse, 1_000), offset=offset)


def _check(unit: int, timeout_ms: int, retries: int) -> None:
    if not 1 <= unit <= 247:
        raise ConfigError("unit", unit, "give the meter's Modbus address, 1 to 247")
    if timeout_ms < 20 or retries < 0:
        raise ConfigError("timeout_ms", timeout_ms, "at least 20 ms, and retries 0 or more")


def _in_order(table: MeterTable, order_name: str) -> MeterTable:
    known = {order.value: order for order in WordOrder}
    if order_name not in known:
        raise ConfigError("order", order_name, f"write one of {', '.join(known)}")
    order = known[order_name]
    probe = table.probe and replace(table.probe, order=order)
    return replace(table, registers=tuple(replace(row, order=order) for row in table.registers), probe=probe)


def read_vector(table: MeterTable, data: bytes) -> tuple[tuple[str, str], ...]:
    """Recorded requests, each with its answer behind it, into (quantity name, integer as text), with the table; "invalid"
    stands for a value that is none. Raises MeterFault for bytes that are no such recording."""
    found: list[tuple[str, str]] = []
    for request, octets in _recorded(data):
        for row in table.registers:
            inside = all(request.address <= a and end <= request.address + request.count for a, end in row.cells)
            if row.function is request.function and inside:
                found.append((row.quantity, _vector_value(row, request, octets)))
    return tuple(found)


def _vector_value(row: Register, request: ReadRequest, octets: bytes) -> str:
    block = block_of((row,))
    start = 2 * (block.address - request.address)
    reading = BlockDecoder(block).readings(octets[start : start + 2 * block.count], 0)[0]
    return INVALID_TEXT if reading.quality & Quality.METER_INVALID else str(reading.value)


def _recorded(data: bytes) -> Iterator[tuple[ReadRequest, bytes]]:
    while data:
        try:
            request = ReadRequest.from_bytes(data[:REQUEST_BYTES])
        except ValueError as error:
            raise MeterFault(f"not a recorded Modbus request: {data[:REQUEST_BYTES].hex(' ')}") from error
        frame = data[REQUEST_BYTES : REQUEST_BYTES + request.answer_bytes]
        answer = decode_answer(request, frame)
        if isinstance(answer, Refusal):
            raise MeterFault(f"the recording holds a refusal: {answer}")
        yield request, frame[3:-2]
        data = data[REQUEST_BYTES + request.answer_bytes :]
