"""Invocation counters: the part of a DLMS nonce that must never come twice under one key (IEC 62056-5-3, 5.3.7).

* A channel is one sender's title with one key: together they are the nonce space. Its name (`channel_name`) is a
  digest, so that no key can be read from a file of counters.
* `take` gives a number that was never given before, after a restart too: the durable book is journal/counters.py.
* `hear` takes a number received and says whether it rose; one that did not is a replay.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import Final, Protocol

from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

HIGHEST: Final = 0xFFFF_FFFF
_DOMAIN: Final = b"gridtally invocation counter\x00"


class Counters(Protocol):
    """Both directions of any number of channels. May be called from any thread."""

    def take(self, channel: str) -> int:
        """The next number to send with, already on record as used. Raises MeterFault where none is left."""

    def next_of(self, channel: str) -> int:
        """The number `take` would give at least."""

    def raise_to(self, channel: str, counter: int) -> None:
        """Give `counter` or more from now on; never goes back."""

    def hear(self, channel: str, counter: int) -> bool:
        """Note a number received. False: it did not rise, so the message is a replay."""

    def generation_of(self, name: str) -> int:
        """Which generation of its keys a meter was last let in with; 0 for one nobody has noted."""

    def keep_generation(self, name: str, generation: int) -> None:
        """Note it, durably where the book is."""


def channel_name(title: bytes, key: bytes) -> str:
    """The name of the channel of a sender and a key."""
    return hashlib.sha256(_DOMAIN + title + key).hexdigest()[:32]


@dataclass(slots=True)
class MemoryCounters:
    """Counters that live as long as the process: for a key made for one association, and for tools that read the
    meter's own counter first. Never for a key that outlives the process."""

    first: int = 1
    _next: dict[str, int] = field(default_factory=dict, init=False)
    _heard: dict[str, int] = field(default_factory=dict, init=False)
    _generations: dict[str, int] = field(default_factory=dict, init=False)

    def take(self, channel: str) -> int:
        number = self.next_of(channel)
        if number > HIGHEST:
            raise MeterFault("the invocation counter of this key is used up; the meter needs a new key")
        self._next[channel] = number + 1
        return number

    def next_of(self, channel: str) -> int:
        return self._next.get(channel, self.first)

    def raise_to(self, channel: str, counter: int) -> None:
        self._next[channel] = max(self.next_of(channel), counter)

    def hear(self, channel: str, counter: int) -> bool:
        rose = counter > self._heard.get(channel, -1)
        if rose:
            self._heard[channel] = counter
        return rose

    def generation_of(self, name: str) -> int:
        return self._generations.get(name, 0)

    def keep_generation(self, name: str, generation: int) -> None:
        self._generations[name] = generation
