"""What happens in the demo besides the street living on: the uplink is cut for half a day, homes that went dark pay again, and one
home goes the whole way: emergency credit taken at the balance page, cut while offline, back by a code from the keypad.

Pure: `due` says what to do now; the launcher does it. Times are virtual milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from demo.chapters import Chapters
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR

PAY_AFTER_MS = 2 * MS_PER_HOUR
CODE_AFTER_MS = MS_PER_HOUR // 2
OUTAGE_EVERY_MS = 2 * MS_PER_DAY
OUTAGE_FROM_MS, OUTAGE_UNTIL_MS = 6 * MS_PER_HOUR, 18 * MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class CutUplink:
    pass


@dataclass(frozen=True, slots=True)
class MendUplink:
    pass


@dataclass(frozen=True, slots=True)
class Pay:
    account_no: int


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """The household looks at its page: there is a message of a low balance."""


@dataclass(frozen=True, slots=True)
class TakeEmergency:
    """The household presses the button of the emergency credit."""


@dataclass(frozen=True, slots=True)
class BringCode:
    """The household asks its page why it is dark, buys credit in town, and types the code at home."""


@dataclass(frozen=True, slots=True)
class AskPortal:
    """Dark again and the uplink there: the portal is asked why."""


Act = CutUplink | MendUplink | Pay | ReadMessage | TakeEmergency | BringCode | AskPortal


@dataclass(slots=True)
class Story:
    """`days` None: no end (the live demo). An outage every second day, from its sixth to its eighteenth hour. `home` is the account
    that goes the whole way."""

    start_ms: int
    days: float | None
    home: int = 0
    cut: bool = False
    outages: list[list[int]] = field(default_factory=list)
    _paid_for: set[tuple[int, int]] = field(default_factory=set)
    _done: set[type[Act]] = field(default_factory=set)

    @property
    def end_ms(self) -> int | None:
        return None if self.days is None else self.start_ms + int(self.days * MS_PER_DAY)

    def is_offline(self, at_ms: int) -> bool:
        """Whether the uplink was cut at a moment; an outage that goes on has no end yet."""
        last = self.outages[-1] if self.outages else None
        return any(a <= at_ms < b for a, b in self.outages) or (self.cut and last is not None and at_ms >= last[0])

    def due(self, now_ms: int, dark: Iterable[tuple[int, int]], home: Chapters) -> list[Act]:
        """Acts of this moment. `dark`: (account, since when) of homes the cloud knows to be cut. Each cut is paid for once."""
        dark = tuple(dark)
        acts = [*self._uplink(now_ms), *self._household(now_ms, dark, home)]
        for account_no, since_ms in dark:
            if account_no == self.home and (self.cut or home.off_since_ms is None):
                continue
            if now_ms - since_ms >= PAY_AFTER_MS and (account_no, since_ms) not in self._paid_for:
                self._paid_for.add((account_no, since_ms))
                acts.append(Pay(account_no))
        return acts

    def _uplink(self, now_ms: int) -> list[Act]:
        into_ms = (now_ms - self.start_ms) % OUTAGE_EVERY_MS
        inside = OUTAGE_FROM_MS <= into_ms < OUTAGE_UNTIL_MS
        if inside and not self.cut:
            self.cut = True
            self.outages.append([now_ms, now_ms])
            return [CutUplink()]
        if self.cut and not inside:
            self.mended(now_ms)
            return [MendUplink()]
        return []

    def mended(self, now_ms: int) -> None:
        self.cut = False
        self.outages[-1][1] = now_ms

    def _household(self, now_ms: int, dark: tuple[tuple[int, int], ...], home: Chapters) -> list[Act]:
        """Each of the home's acts, once."""
        is_dark_long = home.off_since_ms is not None and now_ms - home.off_since_ms >= CODE_AFTER_MS
        wishes: tuple[tuple[Act, bool], ...] = (
            (ReadMessage(), home.low is not None),
            (TakeEmergency(), home.offer is not None and home.off_since_ms is None and home.spells == 0),
            (BringCode(), self.cut and home.spells == 1 and is_dark_long),
            (AskPortal(), not self.cut and home.off_since_ms is not None and home.spells > 1 and any(no == self.home for no, _ in dark)),
        )
        due = [act for act, wished in wishes if wished and type(act) not in self._done]
        self._done |= {type(act) for act in due}
        return due
