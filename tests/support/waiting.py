"""Wait for a condition with a deadline instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], within_s: float, about: str = "") -> T:
    """Call `condition` until it gives something true and return that; AssertionError after `within_s` real seconds."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {about or getattr(condition, '__name__', condition)}")
        _pause()


def _pause() -> None:
    import threading

    threading.Event().wait(0.01)
