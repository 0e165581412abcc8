"""A consumer moves from bills to prepayment or back, step by step, as another system asked for it (BYPL-13, BYPL-14).

* To prepayment: the profile is set up; a meter that can not prepay waits for its installation order, one that can does not. Then the
  engineering token (a signed MODE_SET, once), the meter's confirmation, three reads, and the completion is told.
* To regular billing: three reads, the credit the meter holds and a check of the books first. What does not agree opens an exception
  and waits for a person; then token, confirmation, reads again, completion.
* No step switches anything off, and each is taken once: killed at any point, the worker goes on where it was.
* A read that fails opens an order (migration_reads.py). Completion is told when all have come, not before.

Source: BYPL-13.1 to 13.9, BYPL-14.1 to 14.10; prepayment.md 5.8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.customers import accounts, eligible
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import handover, policies, replaced, terms, withdrawn
from gridtally_cloud.prepay.held_credit import difference, held_in
from gridtally_cloud.prepay.migration_reads import ask_reads, reads_are_done, reads_of
from gridtally_cloud.prepay.migration_rows import (
    ACTOR,
    Migration,
    MigrationReason,
    MigrationState,
    Profile,
    S,
    Wish,
    advance,
    by_key,
    keep,
    migration,
    moving,
    under_way,
)  # fmt: skip
from gridtally_cloud.prepay.migration_tables import mode_migration
from gridtally_cloud.prepay.model import SupplyState
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import journal_entry
from gridtally_cloud.workorders.service import OrderKind, OrderState, WorkOrder, open_order, order, orders
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.conversion import handed_over_nano
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.signing import Signer


def ask(conn: Connection, wish: Wish, at_ms: int, actor: str) -> Migration:
    """Take a request in. Raises RefusedCommand (unknown_account, same_mode, managed, deposit, open_migration, bad_profile,
    unknown_policy, other_currency, tariff_not_prepaid)."""
    accounts.hold(conn, wish.account_no)
    known = by_key(conn, wish.idempotency_key)
    if known is not None:
        return known
    account = accounts.account(conn, wish.account_no)
    handover.check_change(conn, account, wish.to_mode, wish.deposit_nano, served=False)
    if moving(conn, wish.account_no) is not None:
        raise RefusedCommand(MigrationReason.OPEN_MIGRATION, f"account {wish.account_no} is on its way already: wait until that is done")
    _check_profile(conn, account, wish, at_ms)
    values = {
        "account_no": wish.account_no, "to_mode": wish.to_mode.value, "deposit_nano": wish.deposit_nano, "state": S.ASKED.value,
        "profile": json.dumps({"policy_id": wish.profile.policy_id, "tariff_id": wish.profile.tariff_id,
                               "low_balance_nano": wish.profile.low_balance_nano, "tariff_before": account.tariff_id}),
        "asked_by": actor, "asked_ms": at_ms, "state_ms": at_ms, "idempotency_key": wish.idempotency_key,
    }  # fmt: skip
    number = conn.execute(insert(mode_migration).values(values).returning(mode_migration.c.migration_no)).scalar_one()
    record(conn, at_ms, actor, "migration.asked", f"account:{wish.account_no}", f"migration {number} to {wish.to_mode.value}")
    return migration(conn, number)


def _check_profile(conn: Connection, account: Account, wish: Wish, at_ms: int) -> None:
    """Try the profile and take it back, so that a wrong one is refused now and not in a day."""
    low_nano = wish.profile.low_balance_nano
    if low_nano is not None and low_nano < 0:
        raise RefusedCommand(MigrationReason.BAD_PROFILE, "low_balance: write an amount from zero up")
    if wish.to_mode is Mode.PREPAID:
        eligible.check_prepaid(conn, wish.profile.tariff_id or account.tariff_id, account.zone, at_ms)
    with conn.begin_nested() as trial:
        _set_up(conn, account, wish.profile, at_ms)
        trial.rollback()


def _set_up(conn: Connection, account: Account, profile: Profile, at_ms: int) -> None:
    """The consumer's profile in the prepaid engine (BYPL-13.2)."""
    if profile.policy_id:
        policies.follow(conn, account.account_no, profile.policy_id, at_ms, ACTOR)
    if profile.tariff_id:
        mine = account_table.c.account_no == account.account_no
        conn.execute(update(account_table).where(mine).values(tariff_id=profile.tariff_id))
    if profile.low_balance_nano is not None:
        mine = account_table.c.account_no == account.account_no
        conn.execute(update(account_table).where(mine).values(low_balance_nano=profile.low_balance_nano))


# ---- step by step -----------------------------------------------------------------------------------------------------


def carry_out(db: Database, signer: Signer, now_ms: int) -> None:
    """The worker's part: each open migration as far as it goes now."""
    with db.read() as conn:
        numbers = [m.migration_no for m in under_way(conn)]
    for number in numbers:
        with db.write() as conn:
            _as_far_as_it_goes(conn, signer, number, now_ms)


def _as_far_as_it_goes(conn: Connection, signer: Signer, number: int, now_ms: int) -> None:
    accounts.hold(conn, migration(conn, number).wish.account_no)
    for _ in S:
        found = migration(conn, number)
        work = WORK.get(found.state)
        to = work(conn, signer, found, now_ms) if work else None
        if to is None:
            return
        advance(conn, found, to[0], now_ms, to[1])


Step = tuple[MigrationState, str] | None


def _begin(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    account = accounts.account(conn, found.wish.account_no)
    if found.wish.to_mode is Mode.POSTPAID:
        ask_reads(conn, signer, found, account, now_ms)
        return S.READING, ""
    _set_up(conn, account, found.wish.profile, now_ms)
    missing = what_is_missing(conn, account, now_ms)
    if not missing:
        return _change(conn, signer, found, now_ms)
    ordered = open_order(conn, OrderKind.INSTALL_PREPAID, account.account_no, f"migration {found.migration_no}", missing, now_ms, ACTOR)
    keep(conn, found, order_no=ordered.order_no)
    return S.INSTALLING, missing


def what_is_missing(conn: Connection, account: Account, at_ms: int) -> str:
    """Why the meter behind an account can not prepay; '' where it can."""
    if not account.dcu:
        return "no_concentrator"
    cuts = policies.rules_at(conn, account, at_ms).zero_action is ZeroAction.DISCONNECT
    return "no_switch" if cuts and balance(conn, account.account_no).supply is SupplyState.NOT_FITTED else ""


def _installed(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    done = order(conn, found.order_no or 0)
    if done.is_open:
        return None
    if done.state is OrderState.DROPPED:
        return _leave(conn, found, "installation_dropped")
    try:
        with conn.begin_nested():
            _bind(conn, signer, found, done, now_ms)
    except RefusedCommand as refused:
        return _again(conn, found, done, f"{refused.reason}: {refused.detail}", now_ms)
    return _change(conn, signer, found, now_ms)


def _bind(conn: Connection, signer: Signer, found: Migration, done: WorkOrder, now_ms: int) -> None:
    """The meter of the installation report behind the account, and the feeder it hangs on."""
    account, result = accounts.account(conn, found.wish.account_no), done.result
    number = replaced.meter_called(conn, str(result["meter_serial"]))
    if number != account.meter_no:
        replaced.swap_meter(conn, signer, account.account_no, number, None, int(result["register_wh"] or 0), now_ms, ACTOR)
    held = terms.terms_of(conn).get(account.account_no, terms.SupplyTerms())
    wanted = terms.SupplyTerms(str(result["feeder"]), held.contract_w, held.load_class, held.flags)
    terms.set_terms(conn, account.account_no, wanted, now_ms, ACTOR)


def _again(conn: Connection, found: Migration, done: WorkOrder, why: str, now_ms: int) -> Step:
    """The report does not fit: the same work once more, with the reason."""
    ref = f"migration {found.migration_no} after {done.order_no}"
    ordered = open_order(conn, OrderKind.INSTALL_PREPAID, found.wish.account_no, ref, "report_unfit", now_ms, ACTOR, why)
    keep(conn, found, order_no=ordered.order_no)
    return None


def _change(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    """The engineering token."""
    try:
        with conn.begin_nested():
            gseq = handover.convert(conn, signer, found.wish.account_no, found.wish.to_mode, now_ms, ACTOR, found.wish.deposit_nano)
    except RefusedCommand as refused:
        return _leave(conn, found, f"{refused.reason}: {refused.detail}")
    keep(conn, found, gseq=gseq)
    return S.CHANGING, ""


def _leave(conn: Connection, found: Migration, why: str) -> Step:
    """Nothing comes of it: the account is charged by the tariff it had."""
    profile, mine = found.wish.profile, account_table.c.account_no == found.wish.account_no
    if profile.tariff_id and profile.tariff_before:
        conn.execute(update(account_table).where(mine).values(tariff_id=profile.tariff_before))
    return S.REFUSED, why


def _read_before(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    return (S.CHECKING, "") if reads_are_done(conn, signer, found, now_ms) else None


def _check_books(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    """The credit at the meter's side is the wallet's, or a person looks first (BYPL-14.3)."""
    no, ref = found.wish.account_no, f"migration {found.migration_no}"
    looked = next((o for o in orders(conn, account_no=no) if o.kind is OrderKind.BALANCE_REVIEW and o.ref == ref), None)
    if looked is None:
        reason, text = _difference(conn, found)
        if reason:
            open_order(conn, OrderKind.BALANCE_REVIEW, no, ref, reason, now_ms, ACTOR, text)
            return None
    if looked is not None and looked.is_open:
        return None
    if looked is not None and looked.state is OrderState.DROPPED:
        return _leave(conn, found, "books_disagree")
    return _change(conn, signer, found, now_ms)


def _difference(conn: Connection, found: Migration) -> tuple[str, str]:
    """What does not agree, as a code and a sentence."""
    faults = reconcile(conn, found.wish.account_no)
    if faults:
        return "books_disagree", faults[0].text
    read = next((r for r in reads_of(conn, found) if r.type is CommandType.READ_SETTINGS), None)
    held = held_in(read.result) if read is not None and read.result else None
    text = difference(conn, accounts.account(conn, found.wish.account_no), held) if held is not None else ""
    return ("meter_credit", text) if text else ("", "")


def _changed(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    account = accounts.account(conn, found.wish.account_no)
    newest = handover.newest_order(conn, account)
    if newest is not None and newest.refused and newest.gseq == found.gseq:
        return _leave(conn, found, f"{withdrawn.REASON}: {newest.refused}")
    entry = _mode_entry(conn, account) if account.mode is found.wish.to_mode else None
    if entry is None:
        return None
    rest_nano = handed_over_nano(entry.postings)
    keep(conn, found, changed_ms=entry.at_ms, changed_wh=entry.register_after_wh, balance_nano=rest_nano)
    ask_reads(conn, signer, found, account, now_ms)
    return S.VERIFYING, ""


def _mode_entry(conn: Connection, account: Account) -> LedgerEntry | None:
    """The newest change in the mirror of the account's present epoch."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account.account_no, j.epoch == account.account_epoch, j.verified,
            j.kind.in_((int(Kind.MODE), int(Kind.OPEN))))  # fmt: skip
    body = conn.execute(select(j.body).where(*mine).order_by(j.seq.desc()).limit(1)).scalar_one_or_none()
    return entry_from(bytes(body)) if body is not None else None


def _verified(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> Step:
    return (S.DONE, "") if reads_are_done(conn, signer, found, now_ms) else None


WORK: Mapping[MigrationState, Callable[[Connection, Signer, Migration, int], Step]] = {
    S.ASKED: _begin, S.INSTALLING: _installed, S.READING: _read_before, S.CHECKING: _check_books, S.CHANGING: _changed,
    S.VERIFYING: _verified,
}  # fmt: skip
