"""Oddities of real DLMS meters on demand: one board per simulated meter, changed from any thread.

* A quirk acts a number of times, or until it is cleared. What a line does to bytes is in faults.py; here is what the meter
  itself does wrong: answers that break the standard, links that are dropped, images that do not verify.

Source: protocols.md 1.4 (tolerance list), 2 (oddities of the peers), 6.5.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from enum import Enum


class Quirk(Enum):
    """The value is the word of the street's control socket."""

    TRAILING = "trailing-bytes"
    DOUBLE_CLOCK = "double-clock"
    NO_RLRE = "no-rlre"
    EMPTY_UA = "empty-ua"
    ENTRIES_ONLY = "entries-only"
    REJECT = "rej"
    FRAME_REJECT = "frmr"
    BUSY = "rnr"
    FORGET_LINK = "dm"
    LOSE_FRAME = "lose-frame"
    LOSE_GENERAL_BLOCK = "gbt-lose-block"
    COUNTER_ERROR = "counter-error"
    LOSE_BLOCK = "image-lose-block"
    REFUSE_VERIFY = "image-refuse-verify"
    SLOW_VERIFY = "image-slow-verify"
    REBOOT = "image-reboot"


MEANINGS: dict[Quirk, str] = {
    Quirk.TRAILING: "four octets behind the value of a GET answer",
    Quirk.DOUBLE_CLOCK: "the clock's octets come twice in a GET answer",
    Quirk.NO_RLRE: "a release request gets no answer",
    Quirk.EMPTY_UA: "the UA carries no parameters: 128 octets, window 1",
    Quirk.ENTRIES_ONLY: "profiles refuse range access",
    Quirk.REJECT: "an I frame is not taken and answered with REJ",
    Quirk.FRAME_REJECT: "an I frame is answered with FRMR and the link is gone",
    Quirk.BUSY: "an I frame is taken and answered with RNR; the answer comes with the next poll",
    Quirk.FORGET_LINK: "the link is dropped: DM to what comes next",
    Quirk.LOSE_FRAME: "one frame of an answer never leaves the meter (the second of a window)",
    Quirk.LOSE_GENERAL_BLOCK: "one block of a window of general block transfer is lost",
    Quirk.COUNTER_ERROR: "a ciphered request is refused and the expected counter is told 1,000 higher",
    Quirk.LOSE_BLOCK: "an image block is acknowledged and not kept",
    Quirk.REFUSE_VERIFY: "the image does not verify",
    Quirk.SLOW_VERIFY: "verification is answered with temporary failure and goes on; each question for its status uses up one time",
    Quirk.REBOOT: "the meter restarts at activation: it is silent for three requests and every link is gone",
}


class QuirkBoard:
    """The quirks in force on one meter."""

    def __init__(self, always: Iterable[Quirk] = ()) -> None:
        self._lock = threading.Lock()
        self._left: dict[Quirk, int | None] = dict.fromkeys(always)

    def add(self, quirk: Quirk, times: int | None = None) -> None:
        with self._lock:
            self._left[quirk] = times

    def clear(self) -> None:
        with self._lock:
            self._left.clear()

    def listed(self) -> tuple[Quirk, ...]:
        with self._lock:
            return tuple(self._left)

    def acts(self, quirk: Quirk, when: Callable[[], bool] = lambda: True) -> bool:
        """Whether the quirk acts now; uses up one of its times."""
        with self._lock:
            if quirk not in self._left or not when():
                return False
            left = self._left[quirk]
            if left is not None and left <= 1:
                del self._left[quirk]
            elif left is not None:
                self._left[quirk] = left - 1
            return True
