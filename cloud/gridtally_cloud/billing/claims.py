"""What of each bill is still to be paid, now or at an earlier instant. Pure.

* Payments pay the oldest bill first; of a bill its own charges before the late payment charges that stand on it, so that a payment ends
  lateness as soon as it can. A bill below zero is a credit, and pays as a payment does.
* A bill that was cancelled never was: what was paid for it pays the others.
"""

from __future__ import annotations

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What a bill claims since `at_ms`: its own charges, or a late payment charge that is shown on it ('': no bill shows it yet)."""

    bill_no: str
    at_ms: int
    amount_nano: int
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """`claims` in the order in which they are paid. `moves`: time and amount of what else changes the debt, payments below zero.
    `debts`: time and amount of what became a debt of the balance."""

    claims: tuple[Claim, ...]
    moves: tuple[tuple[int, int], ...] = ()
    debts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Of a bill: what it claims, what is open of its own charges and of late payment charges, and what went on as a debt."""

    amount_nano: int = 0
    own_nano: int = 0
    late_nano: int = 0
    carried_nano: int = 0


def rests(books: Books, before_ms: int | None = None) -> dict[str, Rest]:
    """By bill; `before_ms`: as the books stood just before that instant."""
    claims = [c for c in books.claims if before_ms is None or c.at_ms < before_ms]
    paid_nano = -_sum(books.moves, before_ms) - sum(min(0, c.amount_nano) for c in claims)
    carried_nano = _sum(books.debts, before_ms)
    found: dict[str, Rest] = {}
    for claim in claims:
        due_nano = max(0, claim.amount_nano)
        by_payment = max(0, min(paid_nano, due_nano))
        by_debt = max(0, min(carried_nano, due_nano - by_payment))
        paid_nano, carried_nano = paid_nano - by_payment, carried_nano - by_debt
        found[claim.bill_no] = _added(found.get(claim.bill_no, Rest()), claim, due_nano - by_payment - by_debt, by_debt)
    return found


def _sum(rows: tuple[tuple[int, int], ...], before_ms: int | None) -> int:
    return sum(amount_nano for at_ms, amount_nano in rows if before_ms is None or at_ms < before_ms)


def _added(rest: Rest, claim: Claim, open_nano: int, by_debt: int) -> Rest:
    own, late = (0, open_nano) if claim.is_late else (open_nano, 0)
    return Rest(rest.amount_nano + claim.amount_nano, rest.own_nano + own, rest.late_nano + late, rest.carried_nano + by_debt)
