"""Time at the rim. Everywhere else time is an argument: int milliseconds UTC.

* `SystemClock` is the machine's UTC.
* `SharedClock` is virtual time for the demo and the tests: UTC is a continuous, piecewise linear function of
  CLOCK_MONOTONIC, written in one small file that every process of the demo reads. A change of speed starts at a
  monotonic instant in the near future, so no two processes ever disagree.

Scaled by virtual time: tariffs, intervals, schedules, command expiry and resend. Real: time-outs of lines, MQTT,
TLS and web sessions (architecture.md 7).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Protocol

from gridtally_shared.records import dataclass

MS_PER_HOUR = 3_600_000
MS_PER_DAY = 86_400_000


class Clock(Protocol):
    """What the rim is given: UTC in milliseconds, and how fast it runs against real seconds."""

    def now_ms(self) -> int: ...

    def factor(self) -> float: ...


class SystemClock:
    """The machine's own UTC."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def factor(self) -> float:
        return 1.0


class ManualClock:
    """A clock wound by hand, for tests and replays."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def factor(self) -> float:
        return 1.0

    def advance(self, delta_ms: int) -> None:
        self._now_ms += delta_ms


@dataclass(frozen=True, slots=True)
class Segment:
    """From monotonic instant `from_ns` on, UTC is `utc_ms` plus `factor` times the time since."""

    from_ns: int
    utc_ms: int
    factor: float

    def at(self, monotonic_ns: int) -> int:
        return self.utc_ms + int((monotonic_ns - self.from_ns) * self.factor / 1e6)


class SharedClock:
    """Virtual UTC out of a file of segments; safe to use from many processes and threads."""

    _RECHECK_NS = 200_000_000
    _LEAD_NS = 1_000_000_000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checked_ns = 0
        self._stamp: tuple[int, int] = (0, 0)
        self._segments: tuple[Segment, ...] = ()
        self._reload(time.monotonic_ns())

    @classmethod
    def create(cls, path: Path, start_utc_ms: int, factor: float) -> SharedClock:
        """Write a new clock file whose time starts at `start_utc_ms` now and runs `factor` times real time."""
        _write(path, (Segment(time.monotonic_ns(), start_utc_ms, factor),))
        return cls(path)

    def now_ms(self) -> int:
        now_ns = time.monotonic_ns()
        return self._segment(now_ns).at(now_ns)

    def factor(self) -> float:
        return self._segment(time.monotonic_ns()).factor

    def set_factor(self, factor: float) -> None:
        """Change the speed one second from now, for every process that reads the file."""
        start_ns = time.monotonic_ns() + self._LEAD_NS
        self._reload(time.monotonic_ns())
        kept = tuple(s for s in self._segments if s.from_ns <= start_ns)
        _write(self._path, (*kept[-4:], Segment(start_ns, kept[-1].at(start_ns), factor)))
        self._checked_ns = 0

    def _segment(self, now_ns: int) -> Segment:
        if now_ns - self._checked_ns > self._RECHECK_NS:
            self._reload(now_ns)
        started = [s for s in self._segments if s.from_ns <= now_ns]
        return started[-1] if started else self._segments[0]

    def _reload(self, now_ns: int) -> None:
        self._checked_ns = now_ns
        info = self._path.stat()
        stamp = (info.st_mtime_ns, info.st_ino)
        if stamp != self._stamp:
            rows = json.loads(self._path.read_text())["segments"]
            self._segments = tuple(Segment(int(r[0]), int(r[1]), float(r[2])) for r in rows)
            self._stamp = stamp


def _write(path: Path, segments: tuple[Segment, ...]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"segments": [[s.from_ns, s.utc_ms, s.factor] for s in segments]}))
    os.replace(temporary, path)


def clock_from(virtual_clock_file: str | None) -> Clock:
    """The clock a configuration asks for: a shared virtual one where a file is named, else the machine's."""
    return SharedClock(Path(virtual_clock_file)) if virtual_clock_file else SystemClock()
