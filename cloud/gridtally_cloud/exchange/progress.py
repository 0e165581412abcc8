"""A bar on the terminal for work that takes long; silent where nobody watches."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

WIDTH = 30
FIRST_AFTER_S, EVERY_S = 0.5, 0.2


class Bar:
    """Shown from half a second on, only on a terminal."""

    def __init__(self, out: TextIO, about: str) -> None:
        self._out, self._about = out, about
        self._next_s = time.monotonic() + FIRST_AFTER_S if out.isatty() else float("inf")
        self._shown = ""

    def at(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        width = shutil.get_terminal_size().columns - len(self._about) - len(f"[]  100% {total} of {total}") - 2
        self._next_s, self._shown = now_s + EVERY_S, f"{self._about} {drawn(done, total, max(4, min(WIDTH, width)))}"
        self._out.write(f"\r{self._shown}")
        self._out.flush()

    def end(self) -> None:
        if self._shown:
            self._out.write("\r" + " " * len(self._shown) + "\r")
            self._out.flush()


def drawn(done: int, total: int, width: int = WIDTH) -> str:
    share = min(1.0, done / total) if total else 1.0
    full = int(share * width)
    return f"[{'#' * full}{'.' * (width - full)}] {share:4.0%} {done} of {total}"
