"""A foreign Modbus TCP server (pymodbus) in a process of its own: the registers of a few Eastron meters behind a gateway.

    python modbus_peer.py '{"port": 5020, "mute": false, "units": {"1": {"serial": 20000001, "inputs": {"0": 230.5}}}}'

A unit with "coils" is a relay board instead: {"40": {"coils": 8, "contacts": [true, false], "registers": {"9": 0}}}.
A unit that does not exist gets exception 11, as a gateway gives it, or with `mute` no answer at all.
Port 0 takes a free one; the first line printed is its number.
"""

import asyncio
import json
import sys

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

SERIAL_ADDRESS = 0xFC00
UNUSED = [SimData(0, values=False, datatype=DataType.BITS)]
EVERY_OTHER_UNIT = 0


def device(unit, image):
    inputs = [SimData(int(at), values=value, datatype=DataType.FLOAT32) for at, value in image["inputs"].items()]
    holding = [SimData(SERIAL_ADDRESS, values=image["serial"], datatype=DataType.UINT32)]
    return SimDevice(int(unit), simdata=(UNUSED, UNUSED, holding, inputs))


def board(unit, image):
    coils = [SimData(0, values=[False] * image["coils"], datatype=DataType.BITS)]
    contacts = [SimData(0, values=image["contacts"], datatype=DataType.BITS)]
    holding = [SimData(int(at), values=value, datatype=DataType.REGISTERS) for at, value in image["registers"].items()]
    return SimDevice(int(unit), simdata=(coils, contacts, holding, holding))


async def nobody_there(*_):
    return ExcCodes.GATEWAY_NO_RESPONSE


def absent():
    registers = [SimData(0, count=0x10000, values=0, datatype=DataType.REGISTERS)]
    return SimDevice(EVERY_OTHER_UNIT, simdata=(UNUSED, UNUSED, registers, registers), action=nobody_there)


def without_gateway_errors(sending, data):
    is_gateway_error = sending and data[7] > 0x80 and data[8] == ExcCodes.GATEWAY_NO_RESPONSE
    return b"" if is_gateway_error else data


async def serve(what):
    devices = [*((board if "coils" in image else device)(unit, image) for unit, image in what["units"].items()), absent()]
    trace = without_gateway_errors if what["mute"] else None
    server = ModbusTcpServer(devices, address=("127.0.0.1", what["port"]), trace_packet=trace)
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await server.serving


asyncio.run(serve(json.loads(sys.argv[1])))
