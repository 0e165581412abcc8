"""Work beside a worker's messages, in a thread of its own, so that what is slow (a large file, a bank) holds up none of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Generic, TypeVar

from gridtally_cloud.store.db import Database

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Background:
    """Work that is never done twice at a time here."""

    def __init__(self, name: str, work: Callable[[int], object]) -> None:
        self._name, self._work = name, work
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, now_ms: int) -> None:
        if not self.busy:
            self._thread = threading.Thread(target=self._run, args=(now_ms,), name=self._name, daemon=True)
            self._thread.start()

    def _run(self, now_ms: int) -> None:
        try:
            self._work(now_ms)
        except Exception:
            log.exception("work beside the messages failed; it is tried again", extra={"work": self._name})


class EachBeside(Generic[Key]):
    """The same work for many, such as receivers: each in a thread of its own, so that one that is slow holds up none of the others."""

    def __init__(self, name: str, due: Callable[[int], Iterable[Key]], work: Callable[[Key, int], object], most: int = 16) -> None:
        self._name, self._due, self._work, self._most = name, due, work, most
        self._busy: dict[Key, Background] = {}
        self._begun: dict[Key, int] = {}
        self._turn = 0

    def start_due(self, now_ms: int) -> None:
        """`most` at a time; the others are due again in the next turn. Who was begun longest ago is first, so that nobody is left out."""
        self._busy = {key: one for key, one in self._busy.items() if one.busy}
        self._turn += 1
        due = sorted((key for key in self._due(now_ms) if key not in self._busy), key=lambda key: self._begun.get(key, 0))
        for key in due[:self._most - len(self._busy)]:
            self._begun[key] = self._turn
            self._busy[key] = Background(f"{self._name} {key}", partial(self._work, key))
            self._busy[key].start(now_ms)


def beside(db: Database, name: str, work: Callable[[int], object]) -> Callable[[int], None]:
    """Begins the work in a thread, where no other process is at it."""

    def alone(now_ms: int) -> None:
        with db.alone(f"job {name}") as allowed:
            if allowed:
                work(now_ms)

    return Background(name, alone).start
