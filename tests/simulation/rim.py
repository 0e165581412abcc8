"""The operating system as the simulation gives it: random bytes out of the seed, and a disk in memory.

The product asks the system for ids (`os.urandom`, `secrets`). While a world runs they come out of its seed, so that the
same seed gives the same bytes in every process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@contextlib.contextmanager
def seeded_system(seed: str) -> Iterator[None]:
    """`os.urandom`, and `secrets` on top of it, give bytes of the seed while the block runs."""
    source = random.Random(f"system:{seed}")
    real = os.urandom, random._urandom  # type: ignore[attr-defined]
    os.urandom = random._urandom = source.randbytes  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.urandom, random._urandom = real  # type: ignore[attr-defined]


@contextlib.contextmanager
def collected_once() -> Iterator[None]:
    """The cyclic garbage collector runs once, after the block, over what the block made: a world lives a second, and walking all
    imported modules again and again during it took a third of that (2.65 s of CPU a seed with, 1.8 without)."""
    if not gc.isenabled():
        yield
        return
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()


@cache
def memory_folder() -> str | None:
    """A folder that lives in memory, where the system has one: thousands of short-lived stores."""
    shared = Path("/dev/shm")
    return str(shared) if os.access(shared, os.W_OK | os.X_OK) else None


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gridtally-sim-", dir=memory_folder())
