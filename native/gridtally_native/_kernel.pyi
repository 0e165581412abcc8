from array import array

from typing_extensions import Buffer

from gridtally_native._records import Aggregates, RegisterIntervals, RegisterTable

def aggregate(
    meters: Buffer, at_ms: Buffer, values: Buffer, start_ms: int, period_ms: int, n: int | None = None
) -> Aggregates: ...
def register_intervals(
    at_ms: Buffer,
    register_wh: Buffer,
    start_ms: int,
    period_ms: int,
    n: int,
    max_gap_ms: int,
    *,
    rollover_wh: int = 0,
    max_power_w: int = 0,
    resolution_wh: int = 1,
    clock_steps: bool = False,
) -> RegisterIntervals: ...
def register_intervals_many(
    meters: Buffer,
    at_ms: Buffer,
    register_wh: Buffer,
    start_ms: int,
    period_ms: int,
    n: int,
    max_gap_ms: int,
    *,
    rollover_wh: int = 0,
    max_power_w: int = 0,
    resolution_wh: int = 1,
    clock_steps: bool = False,
) -> RegisterTable: ...
def encode_block(values: Buffer, present: Buffer | None = None) -> bytes: ...
def encode_blocks(
    values: Buffer, sizes: Buffer, present: Buffer | None = None
) -> tuple[list[bytes], array[int], array[int]]: ...
def decode_block(data: Buffer) -> tuple[array[int], bytes]: ...
def crc16_x25(data: Buffer) -> int: ...
def crc16_modbus(data: Buffer) -> int: ...
