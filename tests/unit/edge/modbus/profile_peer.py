"""A foreign Modbus slave (pymodbus) in a process of its own, with the registers of many meters.

    python profile_peer.py '{"serial": "/dev/pts/7", "units": {"1": [[4, 0, "f32", "ABCD", 230.5], [3, 9, "text", "", "AB12", 7]]}}'

Serves RTU frames over TCP, Modbus TCP, and the serial port when one is named. The first line printed holds both port numbers.
A cell is [function, address, type, word order, raw value]; a text has its number of registers behind it.
"""

import asyncio
import json
import sys

from pymodbus import FramerType
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

KINDS = ModbusClientMixin.DATATYPE
TYPES = {
    "u16": KINDS.UINT16, "s16": KINDS.INT16, "u32": KINDS.UINT32, "s32": KINDS.INT32,
    "u64": KINDS.UINT64, "s64": KINDS.INT64, "f32": KINDS.FLOAT32, "f64": KINDS.FLOAT64,
}  # fmt: skip
BOARD = 200
COILS, INPUTS = [False] * 16, [False, True] * 8
UNUSED = [SimData(0, values=False, datatype=DataType.BITS)]


def registers(kind, order, value, count=0):
    if kind == "text":
        words = ModbusClientMixin.convert_to_registers(value, KINDS.STRING)
        return words + [0] * (count - len(words))
    return ModbusClientMixin.convert_to_registers(value, TYPES[kind], word_order="little" if order == "CDAB" else "big")


def area(cells, function):
    """The cells of a function, with zeros between them, as a meter's own memory has them."""
    held = {}
    for its_function, address, *rest in cells:
        if its_function == function:
            held.update(enumerate(registers(*rest), start=address))
    if not held:
        return [SimData(0, values=0, datatype=DataType.REGISTERS)]
    words = [held.get(at, 0) for at in range(min(held), max(held) + 1)]
    return [SimData(min(held), values=words, datatype=DataType.REGISTERS)]


def board():
    """A relay board: sixteen coils, sixteen inputs of which every second is on, four registers."""
    coils, inputs = (SimData(0, values=bits, datatype=DataType.BITS) for bits in (COILS, INPUTS))
    registers_ = SimData(0, values=[4711, 0, 0, 0], datatype=DataType.REGISTERS)
    return SimDevice(BOARD, simdata=([coils], [inputs], [registers_], [SimData(0, values=0, datatype=DataType.REGISTERS)]))


async def serve(what):
    devices = [SimDevice(int(unit), simdata=(UNUSED, UNUSED, area(cells, 3), area(cells, 4))) for unit, cells in what["units"].items()]
    silent = {"ignore_missing_devices": True}
    devices.append(board())
    servers = [
        ModbusTcpServer(devices, framer=FramerType.RTU, address=("127.0.0.1", 0), **silent),
        ModbusTcpServer(devices, address=("127.0.0.1", 0), **silent),
    ]
    if what["serial"]:
        servers.append(ModbusSerialServer(devices, framer=FramerType.RTU, port=what["serial"], baudrate=19_200, **silent))
    for server in servers:
        await server.serve_forever(background=True)
    print(*(server.transport.sockets[0].getsockname()[1] for server in servers[:2]), flush=True)
    await servers[0].serving


asyncio.run(serve(json.loads(sys.argv[1])))
