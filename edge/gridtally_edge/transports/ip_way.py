"""What a network line asks of its medium: a way to each place, and word of what comes without having been asked.

All of it is used from the loop's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gridtally_edge.transports.places import Place
from gridtally_shared.errors import LinkDown


class Unreached(LinkDown):
    """The network itself says that the meter can not be reached now: nothing was asked, so nothing is held against it."""


Opened = Callable[[LinkDown | None], None]


class Traveller(Protocol):
    """Whoever uses a way at the moment."""

    def heard(self, data: bytes) -> None: ...

    def cut_off(self, error: LinkDown) -> None:
        """The way is gone: a connection was closed, a node has left."""
        ...


class Way(Protocol):
    """To one address. `stream`: octets arrive whole and in order (TCP), so nothing has to be sent twice. `hops` lengthen the
    time-outs. `user` is the one conversation that travels on it."""

    stream: bool
    user: Traveller | None

    @property
    def hops(self) -> int: ...

    def open(self, done: Opened) -> None:
        """Make it ready and call `done`, at once or later, with what went wrong if it did."""
        ...

    def send(self, data: bytes) -> None:
        """Raises LinkDown."""
        ...

    def rest(self, in_doubt: bool) -> None:
        """The conversation is over. `in_doubt`: an answer of it may still come, and must not meet the next one."""
        ...


class Medium(Protocol):
    """All ways of one line. `alone`: only one conversation at a time, whatever its priority.
    `open` raises LinkDown (may pass) or ConfigError (needs a person)."""

    @property
    def alone(self) -> bool: ...

    def open(self) -> None: ...

    def close(self) -> None: ...

    def way(self, place: Place) -> Way:
        """The same object for the same address. Raises ConfigError for a place out of its reach, LinkDown for one it
        does not know at the moment."""
        ...
