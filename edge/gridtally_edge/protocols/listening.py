"""Protocols in which nobody is asked: octets come in, whole messages go out, each with its sender.

A `Listener` is fed from the line's thread, as the octets come; it keeps what is not whole yet and passes over noise.
"""

from __future__ import annotations

from typing import Protocol

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """One message. `source` names its sender, "" where the protocol tells none. `quality`: see `transports.heard.Heard`."""

    source: str
    data: bytes
    quality: int = 0


class Listener(Protocol):
    """`spoiled` counts messages that were damaged, `repeats` those that came before."""

    @property
    def spoiled(self) -> int: ...

    @property
    def repeats(self) -> int: ...

    def feed(self, octets: bytes, mono_s: float) -> tuple[Told, ...]:
        """`mono_s` is when they came, on any clock that only rises."""
        ...
