"""The hot loops of gridtally: interval aggregation, register to energy, demand, screening, block codec, profile buffers, frame checks.

* Two twins do the same: `_kernel`, `_windows`, `_axdr`, `_screen` (compiled, Cython) and `_pure`, `_pure_windows`, `_pure_axdr`,
  `_pure_screen` (plain Python). `BACKEND` says which ones are in use, all or none: "cython" or "pure".
  `GRIDTALLY_NO_NATIVE=1`, read once at import, forces the pure ones.
* Arguments are typed buffers, never one reading a call. Ranges and results: `_records`.
* Imports nothing else of gridtally.
"""

from __future__ import annotations

import os

from gridtally_native._records import (
    CLOCK,
    MAX_BLOCK,
    MAX_PERMILLE,
    MAX_SCREEN,
    MISSING,
    PARTIAL,
    POWER_FAIL,
    RESET,
    ROLLOVER,
    SCREEN_DARK_USE,
    SCREEN_GAP,
    SCREEN_LIMIT,
    SCREEN_MARKED,
    SCREEN_SPIKE,
    SCREEN_STUCK,
    SCREEN_ZERO,
    Aggregates,
    Demand,
    ProfileTable,
    RegisterIntervals,
    RegisterTable,
    TouTotals,
)

BACKEND = "pure"

if os.environ.get("GRIDTALLY_NO_NATIVE") != "1":
    try:
        from gridtally_native._axdr import profile_table
        from gridtally_native._kernel import (
            aggregate,
            crc16_modbus,
            crc16_x25,
            decode_block,
            encode_block,
            encode_blocks,
            register_intervals,
            register_intervals_many,
        )
        from gridtally_native._screen import screen_days
        from gridtally_native._windows import demand_windows, lay_on_grid, tou_totals

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
        encode_blocks,
        register_intervals,
        register_intervals_many,
    )
    from gridtally_native._pure_axdr import profile_table
    from gridtally_native._pure_screen import screen_days
    from gridtally_native._pure_windows import demand_windows, lay_on_grid, tou_totals

__all__ = [
    "BACKEND",
    "CLOCK",
    "MAX_BLOCK",
    "MAX_PERMILLE",
    "MAX_SCREEN",
    "MISSING",
    "PARTIAL",
    "POWER_FAIL",
    "RESET",
    "ROLLOVER",
    "SCREEN_DARK_USE",
    "SCREEN_GAP",
    "SCREEN_LIMIT",
    "SCREEN_MARKED",
    "SCREEN_SPIKE",
    "SCREEN_STUCK",
    "SCREEN_ZERO",
    "Aggregates",
    "Demand",
    "ProfileTable",
    "RegisterIntervals",
    "RegisterTable",
    "TouTotals",
    "aggregate",
    "crc16_modbus",
    "crc16_x25",
    "decode_block",
    "demand_windows",
    "encode_block",
    "encode_blocks",
    "lay_on_grid",
    "profile_table",
    "register_intervals",
    "register_intervals_many",
    "screen_days",
    "tou_totals",
]
