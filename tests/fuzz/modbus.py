"""Modbus against bytes nobody meant to send: answers, bits, recordings, profiles, requests as a slave hears them."""

from collections.abc import Callable

from gridtally_edge.drivers.modbus_decode import BlockDecoder
from gridtally_edge.drivers.modbus_port import read_vector, serial_text
from gridtally_edge.drivers.modbus_profile import built_in, read_profile
from gridtally_edge.drivers.modbus_table import SerialCell, SerialForm
from gridtally_edge.protocols.modbus import Function, Query, ReadRequest, decode_answer
from gridtally_edge.protocols.modbus_bits import read_bits_request, write_coil_request
from gridtally_edge.simulators.rtu_ear import RtuEar
from gridtally_shared.errors import MeterFault

_VOLTS = Query(ReadRequest(1, Function.READ_INPUT, 0, 2))
_COILS = read_bits_request(1, 1, 0, 12)
_WRITE = write_coil_request(1, 2, True)
_TABLES = [built_in(name).table for name in ("eastron-sdm630", "abb-b23", "gavazzi-em24", "schneider-iem3000")]
_BLOCKS = [BlockDecoder(block) for table in _TABLES for block in table.blocks()]
_VECTORS = [v.data for name in ("eastron-sdm630", "abb-b23", "gavazzi-em24", "selec-em2m") for v in built_in(name).vectors if v.data]
_ANSWER = bytes.fromhex("010404436633341b38")
_PROFILE = b"""name = "x"
registers = [ { quantity = "voltage_mv", address = 0, unit = "V", scale = 0.1, low = -1, absent = [1], exponent_at = 9 } ]
[modbus]
function = 4
[serial]
address = 9
[probe]
what = "f"
values = [1]
[[vectors]]
data = "0104"
[vectors.expects]
voltage_mv = 1
"""


def _answer(data: bytes) -> object:
    found = _VOLTS.find(data)
    if found is not None:
        assert _VOLTS.octets(data[found.start : found.end]) is not None
    return decode_answer(_VOLTS.request, data)


def _bits(data: bytes) -> object:
    for request in (_COILS, _WRITE):
        found = request.find(data)
        assert found is None or request.decode(data[found.start : found.end]) is not None
    return _COILS.decode(data)


def _blocks(data: bytes) -> object:
    refused = 0
    for decoder in _BLOCKS:
        try:
            decoder.readings(data, 0)
        except MeterFault:
            refused += 1
    return refused


def _recording(data: bytes) -> object:
    return [read_vector(table, data) for table in _TABLES]


def _serial(data: bytes) -> object:
    line = data[: len(data) // 2 * 2]
    return [serial_text(SerialCell(0, len(line) // 2, form), line) for form in SerialForm]


def _profile(data: bytes) -> object:
    return read_profile(data.decode("utf-8", "replace"))


def _ear(data: bytes) -> object:
    return list(RtuEar(1).requests(data))


DECODERS: dict[str, Callable[[bytes], object]] = {
    "answer": _answer,
    "bits": _bits,
    "blocks": _blocks,
    "recording": _recording,
    "serial": _serial,
    "profile": _profile,
    "ear": _ear,
}
SEEDS: dict[str, list[bytes]] = {
    "answer": [_ANSWER, bytes.fromhex("0184028251")],
    "bits": [_WRITE.wire, _COILS.wire],
    "blocks": [bytes(2 * n) for n in (8, 59, 66, 80)],
    "recording": _VECTORS,
    "serial": [b"AB12\0\0"],
    "profile": [_PROFILE],
    "ear": [_VOLTS.request.to_bytes(), _WRITE.wire],
}
