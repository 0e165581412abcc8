"""Deposits: taken, held as what we owe the consumer, with interest, and given back, applied to what is owed, or turned into prepayment.

* A deposit is a liability of the books (account `deposit`), never part of what the consumer owes. It is whole coins.
* Interest by dated rules (`rules.py`): percent of a year's days of what was held when a day began, posted month by month, half-even to the
  coin, and added to the deposit; up to the day when a deposit is released. A day never bears interest twice (`deposit_interest`).
* Taking and refunding name a receipt: the same receipt again is the same money, moved once.
* On a final bill the deposit pays what it comes to; what is left is refunded. An account that becomes prepaid gets it as credit (C3-N6).

Source: issue 5 line 4; mdm.md C.1 (ledger).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.model import DepositHeld
from gridtally_cloud.billing.receivables import DEPOSIT
from gridtally_cloud.billing.rounding import to_coin
from gridtally_cloud.billing.rules import HUNDRED, Dated, RuleKind, in_force, rules_for
from gridtally_cloud.billing.tables import deposit_interest, deposit_receipt, receivable
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import held as held_account
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.days import date_of, day_of, midnight_ms
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, floor_to_minor, minor_digits
from gridtally_shared.records import dataclass

INTEREST = "deposit_interest"
_r, _i = receivable.c, deposit_interest.c


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the deposit account; `amount_nano` above zero is more held, `held_nano` what was held after it."""

    at_ms: int
    kind: str
    amount_nano: int
    held_nano: int
    reference: str


@dataclass(frozen=True, slots=True)
class Interest:
    """[first_day, until_day) at one rate of one amount held."""

    first_day: int
    until_day: int
    base_nano: int
    rule: Dated
    amount_nano: int


# ---- what is held ---------------------------------------------------------------------------------------------


def moves_of(conn: Connection, account_no: int) -> tuple[Move, ...]:
    """Oldest first. Raises RefusedCommand (unknown_account)."""
    account_of(conn, account_no)
    query = (select(_r.at_ms, _r.kind, _r.debit_account, _r.amount_nano, deposit_receipt.c.reference)
             .outerjoin(deposit_receipt, deposit_receipt.c.receivable_no == _r.receivable_no)
             .where(_r.account_no == account_no, or_(_r.debit_account == DEPOSIT, _r.credit_account == DEPOSIT))
             .order_by(_r.receivable_no))  # fmt: skip
    found, held_nano = [], 0
    for row in conn.execute(query):
        signed_nano = -row.amount_nano if row.debit_account == DEPOSIT else row.amount_nano
        held_nano += signed_nano
        found.append(Move(row.at_ms, row.kind, signed_nano, held_nano, row.reference or ""))
    return tuple(found)


def held_nano(conn: Connection, account_no: int) -> int:
    moves = moves_of(conn, account_no)
    return moves[-1].held_nano if moves else 0


def releasable_nano(conn: Connection, account: Account, at_ms: int) -> int:
    """What is held, with the interest that is due but not posted yet."""
    pieces = due_interest(conn, account, day_of(at_ms, account.zone))
    return held_nano(conn, account.account_no) + sum(piece.amount_nano for piece in pieces)


# ---- interest -------------------------------------------------------------------------------------------------


def due_interest(conn: Connection, account: Account, until_day: int) -> tuple[Interest, ...]:
    """What was not posted yet of the days before `until_day`. Interest counts as held from the end of its own days on, whenever it is
    posted, so that the day of a run changes no amount."""
    moves = [move for move in moves_of(conn, account.account_no) if move.kind != INTEREST]
    if not moves:
        return ()
    rules = rules_for(conn, RuleKind.DEPOSIT, account.tariff_id, account.currency)
    rows = conn.execute(select(_i.until_day, _i.amount_nano).where(_i.account_no == account.account_no).order_by(_i.first_day)).all()
    added = [(row.until_day, row.amount_nano) for row in rows]
    first_day = max([day_of(moves[0].at_ms, account.zone), *(day for day, _ in added)])
    found: list[Interest] = []
    for days in _months(first_day, until_day):
        for piece in _pieces(days, moves, added, rules, account):
            found.append(piece)
            added.append((piece.until_day, piece.amount_nano))
    return tuple(found)


def _months(first_day: int, until_day: int) -> Iterator[range]:
    """The days of each calendar month."""
    for _, days in groupby(range(first_day, until_day), key=lambda day: date_of(day).replace(day=1)):
        held = list(days)
        yield range(held[0], held[-1] + 1)


def _pieces(days: range, moves: list[Move], added: list[tuple[int, int]], rules: tuple[Dated, ...], account: Account) -> list[Interest]:
    """Those of one month; its own interest bears none."""

    def on(day: int) -> tuple[int, Dated | None]:
        begins_ms = midnight_ms(day, account.zone)
        principal_nano = sum(move.amount_nano for move in moves if move.at_ms < begins_ms)
        return principal_nano + sum(nano for until, nano in added if until <= days.start), in_force(rules, day)

    found = []
    for (base_nano, rule), run in groupby(days, key=on):
        of_rule = list(run)
        if rule is not None and rule.rule.percent and base_nano > 0:
            amount_nano = _interest(base_nano, rule, of_rule, account.currency)
            found.append(Interest(of_rule[0], of_rule[-1] + 1, base_nano, rule, amount_nano))
    return found


def _interest(base_nano: int, rule: Dated, days: list[int], currency: str) -> int:
    year = date_of(days[0]).year
    parts = date_of(days[0]).replace(year=year, month=12, day=31).timetuple().tm_yday
    exact, digits = base_nano * rule.rule.percent * len(days), minor_digits(currency)
    return round(Fraction(exact, HUNDRED * parts * 10 ** (9 - digits))) * int(10 ** (9 - digits))


def post_interest(conn: Connection, account: Account, until_day: int, at_ms: int, actor: str) -> int:
    """The interest of the days before `until_day` that was not posted yet; what it comes to."""
    receivables.hold_books(conn, account.account_no)
    pieces = due_interest(conn, account, until_day)
    for piece in pieces:
        number = receivables.post_deposit(conn, account, INTEREST, piece.amount_nano, at_ms) if piece.amount_nano else None
        conn.execute(insert(deposit_interest).values(
            account_no=account.account_no, first_day=piece.first_day, until_day=piece.until_day, base_nano=piece.base_nano,
            rule_no=piece.rule.rule_no, amount_nano=piece.amount_nano, receivable_no=number,
        ))  # fmt: skip
    total_nano = sum(piece.amount_nano for piece in pieces)
    if total_nano:
        said = f"{decimal_text(total_nano)} to {date_of(until_day)}"
        record(conn, at_ms, actor, "deposit.interest", f"account:{account.account_no}", said)
    return total_nano


def run_interest(db: Database, at_ms: int, actor: str) -> dict[int, int]:
    """The interest of all months that are over, by account; each account in a transaction of its own, and once."""
    with db.read() as conn:
        numbers = conn.execute(select(_r.account_no).where(_r.credit_account == DEPOSIT).distinct().order_by(_r.account_no)).scalars().all()
    made = {}
    for account_no in numbers:
        with db.write() as conn:
            account = account_of(conn, account_no)
            today = day_of(at_ms, account.zone)
            made[account_no] = post_interest(conn, account, today - date_of(today).day + 1, at_ms, actor)
    return {account_no: amount_nano for account_no, amount_nano in made.items() if amount_nano}


# ---- taken and released ---------------------------------------------------------------------------------------


def take(conn: Connection, account_no: int, amount_nano: int, reference: str, at_ms: int, actor: str) -> int:
    """Take a deposit; what is held then. Raises RefusedCommand (unknown_account, prepaid, bad_amount, receipt)."""
    account = held_account(conn, account_no)
    receivables.hold_books(conn, account_no)
    if account.is_prepaid:
        raise RefusedCommand("prepaid", f"account {account_no} is prepaid: no deposit is asked for there")
    if not _is_known(conn, account, "deposit", amount_nano, reference):
        _move(conn, account, "deposit", amount_nano, reference, at_ms, actor, "deposit.taken")
    return held_nano(conn, account_no)


def refund(conn: Connection, account_no: int, amount_nano: int | None, reference: str, at_ms: int, actor: str) -> int:
    """Give back an amount, or all with its interest; what was given. Raises RefusedCommand (unknown_account, bad_amount, receipt, owes,
    too_much)."""
    account = account_of(conn, account_no)
    receivables.hold_books(conn, account_no)
    known = _known(conn, account, "deposit_refund", reference)
    if known is not None and amount_nano in (None, known):
        return known
    if (owed_nano := receivables.outstanding_nano(conn, account_no)) > 0:
        raise RefusedCommand("owes", f"account {account_no} owes {decimal_text(owed_nano)}: apply the deposit to that first")
    post_interest(conn, account, day_of(at_ms, account.zone), at_ms, actor)
    there_nano = held_nano(conn, account_no)
    wanted_nano = there_nano if amount_nano is None else amount_nano
    if wanted_nano > there_nano or not there_nano:
        raise RefusedCommand("too_much", f"{decimal_text(there_nano)} is held for account {account_no}: give back no more")
    _is_known(conn, account, "deposit_refund", wanted_nano, reference)
    _move(conn, account, "deposit_refund", wanted_nano, reference, at_ms, actor, "deposit.refunded")
    return wanted_nano


def apply(conn: Connection, account_no: int, at_ms: int, actor: str) -> int:
    """Pay what is owed now out of the deposit; how much. Raises RefusedCommand (unknown_account, nothing_to_apply)."""
    account = account_of(conn, account_no)
    receivables.hold_books(conn, account_no)
    paid_nano = apply_to(conn, account, receivables.outstanding_nano(conn, account_no), at_ms, actor)
    if not paid_nano:
        raise RefusedCommand("nothing_to_apply", f"account {account_no} owes nothing, or no deposit of it is held")
    return paid_nano


def apply_to(conn: Connection, account: Account, owed_nano: int, at_ms: int, actor: str) -> int:
    """The deposit pays up to an amount that is owed, whole coins."""
    receivables.hold_books(conn, account.account_no)
    if owed_nano <= 0 or not held_nano(conn, account.account_no):
        return 0
    post_interest(conn, account, day_of(at_ms, account.zone), at_ms, actor)
    paid_nano = min(held_nano(conn, account.account_no), floor_to_minor(owed_nano, account.currency))
    if paid_nano:
        receivables.post_deposit(conn, account, "deposit_applied", paid_nano, at_ms)
        record(conn, at_ms, actor, "deposit.applied", f"account:{account.account_no}", decimal_text(paid_nano))
    return paid_nano


def to_prepayment(conn: Connection, account: Account, named_nano: int, at_ms: int, actor: str) -> int:
    """What an account that becomes prepaid gets as credit: all that the books hold, else what a person named. Raises RefusedCommand
    (deposit) where a person named another amount than is held."""
    receivables.hold_books(conn, account.account_no)
    there_nano = releasable_nano(conn, account, at_ms)
    if not there_nano:
        return named_nano
    if named_nano not in (0, there_nano):
        raise RefusedCommand("deposit", f"{decimal_text(there_nano)} is held for account {account.account_no}: leave the amount out, all "
                             "of it comes along")  # fmt: skip
    post_interest(conn, account, day_of(at_ms, account.zone), at_ms, actor)
    receivables.post_deposit(conn, account, "deposit_credit", there_nano, at_ms)
    return there_nano


def _move(conn: Connection, account: Account, kind: str, amount_nano: int, reference: str, at_ms: int, actor: str, said: str) -> None:
    number = receivables.post_deposit(conn, account, kind, amount_nano, at_ms)
    conn.execute(insert(deposit_receipt).values(account_no=account.account_no, kind=kind, reference=reference.strip(),
                                                amount_nano=amount_nano, receivable_no=number))  # fmt: skip
    record(conn, at_ms, actor, said, f"account:{account.account_no}", f"{decimal_text(amount_nano)}, receipt {reference.strip()}")


def _known(conn: Connection, account: Account, kind: str, reference: str) -> int | None:
    c = deposit_receipt.c
    query = select(c.amount_nano).where(c.account_no == account.account_no, c.kind == kind, c.reference == reference.strip())
    return conn.execute(query).scalar_one_or_none()


def _is_known(conn: Connection, account: Account, kind: str, amount_nano: int, reference: str) -> bool:
    """Whether that receipt moved that amount already. Raises RefusedCommand where the two can not be."""
    if amount_nano <= 0 or to_coin(amount_nano, account.currency) != amount_nano:
        raise RefusedCommand("bad_amount", f"{decimal_text(amount_nano)}: write an amount above zero in whole coins")
    if not reference.strip():
        raise RefusedCommand("receipt", "name the receipt: it keeps the same money from being counted twice")
    known = _known(conn, account, kind, reference)
    if known not in (None, amount_nano):
        raise RefusedCommand("receipt", f"receipt {reference} is known with {decimal_text(known or 0)}: name another one")
    return known is not None


# ---- on the bill ----------------------------------------------------------------------------------------------


def on_bill(conn: Connection, account_no: int, receivable_no: int) -> DepositHeld:
    """What is held, and the interest since a row of the books."""
    since: Any = select(func.coalesce(func.sum(_r.amount_nano), 0)).where(_r.account_no == account_no, _r.kind == INTEREST)
    return DepositHeld(held_nano(conn, account_no), int(conn.execute(since.where(_r.receivable_no > receivable_no)).scalar_one()))
