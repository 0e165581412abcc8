"""What late payment costs in a month: days overdue x the rule's rate of what was open. Pure, exact.

* A bill is late from the day after its last day to pay, and the days of grace; the day on which it is paid is the last one. What was open
  at the beginning of a day counts for that day.
* A piece is a run of days with one rule and one open amount: amount = open x percent x days (/ days of the calendar month), a fraction,
  rounded once as the tariff rounds its lines, or down to 10^-9.
* The minimum lifts the last piece of a bill in a month, the cap cuts the pieces that go beyond it; the piece says so.

Source: issue 5 line 4; mdm.md C.1 (ledger).
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby

from gridtally_cloud.billing.claims import Books, Rest, rests
from gridtally_cloud.billing.rules import HUNDRED, Dated, in_force
from gridtally_cloud.store.days import date_of, midnight_ms
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.price import rounded
from gridtally_shared.tariff.terms import Places

Paused = Callable[[str, int], bool]
"""Whether nothing accrues on a bill on a day."""
MINIMUM, CAP = "minimum", "cap"


@dataclass(frozen=True, slots=True)
class Overdue:
    """A bill that stands. `last_day`: the last one to pay. `own_nano`: what it charged. `so_far_nano`: charged for its lateness before."""

    bill_no: str
    last_day: int
    own_nano: int
    so_far_nano: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """[first_day, until_day) at one rate of one open amount. `bound`: the minimum or the cap made the amount."""

    bill_no: str
    first_day: int
    until_day: int
    base_nano: int
    rule: Dated
    amount_nano: int
    bound: str = ""


def late_pieces(
    books: Books, bills: Sequence[Overdue], days: range, rules: tuple[Dated, ...], zone: str, places: Places | None,
    paused: Paused = lambda _bill_no, _day: False,
) -> tuple[Piece, ...]:  # fmt: skip
    """`days`: those of one calendar month."""
    opened = {day: rests(books, midnight_ms(day, zone)) for day in days} if rules and bills else {}
    found = []
    for bill in bills:
        pieces = [_priced(*run, places) for run in _runs(bill, opened, rules, paused)]
        found += _bounded(bill, [piece for piece in pieces if piece.amount_nano or piece.rule.rule.minimum_nano])
    return tuple(found)


def _runs(bill: Overdue, opened: Mapping[int, Mapping[str, Rest]], rules: tuple[Dated, ...], paused: Paused
          ) -> Iterator[tuple[str, list[int], int, Dated]]:  # fmt: skip
    late = [(day, *_open(bill, day, rest.get(bill.bill_no, Rest()), rules, paused)) for day, rest in opened.items()]
    for (base_nano, rule), run in groupby(late, key=lambda each: each[1:]):
        if rule is not None and base_nano > 0 and rule.rule.percent:
            yield bill.bill_no, [day for day, *_ in run], base_nano, rule


def _open(bill: Overdue, day: int, rest: Rest, rules: tuple[Dated, ...], paused: Paused) -> tuple[int, Dated | None]:
    rule = in_force(rules, day)
    if rule is None or day <= bill.last_day + rule.rule.grace_days or paused(bill.bill_no, day):
        return 0, None
    return rest.own_nano + (rest.late_nano if rule.rule.on_surcharge else 0), rule


def _priced(bill_no: str, days: list[int], base_nano: int, rule: Dated, places: Places | None) -> Piece:
    first = date_of(days[0])
    parts = calendar.monthrange(first.year, first.month)[1] if rule.rule.per == "month" else 1
    exact = Fraction(base_nano * rule.rule.percent * len(days), HUNDRED * parts)
    return Piece(bill_no, days[0], days[-1] + 1, base_nano, rule, rounded(exact, places))


def _bounded(bill: Overdue, pieces: list[Piece]) -> list[Piece]:
    total_nano = sum(piece.amount_nano for piece in pieces)
    if pieces and total_nano < pieces[-1].rule.rule.minimum_nano:
        lifted_nano = pieces[-1].amount_nano + pieces[-1].rule.rule.minimum_nano - total_nano
        pieces[-1] = replace(pieces[-1], amount_nano=lifted_nano, bound=MINIMUM)
    held, so_far_nano = [], bill.so_far_nano
    for piece in pieces:
        left_nano = bill.own_nano * piece.rule.rule.cap_percent // HUNDRED - so_far_nano
        if piece.rule.rule.cap_percent and piece.amount_nano > left_nano:
            piece = replace(piece, amount_nano=max(0, left_nano), bound=CAP)
        so_far_nano += piece.amount_nano
        held += [piece] if piece.amount_nano else []
    return held
