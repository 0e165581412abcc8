"""`gridtally-dcu ledger`: replay every journal from where it begins, compare with the cached balance, and say so.

* A journal begins with its first entry or, once older ones were let go (pruning.py), with the state of a countersigned checkpoint.
* Entries older than they are to be kept which can not be let go are told with the reason.

Exit code 0 only when every chain is whole and every balance is what its entries add up to.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gridtally_edge.config import EdgeConfig, load_config
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.book import entries_of, state_from, state_text
from gridtally_edge.prepay.checkpoints import STRETCHES
from gridtally_edge.prepay.opening import Keys, first_kept, replayed
from gridtally_edge.prepay.plan import Plan, stored_plan
from gridtally_edge.prepay.pruning import why_kept
from gridtally_edge.prepay.rows import AccountRow, some
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.clock import MS_PER_DAY, clock_from
from gridtally_shared.errors import ContractError, GridtallyError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.money import decimal_text, display
from gridtally_shared.records import dataclass

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
    kept_from: int = 1
    all_kept: str = ""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Whose checkpoints count, and from when on everything is kept; without them no signature and no age is asked for."""

    keys: Keys | None = None
    before_ms: int = 0


_NOBODYS = Keeping()


def verify(db: sqlite3.Connection, keeping: Keeping = _NOBODYS) -> list[Finding]:
    """Every account and epoch of the store, replayed from where its journal begins. `all_kept`: why old entries could not go."""
    plan = stored_plan(db)
    return [_finding(db, row, plan, keeping) for row in some(db, AccountRow, "ORDER BY account_no, epoch")]


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
        findings = [f for f in verify(db, _keeping(config)) if options.account in (0, f.account_no)]
        if options.json:
            print(json.dumps([_as_json(f) for f in findings], indent=1))
        else:
            _print_table(findings)
            if options.entries:
                _print_entries(db, findings)
    finally:
        db.close()
    return 0 if all(not f.fault for f in findings) else 1


def _keeping(config: EdgeConfig) -> Keeping:
    """By the machine's clock, and with some days' patience: a checkpoint is there for a part of the time only."""
    signer, keep_ms = config.journal_signer(), config.keep_journal_days * MS_PER_DAY
    keys = {**config.command_keys(), signer.key_id: signer.public} if signer else config.command_keys()
    now_ms = clock_from(config.virtual_clock_file or None).now_ms()
    return Keeping(keys, now_ms - keep_ms - 2 * keep_ms // STRETCHES)


def _finding(db: sqlite3.Connection, row: AccountRow, plan: Plan, keeping: Keeping) -> Finding:
    account = plan.accounts.get(row.account_no)
    currency = account.currency if account else ""
    kept_from = first_kept(db, row.account_no, row.epoch)
    try:
        state, problem = replayed(db, row.account_no, row.epoch, keeping.keys)
    except ContractError as error:
        return Finding(row.account_no, row.epoch, currency, state_from(row), str(error), kept_from)
    fault = f"entry {problem.seq}: {problem.text}" if problem else _cache_fault(row, state) or row.ledger_fault
    due = why_kept(db, row, keeping.before_ms, keeping.keys or {})
    return Finding(row.account_no, row.epoch, currency, state, fault, kept_from, due)


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
        "instruments_used_to": state.used.prefix, "clean": not finding.fault, "fault": finding.fault, "kept_from": finding.kept_from,
        "all_kept": finding.all_kept,
    }  # fmt: skip


def _print_table(findings: list[Finding]) -> None:
    rows = [HEADINGS, *(_cells(f) for f in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    broken = sum(bool(f.fault) for f in findings)
    print(f"\n{len(findings)} journals replayed, {broken} with a fault." if broken else f"\n{len(findings)} journals, all clean.")
    for f in findings:
        if f.kept_from > 1:
            print(f"Account {f.account_no}, epoch {f.epoch} begins with the countersigned checkpoint of entry {f.kept_from}.")
        if f.all_kept:
            print(f"Account {f.account_no}, epoch {f.epoch} keeps entries that are old enough to go: {f.all_kept}.")


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
        description="Replay every account journal of this concentrator from where it begins and compare it with the balances in use.",
        epilog="example: gridtally-dcu ledger --config dcu.toml --account 101 --entries. Exit 0: all clean; 1: a fault.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")
    parser.add_argument("--account", type=int, default=0, metavar="NO", help="one account only")
    parser.add_argument("--entries", action="store_true", help="print the entries too")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    return parser
