"""Mirror verification: every charge of the mirrored journals priced again with the engine the edge uses, to the nano.

A difference of even a nano is a row of the books' check (`prepay/reconcile.py`, equation `rerate`). The terms an edge names must have been
issued: each version of the tariff with its document, and none in force earlier than it was to be.

Source: prepayment.md 5.5, 5.7; I9 to I12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from gridtally_cloud.customers.tariffs import versions_of
from gridtally_shared.errors import ConfigError, ContractError, RefusedCommand
from gridtally_shared.ledger.charges import opened_with
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.rerating import Difference, Walk, rerated
from gridtally_shared.tariff.carried import carried, taken_over
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.running import Terms, under
from gridtally_shared.tariff.terms import Plan


def rerate(conn: Connection, account_no: int, epoch: int, entries: Sequence[LedgerEntry]) -> tuple[Difference, ...]:
    """What the entries of one epoch charge otherwise than their readings cost."""
    return tuple(walked(conn, account_no, epoch, entries).differences)


def walked(conn: Connection, account_no: int, epoch: int, entries: Sequence[LedgerEntry]) -> Walk:
    """The account as its mirrored journal leads to it: slabs, remainders and terms of now."""
    return rerated(Walk(LedgerState(account_no, epoch)), entries, lambda terms: issued_plan(conn, terms))


def goes_on(conn: Connection, account_no: int, epoch: int, entries: Sequence[LedgerEntry], opening: LedgerEntry) -> bool:
    """Whether an OPEN entry goes on with the open cycle as the epoch before it, whose entries these are, left it."""
    walk = walked(conn, account_no, epoch, entries)
    try:
        said = opened_with(opening)
    except ContractError:
        return False
    plan = issued_plan(conn, said.terms) if said else None
    if said is None or plan is None or walk.running is None or walk.plan is None:
        return said is None
    left = walk.running if walk.running.terms.goes_on(said.terms) else under(walk.plan, walk.running, said.terms)
    return said == taken_over(carried(walk.plan if left is walk.running else plan, left), plan, said.terms)


def issued_plan(conn: Connection, terms: Terms) -> Plan | None:
    """The plan of an edge's terms, None where they name what was never issued."""
    try:
        issued = {v.version: v for v in versions_of(conn, terms.tariff_id)}
        if any(v.version not in issued or v.from_ms < issued[v.version].from_ms for v in terms.versions):
            return None
        return pinned_plan(tuple(replace(issued[v.version], from_ms=v.from_ms) for v in terms.versions), terms.zone)
    except (RefusedCommand, ConfigError):
        return None
