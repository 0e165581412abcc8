"""The durable book of invocation counters: no number is ever sent twice under one key (safety.md 10).

* A range of `RANGE` numbers is on disk as used before the first of them is given out. After any restart the rest of
  the range is lost, never reused; a key has four thousand million numbers.
* A book that was last written long ago may be an old disk image: it jumps ahead by what could have been sent since
  (`RATE_PER_S`, at most `LONGEST_JUMP`). `restored` jumps where somebody knows of a restore. Channels the file does not
  know start behind the jumps too.
* Numbers received are kept so that a replay of an earlier association is refused too; they reach the disk with each
  range, after `LAG` of them, and on `close`.
* The file is replaced as a whole, synced, with a checksum over its content; a damaged one is a ConfigError, never a
  fresh start.

Source: IEC 62056-5-3, 5.3.7; protocols.md 1.4.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, field
from pathlib import Path
from typing import Final

from gridtally_edge.protocols.dlms.counters import HIGHEST
from gridtally_edge.registry import write_atomically
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.records import dataclass

COUNTERS_FILE: Final = "counters.json"
RANGE: Final = 256
LAG: Final = 64
RATE_PER_S: Final = 4
LONGEST_JUMP: Final = 1 << 28
RESTORE_JUMP: Final = 1 << 20
FIRST: Final = 1


@dataclass(frozen=True, slots=True)
class Page:
    """What the file holds. `reserved`: the first number of each channel not yet spoken for; `floor`: where a channel
    starts that the file does not know; `heard`: the highest number received; `generations`: which keys a meter has."""

    written_ms: int | None = None
    floor: int = FIRST
    reserved: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)


class CounterBook:
    """A `Counters` (protocols/dlms/counters.py) on one file; one process at a time, any thread. Raises ConfigError for
    a file that can not be read. `now_ms` is the time as well as it is known."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._page = _load(path)
        self._now_ms = now_ms
        self._loaded_ms = self._page.written_ms
        self._floor = self._page.floor
        self._next = dict(self._page.reserved)
        self._heard = dict(self._page.heard)
        self._generations = dict(self._page.generations)
        self._unwritten = 0
        self._jump(self._sendable())

    def take(self, channel: str) -> int:
        with self._lock:
            number = self._next.get(channel, self._floor)
            if number > HIGHEST:
                raise MeterFault("the invocation counter of this key is used up; the meter needs a new key")
            if number >= self._page.reserved.get(channel, 0):
                self._write({**self._page.reserved, channel: number + RANGE})
            self._next[channel] = number + 1
            return number

    def next_of(self, channel: str) -> int:
        with self._lock:
            return self._next.get(channel, self._floor)

    def raise_to(self, channel: str, counter: int) -> None:
        with self._lock:
            self._next[channel] = max(self._next.get(channel, self._floor), counter)

    def hear(self, channel: str, counter: int) -> bool:
        with self._lock:
            if counter <= self._heard.get(channel, -1):
                return False
            self._heard[channel] = counter
            self._unwritten += 1
            if self._unwritten >= LAG:
                self._write(self._page.reserved)
            return True

    def generation_of(self, name: str) -> int:
        with self._lock:
            return self._generations.get(name, 0)

    def keep_generation(self, name: str, generation: int) -> None:
        with self._lock:
            if self._generations.get(name, 0) != generation:
                self._generations[name] = generation
                self._write(self._page.reserved)

    def restored(self) -> None:
        """The file came out of a copy: numbers beyond it may have been sent. To be called once the time is trusted; the
        same copy restored again later jumps further by the time between."""
        with self._lock:
            self._jump(RESTORE_JUMP + self._sendable())
            self._write(dict(self._next))

    def close(self) -> None:
        """Note what was heard. Leaving without it is safe too."""
        with self._lock:
            if self._unwritten:
                self._write(self._page.reserved)

    def _sendable(self) -> int:
        """How many numbers may have been sent since the file that was loaded was written."""
        if self._loaded_ms is None:
            return 0
        return min(max(0, self._now_ms() - self._loaded_ms) // 1_000 * RATE_PER_S, LONGEST_JUMP)

    def _jump(self, numbers: int) -> None:
        self._floor += numbers
        self._next = {channel: counter + numbers for channel, counter in self._next.items()}

    def _write(self, reserved: dict[str, int]) -> None:
        """On disk first; only then it counts."""
        page = Page(self._now_ms(), self._floor, reserved, dict(self._heard), dict(self._generations))
        try:
            write_atomically(self._path, _content(page))
        except OSError as error:
            raise LinkDown(f"the counters can not be kept in {self._path} ({error.strerror}), so nothing is sent") from None
        self._page, self._unwritten = page, 0


def _content(page: Page) -> bytes:
    body = json.dumps(asdict(page), sort_keys=True, indent=1)
    return f"{zlib.crc32(body.encode()):08x}\n{body}\n".encode()


def _load(path: Path) -> Page:
    try:
        check, _, body = path.read_text().partition("\n")
    except FileNotFoundError:
        return Page()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from None
    if check != f"{zlib.crc32(body.removesuffix(chr(10)).encode()):08x}":
        raise _unreadable(path, "its checksum is wrong")
    try:
        found = json.loads(body)
        channels = (_numbers(found.get(name, {})) for name in ("reserved", "heard", "generations"))
        return Page(int(found["written_ms"]), int(found["floor"]), *channels)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"it holds something else ({error})") from None


def _numbers(found: dict[str, int]) -> dict[str, int]:
    return {str(channel): int(counter) for channel, counter in found.items()}


def _unreadable(path: Path, why: str) -> ConfigError:
    remedy = f"{why}; put back a copy and say so with 'restored', or give the meters new keys before removing the file"
    return ConfigError("data_dir", str(path), remedy)
