"""What is different between a bill that was cancelled and the one in its place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gridtally_cloud.billing.model import CHARGE_KINDS, Bill, Correction, DayMoved, DayUse, Line, Moved


def correction(bill_no: str, charged_nano: int, old: Bill, lines: Sequence[Line], days: Sequence[DayUse], note: str) -> Correction:
    """`charged_nano`: what the old bill added to what is owed; it is taken back. `lines` and `days`: what is charged and used now."""
    return Correction(bill_no, note, charged_nano, total_nano(lines), tuple(_lines(old.lines, lines)), tuple(_days(old.days, days)))


def total_nano(lines: Sequence[Line]) -> int:
    return sum(line.amount_nano for line in lines if line.kind in CHARGE_KINDS)


def _lines(before: Sequence[Line], now: Sequence[Line]) -> Iterator[Moved]:
    """By kind and item: amounts that are other ones, in the order of the new bill."""
    sums: dict[tuple[str, str], list[int]] = {}
    kinds = {}
    for place, lines in enumerate((now, before)):
        for line in (one for one in lines if one.kind in CHARGE_KINDS):
            sums.setdefault((line.kind, line.reference), [0, 0])[place] += line.amount_nano
            kinds[line.kind.value] = line.kind
    for (kind, reference), (new_nano, old_nano) in sums.items():
        if new_nano != old_nano:
            yield Moved(kinds[kind], reference, old_nano, new_nano)


def _days(before: Sequence[DayUse], now: Sequence[DayUse]) -> Iterator[DayMoved]:
    was = {use.day: use.used_wh for use in before}
    for use in now:
        if use.used_wh != was.get(use.day):
            yield DayMoved(use.day, was.get(use.day), use.used_wh)
