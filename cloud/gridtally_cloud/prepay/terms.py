"""The terms of a supply that policies ask about: feeder, contract demand, class, flags. They travel in the signed configuration.

* `feeder` groups supplies for the share of cuts within an hour; `contract_w` is what a step in percent is a share of, and what an
  overdraft for small contracts goes by; `load_class` chooses an overdraft; a flag (such as `medical_device`) protects by policy.
* Without terms nothing is limited in percent, no feeder has a share of its own, and no flag protects: set them before a policy with
  such rules is followed. Each change is in the audit.

Source: prepayment.md 3.5, 3.6, 6.1; contract AccountConfig.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay.terms_tables import supply_terms
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

MOST_W = 10_000_000
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FEEDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,39}")


class TermsReason(StrEnum):
    NO_SUCH_TERM = "no_such_term"


@dataclass(frozen=True, slots=True)
class SupplyTerms:
    """`flags` sorted."""

    feeder: str = ""
    contract_w: int = 0
    load_class: str = ""
    flags: tuple[str, ...] = ()


def set_terms(conn: Connection, account_no: int, terms: SupplyTerms, at_ms: int, actor: str) -> None:
    """Give an account these terms in place of those before. Raises RefusedCommand for words that can not be such terms."""
    held(conn, account_no)
    _check(terms)
    conn.execute(delete(supply_terms).where(supply_terms.c.account_no == account_no))
    values = {"feeder": terms.feeder, "contract_w": terms.contract_w, "load_class": terms.load_class, "flags": ",".join(terms.flags)}
    conn.execute(insert(supply_terms).values(account_no=account_no, changed_ms=at_ms, **values))
    record(conn, at_ms, actor, "account.terms", f"account:{account_no}", text_of(terms))


def terms_of(conn: Connection) -> dict[int, SupplyTerms]:
    """The terms of each account that has some."""
    return {r.account_no: _terms(r) for r in conn.execute(select(supply_terms))}


def terms_of_account(conn: Connection, account_no: int) -> SupplyTerms:
    """Empty where none are set."""
    row = conn.execute(select(supply_terms).where(supply_terms.c.account_no == account_no)).one_or_none()
    return _terms(row) if row else SupplyTerms()


def _terms(r: Row[Any]) -> SupplyTerms:
    return SupplyTerms(r.feeder, r.contract_w, r.load_class, tuple(filter(None, r.flags.split(","))))


def text_of(terms: SupplyTerms) -> str:
    """In one line, for a person."""
    watts = f"{terms.contract_w} W" if terms.contract_w else "-"
    return f"feeder {terms.feeder or '-'}, contract {watts}, class {terms.load_class or '-'}, flags {', '.join(terms.flags) or '-'}"


def _check(terms: SupplyTerms) -> None:
    rules = (
        (not terms.feeder or _FEEDER.fullmatch(terms.feeder), f"feeder {terms.feeder!r}: write up to 40 letters, digits, . _ / or -"),
        (0 <= terms.contract_w <= MOST_W, f"contract {terms.contract_w} W: write watts from 0 (not known) to {MOST_W}"),
        (not terms.load_class or _CODE.fullmatch(terms.load_class), f"class {terms.load_class!r}: write a code, such as home"),
        (all(_CODE.fullmatch(f) for f in terms.flags), f"flags {', '.join(terms.flags)}: write codes, such as medical_device"),
    )
    wrong = next((said for holds, said in rules if not holds), "")
    if wrong:
        raise RefusedCommand(TermsReason.NO_SUCH_TERM, wrong)
