"""Which tariff version prices what: a consumption across a change is parted in proportion to time, days by their start.

* The version in force is the newest whose `from_ms` has come. Before the first one the first one applies, and the last
  one goes on for ever: energy is never free for want of a version (prepayment.md 5.7).
* Parts of a split add up to the whole; a consumption inside one version is never split.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.tariff.model import Tariff, tariff_from


@dataclass(frozen=True, slots=True)
class TariffVersion:
    from_ms: int
    tariff: Tariff


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the register's movement, or of a row of days, under one tariff."""

    tariff: Tariff
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TariffBook:
    """The versions of one tariff in the order of their start; never empty."""

    versions: tuple[TariffVersion, ...]

    def at(self, at_ms: int) -> Tariff:
        starts = [v.from_ms for v in self.versions]
        return self.versions[max(0, bisect_right(starts, at_ms) - 1)].tariff

    @property
    def charges_days(self) -> bool:
        return any(v.tariff.fixed_nano_per_day for v in self.versions)

    def energy_spans(self, from_wh: int, from_ms: int, to_wh: int, to_ms: int) -> tuple[Span, ...]:
        """The movement between two readings, in parts of one version each, in order; empty when nothing moved."""
        if to_wh == from_wh:
            return ()
        changes = [v.from_ms for v in self.versions[1:] if from_ms < v.from_ms < to_ms]
        times = [from_ms, *changes, to_ms]
        length_ms = to_ms - from_ms
        at = [from_wh + (to_wh - from_wh) * (t - from_ms) // length_ms if length_ms > 0 else from_wh for t in times]
        at[-1] = to_wh
        parts = zip(times, at, at[1:], strict=False)
        return tuple(Span(self.at(t), start, end) for t, start, end in parts if end > start)

    def day_spans(self, charged_day: int, until_day: int, zone: ZoneInfo) -> tuple[Span, ...]:
        """The local days after `charged_day` up to and including `until_day`, in runs of one version each."""
        days = range(charged_day + 1, until_day + 1)
        runs = groupby(days, key=lambda day: self.at(day_start_ms(day, zone)))
        return tuple(Span(tariff, run[0] - 1, run[-1]) for tariff, run in ((t, list(g)) for t, g in runs))


def tariff_book(tariff_id: str, documents: Iterable[TariffDocument]) -> TariffBook | None:
    """The book of a tariff, or None when no document names it. Raises ContractError for a document not understood."""
    own = sorted((d for d in documents if d.tariff_id == tariff_id), key=lambda d: (d.from_ms, d.version))
    versions = tuple(TariffVersion(d.from_ms, tariff_from(d.tariff_id, d.version, d.document)) for d in own)
    return TariffBook(versions) if versions else None


def local_day(at_ms: int, zone: ZoneInfo) -> int:
    """The proleptic ordinal of the local date."""
    return datetime.fromtimestamp(at_ms // 1000, zone).date().toordinal()


def day_start_ms(day: int, zone: ZoneInfo) -> int:
    """Local midnight at the start of a day, as UTC milliseconds."""
    start = date.fromordinal(day)
    return int(datetime(start.year, start.month, start.day, tzinfo=zone).astimezone(UTC).timestamp()) * 1000
