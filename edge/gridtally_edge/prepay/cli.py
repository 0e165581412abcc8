"""`gridtally-dcu ledger`: replay every journal from its first entry, compare with the cached balance, and say so.

Exit code 0 only when every chain is whole and every balance is what its entries add up to.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.book import entries_of, state_from, state_text
from gridtally_edge.prepay.plan import Plan, stored_plan
from gridtally_edge.prepay.rows import AccountRow, some
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.errors import ContractError, GridtallyError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.replay import LedgerState, replay
from gridtally_shared.money import decimal_text, display

DEFAULT_CONFIG = Path("/etc/gridtally/dcu.toml")
HEADINGS = ("account", "epoch", "entries", "balance", "charged Wh", "as of (UTC)", "state")


@dataclass(frozen=True, slots=True)
class Finding:
    """One account and epoch: what its journal says, and what is wrong with it ('' when nothing is)."""

    account_no: int
    epoch: int
    currency: str
    state: LedgerState
    fault: str


def verify(db: sqlite3.Connection) -> list[Finding]:
    """Every account and epoch of the store, replayed in full."""
    plan = stored_plan(db)
    return [_finding(db, row, plan) for row in some(db, AccountRow, "ORDER BY account_no, epoch")]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except GridtallyError as error:
        print(f"gridtally-dcu ledger: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    db = open_reader(config.data_dir / "money.db", MONEY_STORE)
    try:
        findings = [f for f in verify(db) if options.account in (0, f.account_no)]
        if options.json:
            print(json.dumps([_as_json(f) for f in findings], indent=1))
        else:
            _print_table(findings)
            if options.entries:
                _print_entries(db, findings)
    finally:
        db.close()
    return 0 if all(not f.fault for f in findings) else 1


def _finding(db: sqlite3.Connection, row: AccountRow, plan: Plan) -> Finding:
    account = plan.accounts.get(row.account_no)
    currency = account.currency if account else ""
    try:
        state, problem = replay(row.account_no, row.epoch, entries_of(db, row.account_no, row.epoch))
    except ContractError as error:
        return Finding(row.account_no, row.epoch, currency, state_from(row), str(error))
    fault = f"entry {problem.seq}: {problem.text}" if problem else _cache_fault(row, state) or row.ledger_fault
    return Finding(row.account_no, row.epoch, currency, state, fault)


def _cache_fault(row: AccountRow, state: LedgerState) -> str:
    if (row.balance_nano, row.seq) != (state.balance_nano, state.seq) or state_text(state_from(row)) != state_text(state):
        return f"cached balance {decimal_text(row.balance_nano)} at entry {row.seq}, replayed {decimal_text(state.balance_nano)}"
    return ""


def _as_json(finding: Finding) -> dict[str, object]:
    state = finding.state
    return {
        "account": finding.account_no, "epoch": finding.epoch, "entries": state.seq, "head": state.head.hex(),
        "balance": decimal_text(state.balance_nano), "debt": decimal_text(state.debt_nano), "currency": finding.currency,
        "pools": {Pool(pool).name.lower(): decimal_text(amount) for pool, amount in sorted(state.pools.items())},
        "register_wh": state.register_wh, "charged_wh": state.charged_wh, "at_ms": state.at_ms,
        "instruments_used_to": state.used.prefix, "clean": not finding.fault, "fault": finding.fault,
    }  # fmt: skip


def _print_table(findings: list[Finding]) -> None:
    rows = [HEADINGS, *(_cells(f) for f in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    broken = sum(bool(f.fault) for f in findings)
    print(f"\n{len(findings)} journals replayed, {broken} with a fault." if broken else f"\n{len(findings)} journals, all clean.")


def _cells(finding: Finding) -> tuple[str, ...]:
    state = finding.state
    return (
        str(finding.account_no), str(finding.epoch), str(state.seq), display(state.balance_nano, finding.currency or "?"),
        str(state.charged_wh), _utc(state.at_ms), finding.fault or "clean",
    )  # fmt: skip


def _print_entries(db: sqlite3.Connection, findings: list[Finding]) -> None:
    for finding in findings:
        print(f"\naccount {finding.account_no}, epoch {finding.epoch}")
        for entry in entries_of(db, finding.account_no, finding.epoch):
            print("  ".join(_entry_cells(entry)).rstrip())


def _entry_cells(entry: LedgerEntry) -> tuple[str, ...]:
    amount = sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID)
    register = f"{entry.register_before_wh} -> {entry.register_after_wh} Wh" if entry.register_after_wh is not None else ""
    money = decimal_text(amount).rjust(18)
    return f"{entry.seq:6}", _utc(entry.at_ms), Kind(entry.kind).name.ljust(10), money, register, entry.entry_hash.hex()[:12]


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ms else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu ledger",
        description="Replay every account journal of this concentrator and compare it with the balances in use.",
        epilog="example: gridtally-dcu ledger --config dcu.toml --account 101 --entries. Exit 0: all clean; 1: a fault.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")
    parser.add_argument("--account", type=int, default=0, metavar="NO", help="one account only")
    parser.add_argument("--entries", action="store_true", help="print the entries too")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    return parser
