"""Every driver of the registry by its own vectors; a new meter model needs no new test."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.drivers.driver import Driver, Origin, Vector
from gridtally_edge.drivers.modbus_profile import built_in, profile_names
from gridtally_edge.drivers.modbus_table import UNITS
from gridtally_edge.drivers.registry import all_drivers, by_name, driver_named
from gridtally_edge.protocols.modbus import MAX_REGISTERS
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.quantities import BY_NAME
from support.data import data_path

ALL = all_drivers()
VECTORS = [(driver, vector) for driver in ALL for vector in driver.vectors]


def case_octets(reference: str) -> bytes:
    """The octets a reference names: a case by its `name` or `model`, in one string or as recorded frames."""
    path, _, wanted = reference.partition("#")
    if path.endswith(".hex"):
        return bytes.fromhex(data_path(path).read_text())
    content = json.loads(data_path(path).read_text())
    rows = content if isinstance(content, list) else next(v for v in content.values() if isinstance(v, list))
    row = next(r for r in rows if wanted in (r.get("name"), r.get("model"), r.get("id")))
    if "telegram" in row:
        return str(row["telegram"]).encode("latin-1")
    if "rtu_frames" in row:
        return b"".join(bytes.fromhex(f["request_hex"] + f["response_hex"]) for f in row["rtu_frames"])
    return bytes.fromhex(next(row[key] for key in ("hex", "frame_hex", "bytes_hex", "data_hex") if key in row))


def octets_of(vector: Vector) -> bytes:
    return vector.data or case_octets(vector.reference)


@pytest.mark.parametrize(("driver", "vector"), VECTORS, ids=lambda part: part.name.replace(" ", "-"))
def test_a_driver_reads_its_vectors(driver: Driver, vector: Vector):
    assert sorted(driver.read_vector(octets_of(vector))) == sorted(vector.expects)


@pytest.mark.parametrize("driver", ALL, ids=lambda d: d.name)
def test_a_driver_brings_proof_from_outside(driver: Driver):
    assert driver.vectors, "a driver without vectors is an opinion"
    for vector in driver.vectors:
        assert isinstance(vector.origin, Origin)
        assert vector.source
        assert vector.expects
        assert bool(vector.data) != bool(vector.reference), "octets or a reference, not both"
        assert vector.origin is not Origin.CAPTURED or vector.reference, "captured octets are kept by reference"


@pytest.mark.parametrize(("driver", "vector"), VECTORS, ids=lambda part: part.name.replace(" ", "-"))
def test_what_a_vector_expects_are_quantities_or_obis_codes(driver: Driver, vector: Vector):
    for name, _ in vector.expects:
        assert name in BY_NAME or name == "time_ms" or str(Obis.of(name)) == name


@pytest.mark.parametrize("driver", ALL, ids=lambda d: d.name)
def test_a_driver_says_what_it_was_made_from(driver: Driver):
    assert driver.title
    assert driver.document
    assert driver.line.baud in (300, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200)


@pytest.mark.parametrize("driver", ALL, ids=lambda d: d.name)
@given(octets=st.binary(max_size=120))
def test_any_octets_are_readings_or_a_meter_fault(driver: Driver, octets: bytes):
    with contextlib.suppress(MeterFault):
        assert isinstance(driver.read_vector(octets), tuple)


@pytest.mark.parametrize("name", profile_names())
def test_a_modbus_table_has_no_twin_no_unknown_unit_and_fits_its_requests(name: str):
    table = built_in(name).table
    assert len({r.quantity for r in table.registers}) == len(table.registers)
    assert len({(r.function, r.address) for r in table.registers}) == len(table.registers)
    for register in table.registers:
        assert UNITS[register.unit][0] == BY_NAME[register.quantity].unit
        assert register.range[0] < register.range[1]
    for block in table.blocks():
        assert block.count <= table.max_registers <= MAX_REGISTERS
    assert sorted(r.address for block in table.blocks() for r in block.registers) == sorted(r.address for r in table.registers)


def test_two_drivers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two drivers"):
        by_name((*ALL, ALL[0]))


def test_an_unknown_driver_is_answered_with_the_known_names():
    with pytest.raises(ConfigError, match="eastron-sdm230"):
        driver_named("eastron-sdm9000")
    assert driver_named("eastron-sdm230") is driver_named("eastron-sdm230")
