"""The town of the requirements behind seed 002: two homes with a switch, online, read once, with credit for some days."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.town import Town, town


@contextlib.contextmanager
def two_homes(folder: Path) -> Iterator[Town]:
    with town(folder, dlms=2, opening="150") as made:
        made.connect()
        made.next_quarter()
        yield made
