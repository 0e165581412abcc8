"""Intervals, registers, truth and faults of a house from the files of a folder, refused with file and line where they are wrong."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

from gridtally_cloud.exchange.times import ms_of
from gridtally_cloud.vee.judge import Known
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import Finding, RegisterSample, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register
from gridtally_shared.errors import ConfigError
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

LIMIT_W = 11_000
WH_PER_KWH = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    start_ms: int
    intervals: int


@dataclass(frozen=True, slots=True)
class House:
    """`noted` is what arrival itself shows: values that came twice or late. `truth` is Wh by the start of the interval."""

    name: str
    stretch: Stretch
    known: Known
    noted: tuple[Finding, ...]
    truth: dict[int, int]
    faults: tuple[Fault, ...]
    offset: timezone


@dataclass(frozen=True, slots=True)
class Row:
    at_ms: int
    wh: int
    offset: timedelta


def read_house(folder: Path, name: str, zone: str = "") -> House:
    """In the zone of the intervals where none is named. Raises ConfigError with file and line for what can not be read."""
    rows = list(_rows(folder / f"{name}_damaged.csv", "interval_start", "kwh"))
    registers = [RegisterSample(r.at_ms, r.wh) for r in _rows(folder / f"{name}_registers.csv", "read_time", "register_kwh")]
    truth = {r.at_ms: r.wh for r in _rows(folder / f"{name}_truth.csv", "interval_start", "kwh")}
    if not rows or not registers:
        raise ConfigError("--score", name, "the files of intervals and of registers need at least one row each")
    offset = timezone(rows[0].offset)
    stretch, contradictions, noted = arrived(rows, registers[0].at_ms, registers[-1].at_ms)
    register = Register(tuple(registers), 1, _rollover(registers))
    known = Known(RuleSet(), LIMIT_W, LocalTime(zone or _zone(rows[0].offset)), register, contradictions)
    return House(name, stretch, known, noted, truth, _faults(folder / f"{name}_faults.json", offset), offset)


def _faults(path: Path, offset: timezone) -> tuple[Fault, ...]:
    """Local times without a zone, in that of the intervals."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["faults"]
        starts = [ms_of(datetime.fromisoformat(fact["start"]).replace(tzinfo=offset)) for fact in facts]
        return tuple(Fault(fact["kind"], at, int(fact["intervals"])) for fact, at in zip(facts, starts, strict=True))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("--score", str(path), f"JSON with `faults`, each with kind, start and intervals, is needed: {error}") from error


def arrived(rows: list[Row], from_ms: int, to_ms: int) -> tuple[Stretch, tuple[tuple[int, int], ...], tuple[Finding, ...]]:
    """(the stretch, contradictions, notes): the first value of an interval is held; the same again is only noted."""
    period_ms = _period_ms(rows)
    held: dict[int, int] = {}
    contradictions: list[tuple[int, int]] = []
    noted: list[Finding] = []
    newest_ms = from_ms
    for row in rows:
        if row.at_ms not in held:
            held[row.at_ms] = row.wh
            if row.at_ms < newest_ms:
                noted.append(Finding("late", 1, row.at_ms, row.at_ms + period_ms, "came after a later interval", row.wh))
        elif held[row.at_ms] == row.wh:
            noted.append(Finding("duplicate", 1, row.at_ms, row.at_ms + period_ms, "came twice with the same value", row.wh))
        else:
            contradictions.append((row.at_ms, row.wh))
        newest_ms = max(newest_ms, row.at_ms)
    starts = range(from_ms, to_ms, period_ms)
    present = bytes(at in held for at in starts)
    values = array("q", [held.get(at, 0) for at in starts])
    quality = array("H", [0 if there else Quality.MISSING for there in present])
    return Stretch(from_ms, period_ms // 1000, "Wh", values, quality, present), tuple(contradictions), tuple(noted)


def _rows(path: Path, time_column: str, value_column: str) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                yield _row(path, number, row.get(time_column), row.get(value_column))
    except OSError as error:
        raise ConfigError("--score", str(path), f"it can not be read: {error.strerror}") from error


def _row(path: Path, number: int, time: str | None, value: str | None) -> Row:
    try:
        at = datetime.fromisoformat(time or "")
        return Row(ms_of(at), wh_of(value or ""), at.utcoffset() or timedelta())
    except (ValueError, InvalidOperation):
        raise ConfigError(f"{path.name}, line {number}", f"{time},{value}", "write a time with its zone and kWh with a point") from None


def wh_of(kwh: str) -> int:
    """Exact watt-hours. Raises ValueError for parts of a Wh."""
    wh = Decimal(kwh) * WH_PER_KWH
    if wh != int(wh):
        raise ValueError(f"{kwh} kWh is no whole number of Wh")
    return int(wh)


def _period_ms(rows: list[Row]) -> int:
    """The commonest step between rows, of several the shortest."""
    steps = [b.at_ms - a.at_ms for a, b in pairwise(rows) if b.at_ms > a.at_ms]
    return min(steps, key=lambda step: (-steps.count(step), step)) if steps else 1_800_000


def _rollover(registers: list[RegisterSample]) -> int:
    """The first power of ten of kWh that no read reaches: how many digits the register shows, as far as it was seen."""
    most, rollover = max(r.value for r in registers), WH_PER_KWH
    while rollover <= most:
        rollover *= 10
    return rollover


def _zone(offset: timedelta) -> str:
    """A zone of that fixed offset; tzdata has them for whole hours only."""
    hours, rest = divmod(round(offset.total_seconds()), 3600)
    if rest:
        raise ConfigError("--zone", "", f"name the zone: no zone of tzdata stands for {offset} without more")
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"
