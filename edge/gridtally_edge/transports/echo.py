"""Take the adapter's echo of our own request off the front of what was received.

* AUTO learns from whole exchanges: an answer behind a full echo makes the line ECHOING, an answer without one CLEAN.
* An echo alone is never an answer, not even where the protocol's answer equals its request: a command must not be
  confirmed by our own adapter.
* Part of an echo is left to `find_answer`, which skips noise.

Source: protocols.md section 7, first row.
"""

from __future__ import annotations

from enum import Enum

from gridtally_edge.transports.settings import Echo
from gridtally_shared.records import dataclass


class Seen(Enum):
    UNKNOWN = "unknown"
    ECHOING = "echoing"
    CLEAN = "clean"


_BEFORE: dict[Echo, Seen] = {Echo.AUTO: Seen.UNKNOWN, Echo.ON: Seen.ECHOING, Echo.OFF: Seen.CLEAN}


@dataclass(slots=True)
class EchoFilter:
    mode: Echo
    seen: Seen = Seen.UNKNOWN

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again, for example after another adapter was plugged in."""
        self.seen = _BEFORE[self.mode]

    def skip(self, request: bytes, received: bytes) -> int | None:
        """Bytes of echo in front; None while all that came so far may still be a growing echo."""
        if self.seen is Seen.CLEAN or not request:
            return 0
        if received.startswith(request):
            return len(request)
        return None if received and request.startswith(received) else 0

    def learn(self, skipped: int) -> None:
        """An answer was found behind `skipped` bytes of echo."""
        if self.mode is Echo.AUTO and self.seen is Seen.UNKNOWN:
            self.seen = Seen.ECHOING if skipped else Seen.CLEAN
