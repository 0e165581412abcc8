"""What makes a profile sound beyond its single keys: registers that do not clash, an identity, vectors that hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from gridtally_edge.drivers.driver import LineDefaults, Vector
from gridtally_edge.drivers.modbus_port import read_vector
from gridtally_edge.drivers.modbus_table import MeterTable, Register, block_of
from gridtally_edge.drivers.profile_reader import Faults, Table
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Pulse:
    """A module whose inputs are alike: input n has its cells `stride` registers behind those of input n - 1."""

    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A meter model. `phases` is how many the meter measures; `pulse` is set for a pulse-input module."""

    name: str
    title: str
    document: str
    commodity: str
    phases: int
    line: LineDefaults
    table: MeterTable
    vectors: tuple[Vector, ...]
    pulse: Pulse | None = None


def check_registers(profile: Profile, top: Table) -> None:
    table = profile.table
    if not table.registers and "registers" not in {fault.text.split()[0] for fault in top.faults.found}:
        top.faults.add((), "registers is missing or empty: a profile reads at least one value")
    rows = [(_row_path(top, row), row) for row in table.registers]
    for (_, first), (path, second) in combinations(rows, 2):
        if first.quantity == second.quantity:
            top.faults.add(path, f"{second.quantity} is there twice; keep one of the two")
        clash = _clash(first, second)
        if clash:
            top.faults.add(path, f"{second.quantity} {clash} {first.quantity} (0x{first.address:04X})")
    for path, row in rows:
        if block_of((row,)).count > table.max_registers:
            top.faults.add(path, f"{row.quantity} and its exponent do not fit one request of {table.max_registers} registers")


def _row_path(top: Table, row: Register) -> tuple[str | int, ...]:
    """Where a row stands: rows that were thrown out are not counted, so it is found by what it says."""
    given = top.values.get("registers", [])
    same = (n for n, v in enumerate(given) if v.get("quantity") == row.quantity and v.get("address") == row.address)
    numbers = list(same)
    return ("registers", numbers[-1]) if numbers else ("registers",)


def _clash(first: Register, second: Register) -> str:
    """Two rows may share an exponent cell; no other cell may lie within another."""
    if first.function is not second.function:
        return ""
    exponents = {first.exponent_at, second.exponent_at}
    for a in first.cells:
        for b in second.cells:
            both_exponents = a == b and a[0] in exponents and a not in (first.cells[0], second.cells[0])
            if a[0] < b[1] and b[0] < a[1] and not both_exponents:
                return f"at 0x{second.address:04X} overlaps the registers of"
    return ""


def check_identity(profile: Profile, top: Table) -> None:
    table = profile.table
    if table.serial is None and table.probe is None:
        top.faults.add((), "needs [serial] (where the meter keeps its serial number), or [probe] for a meter that tells none")
    if profile.pulse and table.serial:
        top.faults.add(("serial",), "a pulse module does not know the serial of the meter on its input: leave [serial] out")
    if not profile.vectors:
        top.faults.add((), "needs at least one [[vectors]]: octets from outside and what they mean")
    for number, vector in enumerate(profile.vectors):
        if bool(vector.data) == bool(vector.reference):
            top.faults.add(("vectors", number), f"vector {vector.name!r} needs either data or reference")


def check_vectors(profile: Profile, faults: Faults) -> None:
    for number, vector in enumerate(profile.vectors):
        if vector.data:
            for text in _misread(profile, vector):
                faults.add(("vectors", number), f"vector {vector.name!r}: {text}")


def _misread(profile: Profile, vector: Vector) -> Iterator[str]:
    try:
        got = dict(read_vector(profile.table, vector.data))
    except MeterFault as error:
        yield str(error)
        return
    for name, value in vector.expects:
        if name not in got:
            yield f"{name} is not read from these octets"
        elif got[name] != value:
            yield f"{name} must be {value}, the profile reads {got[name]}"
    for name in sorted(got.keys() - dict(vector.expects).keys()):
        yield f"{name} is read as {got[name]}, and expects does not say what it must be"
