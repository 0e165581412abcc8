"""Whether the person at the desk or on the phone is the customer: what they say against what is on record.

* Name, address and at least one thing a neighbour does not know must be right. Which one was wrong is not told.
* Letters, digits and their order count; case, accents, spaces and punctuation do not. A telephone number counts by its last digits.
* Wrong answers lock the account's check for everybody, by the steps of a login; an attempt during a lock-out is not looked at.
* Every attempt leaves a row and a line of audit, good or bad, without the answers. A good one holds for `HOLDS_MS`, for whom it was
  given to. `at_ms` is real time, as with logins.

Source: C3-S1.2, C3-S2.2, C3-S3.2.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import customer as customer_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.contact_tables import identity_check
from gridtally_cloud.customers.lockout import WINDOW_MS, locked_for_s
from gridtally_cloud.customers.model import Account, Customer
from gridtally_cloud.store.db import in_turn
from gridtally_shared.records import dataclass

HOLDS_MS = 900_000
PHONE_DIGITS = 9
ALWAYS = ("name", "address")
SECRETS = ("phone", "email", "meter_serial")
"""Enough to be right in one of them; each that is answered must be right."""


@dataclass(frozen=True, slots=True)
class Checked:
    """`wait_s`: it was not looked at, for so long. `check_no` names a good check."""

    good: bool
    wait_s: int = 0
    check_no: int = 0


def confirm(conn: Connection, account_no: int, answers: Mapping[str, str], actor: str, at_ms: int) -> Checked:
    """Look at the answers. Nothing is raised for wrong ones, so that the attempt stays on record. Raises RefusedCommand
    (unknown_account)."""
    account = account_of(conn, account_no)
    in_turn(conn, f"identity {account_no}")  # who guesses many times at once is locked out as one after the other
    wait_s = _locked_s(conn, account_no, at_ms)
    if wait_s:
        return Checked(False, wait_s)
    good = _is_right(account, customer_of(conn, account.customer_no), answers)
    number = conn.execute(insert(identity_check).values(account_no=account_no, actor=actor, at_ms=at_ms, good=good)
                          .returning(identity_check.c.check_no)).scalar_one()  # fmt: skip
    record(conn, at_ms, actor, "identity.confirmed" if good else "identity.refused", f"account:{account_no}", f"check {number}")
    return Checked(good, 0 if good else _locked_s(conn, account_no, at_ms), number if good else 0)


def confirmed(conn: Connection, account_no: int, actor: str, at_ms: int) -> int:
    """The number of this person's check that still holds; 0 for none."""
    c = identity_check.c
    mine = (c.account_no == account_no, c.actor == actor, c.good, c.at_ms > at_ms - HOLDS_MS)
    return int(conn.execute(select(c.check_no).where(*mine).order_by(c.check_no.desc()).limit(1)).scalar_one_or_none() or 0)


def matches(account: Account, person: Customer, name: str, address: str) -> bool:
    """Whether a name and an address are those of an account: its customer's own or that of the supply."""
    addresses = {plain(person.address), plain(account.address)} - {""}
    return bool(plain(name)) and _same(plain(name), plain(person.name)) and any(_same(plain(address), a) for a in addresses)


def plain(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    bare = (c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c) or c > "\u0900")
    return "".join(c for c in bare if c.isalnum() or unicodedata.category(c).startswith("M"))


def _is_right(account: Account, person: Customer, answers: Mapping[str, str]) -> bool:
    known = {"phone": _digits(person.phone), "email": plain(person.email), "meter_serial": plain(account.meter_serial)}
    given = {name: answers[name] for name in SECRETS if answers.get(name, "").strip()}
    said = {name: _digits(text) if name == "phone" else plain(text) for name, text in given.items()}
    secrets_right = [bool(known[name]) and _same(said[name], known[name]) for name in said]
    named = matches(account, person, answers.get("name", ""), answers.get("address", ""))
    return named and bool(secrets_right) and all(secrets_right)


def _digits(text: str) -> str:
    digits = "".join(c for c in text if c.isdigit())
    return digits[-PHONE_DIGITS:] if len(digits) >= PHONE_DIGITS else ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _locked_s(conn: Connection, account_no: int, at_ms: int) -> int:
    c = identity_check.c
    rows = conn.execute(select(c.at_ms, c.good).where(c.account_no == account_no, c.at_ms > at_ms - WINDOW_MS).order_by(c.check_no.desc()))
    failures: list[int] = []
    for row in rows:
        if row.good:
            break
        failures.append(row.at_ms)
    return locked_for_s(tuple(failures), at_ms)
