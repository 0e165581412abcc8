"""The hot loops of gridtally: interval aggregation, register to energy, block codec, frame checks.

* Two twins do the same: `_kernel` (compiled, Cython) and `_pure` (plain Python). `BACKEND` says which one is in use:
  "cython" or "pure". `GRIDTALLY_NO_NATIVE=1`, read once at import, forces the pure one.
* Arguments are typed buffers, never one reading a call. Ranges and results: `_records`.
* Imports nothing else of gridtally.
"""

from __future__ import annotations

import os

from gridtally_native._records import (
    MAX_BLOCK,
    MISSING,
    PARTIAL,
    RESET,
    ROLLOVER,
    Aggregates,
    RegisterIntervals,
    RegisterTable,
)

BACKEND = "pure"

if os.environ.get("GRIDTALLY_NO_NATIVE") != "1":
    try:
        from gridtally_native._kernel import (
            aggregate,
            crc16_modbus,
            crc16_x25,
            decode_block,
            encode_block,
            register_intervals,
            register_intervals_many,
        )

        BACKEND = "cython"
    except ImportError:
        pass

if BACKEND == "pure":
    from gridtally_native._pure import (
        aggregate,
        crc16_modbus,
        crc16_x25,
        decode_block,
        encode_block,
        register_intervals,
        register_intervals_many,
    )

__all__ = [
    "BACKEND",
    "MAX_BLOCK",
    "MISSING",
    "PARTIAL",
    "RESET",
    "ROLLOVER",
    "Aggregates",
    "RegisterIntervals",
    "RegisterTable",
    "aggregate",
    "crc16_modbus",
    "crc16_x25",
    "decode_block",
    "encode_block",
    "register_intervals",
    "register_intervals_many",
]
