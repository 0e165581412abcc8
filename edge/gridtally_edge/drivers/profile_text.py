"""From the text of a Modbus profile to the profile: keys, kinds and ranges of every table. modbus_profile.py shows the form."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fractions import Fraction

from gridtally_edge.drivers.driver import LineDefaults, Origin, Vector
from gridtally_edge.drivers.modbus_port import INVALID_TEXT
from gridtally_edge.drivers.modbus_table import UNITS, Encoding, MeterTable, Probe, Register, SerialCell, SerialForm
from gridtally_edge.drivers.profile_checks import Profile, Pulse, check_identity, check_registers, check_vectors
from gridtally_edge.drivers.profile_reader import Faults, ProfileFault, Table, nearest
from gridtally_edge.drivers.toml_lines import TomlLines
from gridtally_edge.protocols.modbus import MAX_REGISTERS, Function, Kind, WordOrder
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

COMMODITIES = ("electricity", "gas", "water", "heat", "cooling")
KINDS = {kind.name.lower(): kind for kind in Kind}
ORDERS = {order.value: order for order in WordOrder}
FUNCTIONS = {int(function): function for function in Function}
FORMS = {form.value: form for form in SerialForm}
ENCODINGS = {encoding.value: encoding for encoding in Encoding}
ORIGINS = {origin.value: origin for origin in Origin}
BAUDS = {baud: baud for baud in (300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200)}
TOP = 0xFFFF


@dataclass(frozen=True, slots=True)
class ReadProfile:
    """What a text gave: a profile, or the faults that keep it from being one."""

    profile: Profile | None
    faults: tuple[ProfileFault, ...]


@dataclass(frozen=True, slots=True)
class _Usual:
    """What holds for rows that do not say otherwise."""

    function: Function
    kind: Kind
    order: WordOrder


def read_profile(text: str) -> ReadProfile:
    """Read and check a profile's text. Raises nothing: what is wrong is in `faults`, in the order of the lines."""
    try:
        values = tomllib.loads(text, parse_float=Fraction)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        return ReadProfile(None, (ProfileFault(_line_in(str(error)), f"this is not TOML: {error}"),))
    faults = Faults(TomlLines(text))
    profile = _profile(Table(values, (), faults))
    if not faults.found:
        check_vectors(profile, faults)
    return ReadProfile(None if faults.found else profile, faults.sorted())


def _profile(top: Table) -> Profile:
    usual, limits = _usual(top), top.table("limits") or Table({}, ("limits",), top.faults)
    registers = tuple(row for row in (_register(table, usual) for table in top.rows("registers")) if row)
    table = MeterTable(
        registers,
        _serial(top, usual),
        _probe(top, usual),
        limits.integer("max_registers", 1, MAX_REGISTERS, 80),
        limits.integer("max_hole", 0, MAX_REGISTERS, 16),
    )
    limits.finish()
    profile = Profile(
        _name(top), top.text("title"), top.text("document"), top.choice("commodity", {c: c for c in COMMODITIES}, "electricity"),
        top.integer("phases", 1, 3, 1), _line(top), table, tuple(_vectors(top)), _pulse(top),
    )  # fmt: skip
    top.finish()
    check_registers(profile, top)
    check_identity(profile, top)
    return profile


def _name(top: Table) -> str:
    name = top.text("name")
    if name and (not name.replace("-", "").isalnum() or name != name.lower() or not name.isascii()):
        top.fault("name", f"name = {name!r}: use small letters, digits and '-'")
    return name


def _usual(top: Table) -> _Usual:
    table = top.table("modbus") or Table({}, ("modbus",), top.faults)
    usual = _Usual(
        table.choice("function", FUNCTIONS, Function.READ_INPUT),
        table.choice("type", KINDS, Kind.F32),
        table.choice("order", ORDERS, WordOrder.BIG),
    )
    table.finish()
    return usual


def _line(top: Table) -> LineDefaults:
    table = top.table("line") or Table({}, ("line",), top.faults)
    line = LineDefaults(
        table.choice("baud", BAUDS, 9_600),
        table.integer("data_bits", 7, 8, 8),
        table.choice("parity", {p: p for p in "NEO"}, "N"),
        table.integer("stop_bits", 1, 2, 1),
        table.integer("turnaround_ms", 0, 5_000, 20),
    )
    table.finish()
    return line


def _register(table: Table, usual: _Usual) -> Register | None:
    quantity, unit = table.choice("quantity", {q: q for q in BY_NAME}), table.choice("unit", {u: u for u in UNITS})
    kind = table.choice("type", KINDS, usual.kind)
    scale = table.number("scale", Fraction(1)) or Fraction(1)
    row = Register(
        quantity, table.integer("address", 0, TOP), unit, table.number("low"), table.number("high"), kind,
        table.choice("function", FUNCTIONS, usual.function), table.choice("order", ORDERS, usual.order), scale,
        table.number("offset", Fraction(0)) or Fraction(0), table.integers("absent"),
        table.choice("encoding", ENCODINGS, Encoding.PLAIN),
        table.integer("exponent_at", 0, TOP) if table.has("exponent_at") else None,
    )  # fmt: skip
    table.finish()
    return row if _sound(row, table) else None


def _sound(row: Register, table: Table) -> bool:
    ours, theirs = BY_NAME[row.quantity].unit, UNITS[row.unit][0]
    if ours != theirs:
        fitting_units = ", ".join(unit for unit, (base, _) in UNITS.items() if base == ours)
        table.fault("unit", f"{row.quantity} is not measured in {row.unit}; write one of {fitting_units}")
        return False
    if row.end > TOP + 1:
        table.fault("address", f"0x{row.address:04X} leaves no room for {row.kind.words} registers")
        return False
    low, high = row.range
    if low >= high:
        table.fault("low", f"low = {float(low):g} must be below high = {float(high):g}")
        return False
    return True


def _serial(top: Table, usual: _Usual) -> SerialCell | None:
    table = top.table("serial")
    if table is None:
        return None
    form = table.choice("form", FORMS, SerialForm.NUMBER)
    cell = SerialCell(
        table.integer("address", 0, TOP),
        table.integer("words", 1, 32, 2),
        form,
        table.choice("function", FUNCTIONS, usual.function),
        table.choice("order", ORDERS, WordOrder.BIG),
    )
    table.finish()
    return cell


def _probe(top: Table, usual: _Usual) -> Probe | None:
    table = top.table("probe")
    if table is None:
        return None
    probe = Probe(
        table.text("what"),
        table.integer("address", 0, TOP),
        table.choice("type", KINDS, usual.kind),
        table.choice("function", FUNCTIONS, usual.function),
        table.choice("order", ORDERS, usual.order),
        table.integers("values") or frozenset(),
        float(table.number("low") or 0),
        float(table.number("high") or 0),
    )
    if not probe.values and probe.low >= probe.high:
        table.fault("values", "a probe needs values = [...] (model numbers), or low and high of a plausible value")
    table.finish()
    return probe


def _pulse(top: Table) -> Pulse | None:
    table = top.table("pulse")
    if table is None:
        return None
    pulse = Pulse(table.integer("channels", 1, 64), table.integer("stride", 1, 256))
    table.finish()
    return pulse


def _vectors(top: Table) -> Iterator[Vector]:
    for table in top.rows("vectors"):
        expects = table.table("expects")
        pairs = tuple((name, str(value)) for name, value in (expects.values.items() if expects else ()))
        for name, value in pairs:
            if name not in BY_NAME:
                top.faults.add((*table.path, "expects"), f"{name}: {nearest(name, list(BY_NAME))}")
            elif value != INVALID_TEXT and not value.lstrip("-").isdecimal():
                top.faults.add((*table.path, "expects", name), f'{name} = {value}: write a whole number, or "{INVALID_TEXT}"')
        if not pairs:
            table.fault("expects", "a vector needs expects = { quantity = whole number, ... }")
        origin, name, source = table.choice("origin", ORIGINS), table.text("name"), table.text("source")
        yield Vector(name, origin, source, pairs, _octets(table), table.text("reference", ""))
        table.finish()


def _octets(table: Table) -> bytes:
    try:
        return bytes.fromhex(table.text("data", ""))
    except ValueError:
        table.fault("data", "data must be hexadecimal digits: a request, the answer behind it, and so on")
        return b""


def _line_in(message: str) -> int:
    """The line in a message of the TOML reader, "... (at line 3, column 5)"."""
    _, found, rest = message.partition("at line ")
    number = rest.split(",")[0] if found else ""
    return int(number) if number.isdecimal() else 1
