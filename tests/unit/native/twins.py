"""The pure and the compiled module of each pair, by name. The compiled one is left out only where nothing demands it."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from support.required import missing

PURE = {"kernel": "_pure", "windows": "_pure_windows", "axdr": "_pure_axdr", "screen": "_pure_screen"}


def compiled_of(pair: str) -> ModuleType:
    try:
        return importlib.import_module(f"gridtally_native._{pair}")
    except ImportError:
        missing("native", f"the compiled twin is not built: cythonize -i native/gridtally_native/_{pair}.pyx")
        raise


def twin_of(pair: str, which: str) -> ModuleType:
    return compiled_of(pair) if which == "compiled" else importlib.import_module(f"gridtally_native.{PURE[pair]}")


def both(pair: str) -> tuple[str, ...]:
    """Without a compiler there is only one; where GRIDTALLY_REQUIRE names native, a missing one fails."""
    try:
        importlib.import_module(f"gridtally_native._{pair}")
    except ImportError:
        return ("pure", "compiled") if "native" in os.environ.get("GRIDTALLY_REQUIRE", "") else ("pure",)
    return "pure", "compiled"
