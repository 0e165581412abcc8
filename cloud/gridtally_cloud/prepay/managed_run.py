"""Accounts managed from the cloud, written on and decided on: money first, then the supply (safety.md 17).

* What is written goes through the same door as an upload (`take_journal`): every entry is checked, folded and kept, and each view and
  check of the books reads it alike.
* What an epoch brings along comes first; then in order of time: what became of an order, what was signed, what people did on site
  (site_words.py), each reading with the days that began before it and what its register moved. After what moves money the engine looks at
  it; it moves a switch only when all of it is written.
* One account is one transaction: journal, standing and orders are there together, or none of them. Its row is held for it, so that of
  several workers one decides. An account that can not be gone on with is told in the log, and keeps no other one waiting.

Source: prepayment.md 3.4, 5.5, 5.7.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from gridtally_cloud.billing.rerate import issued_plan
from gridtally_cloud.billing.usage import registers_since
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.model import Account
from gridtally_cloud.ingest.journal import take_journal
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import managed_facts, site_words
from gridtally_cloud.prepay.charging import begun_before, charging_of, terms_now, walk_of
from gridtally_cloud.prepay.handover_tables import account_swap, is_managed, managed_ones
from gridtally_cloud.prepay.managed_begin import begin
from gridtally_cloud.prepay.managed_due import Rounds
from gridtally_cloud.prepay.managed_engine import Desk, evaluate, note_end, take_back
from gridtally_cloud.prepay.managed_facts import Known, Said
from gridtally_cloud.prepay.managed_forecast import Forecasts
from gridtally_cloud.prepay.managed_others import withdraw_held
from gridtally_cloud.prepay.managed_pen import JUMPED, Pen
from gridtally_cloud.prepay.managed_supply import Supply, observe, save, supply_of
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType, JournalRange
from gridtally_shared.errors import GridtallyError
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.money_order import PLAIN
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.money import MAX_NANO
from gridtally_shared.prepay.facts import Happening, OffReason
from gridtally_shared.prepay.regions import Funds
from gridtally_shared.prepay.standing import standing_from
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer, open_unverified
from gridtally_shared.tariff.carried import carried, taken_over
from gridtally_shared.tariff.running import under

log = logging.getLogger(__name__)

MOST_NANO = MAX_NANO // 2
CUT_LEASE_DAYS = 7
"""How long a concentrator may go on cutting without a word from here (assets/config_publisher.py)."""


def run(db: Database, signer: Signer, at_ms: int, rounds: Rounds | None = None) -> int:
    """Write on and decide on every managed account, or those that are due by `rounds`; how many entries."""
    with db.read() as conn:
        numbers = rounds.due(conn, at_ms) if rounds is not None else sorted(managed_ones(conn))
        said = managed_facts.said(conn) if numbers else None
    if said is None:
        return 0
    written, forecasts = 0, Forecasts()
    for account_no in numbers:
        try:
            with db.write() as conn:
                written += write_on(conn, signer, account_no, said, at_ms, forecasts=forecasts)
        except GridtallyError as error:
            log.error("a managed account can not be gone on with", extra={"account_no": account_no, "reason": str(error)})
    return written


def write_on(
    conn: Connection, signer: Signer, account_no: int, said: Said, at_ms: int, happening: Happening | None = None,
    forecasts: Forecasts | None = None,
) -> int:  # fmt: skip
    """What one account's journal lacks, and what is to be done about its supply; how many entries. `happening`: what a person did."""
    hold(conn, account_no)
    if not is_managed(conn, account_no):
        return 0
    account = account_of(conn, account_no)
    known = managed_facts.known_of(conn, account, said, at_ms)
    before = supply_of(conn, account_no, account.account_epoch)
    supply = replace(before) if before else begin(conn, known.config, said)
    pen = _pen(conn, account, supply)
    if pen is None:
        return 0
    desk = _desk(conn, signer, at_ms, said, known, pen, supply, forecasts)
    _go_on(desk, happening)
    if supply != before:
        save(conn, supply)
    if pen.written:
        first = pen.state.seq - len(pen.written) + 1
        take_journal(desk.arrival, JournalRange(account_no, account.account_epoch, first, tuple(pen.written)))
        site_words.written(conn, account.meter_no, at_ms)
    return len(pen.written)


def accept_emergency(conn: Connection, signer: Signer, account_no: int, at_ms: int) -> bool:
    """The household takes up its emergency credit; whether it is in use now (prepayment.md T6)."""
    written = write_on(conn, signer, account_no, managed_facts.said(conn), at_ms, Happening.EMERGENCY_ACCEPTED)
    supply = supply_of(conn, account_no, account_of(conn, account_no).account_epoch)
    return bool(written) and supply is not None and standing_from(supply.standing).regions.funds is Funds.EC_IN_USE


def release(conn: Connection, signer: Signer, account: Account, at_ms: int) -> None:
    """The account goes back to its concentrator: a cut that is on its way is taken back."""
    supply, said = supply_of(conn, account.account_no, account.account_epoch), managed_facts.said(conn)
    pen = _pen(conn, account, supply) if supply is not None else None
    if supply is not None and pen is not None:
        take_back(_desk(conn, signer, at_ms, said, managed_facts.known_of(conn, account, said, at_ms), pen, supply), close=False)


def _desk(
    conn: Connection, signer: Signer, at_ms: int, said: Said, known: Known, pen: Pen, supply: Supply, forecasts: Forecasts | None = None
) -> Desk:
    desk = Desk(conn, signer, at_ms, said, known, pen, supply, forecasts or Forecasts())
    most_nano = desk.rules.policy.topup.max_balance_nano
    pen.rules, pen.most_nano = desk.money_rules, MOST_NANO if most_nano is None else min(most_nano, MOST_NANO)
    return desk


def _go_on(desk: Desk, happening: Happening | None) -> None:
    account, pen = desk.pen.account, desk.pen
    ended = observe(desk.conn, desk.supply, account.meter_no, desk.now_ms)
    if ended is not None:
        note_end(desk, ended)
    withdraw_held(desk.conn, desk.signer, account.meter_no, desk.known.config.holds, desk.now_ms)
    steps: list[_Step] = [
        *_unused(desk.conn, account, pen.state), *_on_site(desk.conn, account), *_readings(desk.conn, account, pen)
    ]  # fmt: skip
    for step in sorted(steps, key=_place):
        DOES[type(step)](desk, step)
    pen.begin_days(desk.now_ms)
    if desk.supply.off_reason == OffReason.UNORDERED:
        evaluate(desk, settled=False)
        _own_up(desk)
    evaluate(desk, happening)


def _place(step: _Step) -> tuple[bool, int]:
    """What the epoch brings along stands before any of its readings: without it the balance is not known."""
    brought = isinstance(step, _Signed) and step.made.type == InstrumentType.OPENING
    return not brought, step.at_ms


def _own_up(desk: Desk) -> None:
    """A switch is open and no order is known. It counts as opened by money where such a cut may stand of which nothing is known here: this
    store was put back from an older copy, or the account is used up and its concentrator may have acted before it heard that it runs
    it no more. Who pays then gets his supply back."""
    restored_ms, used_up = desk.known.read_since_ms, desk.standing.regions.funds is Funds.EXHAUSTED
    since_ms = max(restored_ms, desk.pen.begins_ms if used_up else 0)
    if desk.now_ms - since_ms <= CUT_LEASE_DAYS * MS_PER_DAY:
        desk.supply.off_reason = OffReason.BALANCE.value


def _use(desk: Desk, step: _Signed) -> None:
    made = step.made
    credited = desk.pen.use(made)
    evaluate(desk, Happening.CREDITED if credited else None, max(0, made.amount_nano), settled=False)


def _write(desk: Desk, step: _OnSite) -> None:
    """As it would stand in the journal of a concentrator."""
    desk.pen.add(Kind(step.kind), step.at_ms, cause=step.entry_id, detail=step.detail)


def _read(desk: Desk, step: _Read) -> None:
    held = desk.pen.read(step.at_ms, step.wh)
    if held:
        name = "register_jumped" if held == JUMPED else "register_went_back"
        desk.report(name, f"charged_to_wh={desk.pen.state.register_wh} read_wh={step.wh}")
    evaluate(desk, settled=False)


@dataclass(frozen=True, slots=True)
class _Signed:
    at_ms: int
    made: Instrument


@dataclass(frozen=True, slots=True)
class _OnSite:
    at_ms: int
    entry_id: bytes
    kind: int
    detail: bytes


@dataclass(frozen=True, slots=True)
class _Read:
    at_ms: int
    wh: int


_Step = _Signed | _OnSite | _Read
DOES: dict[type, Callable[[Desk, Any], None]] = {_Signed: _use, _OnSite: _write, _Read: _read}


def _unused(conn: Connection, account: Account, state: LedgerState) -> Iterator[_Signed]:
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch, i.gseq > state.used.prefix)
    for (envelope,) in conn.execute(select(i.envelope).where(*mine).order_by(i.gseq)):
        made = decode(Instrument, open_unverified(bytes(envelope))[1])
        yield _Signed(made.issued_at_ms, made)


def _on_site(conn: Connection, account: Account) -> Iterator[_OnSite]:
    for row in site_words.to_write(conn, account.meter_no):
        yield _OnSite(row.received_ms, bytes(row.entry_id), row.kind, bytes(row.detail))


def _readings(conn: Connection, account: Account, pen: Pen) -> Iterator[_Read]:
    since_ms = max(pen.state.register_at_ms, pen.good_ms) if pen.state.register_wh is not None else pen.begins_ms - 1
    return (_Read(at_ms, wh) for at_ms, wh in registers_since(conn, account.meter_no, since_ms))


def _pen(conn: Connection, account: Account, supply: Supply) -> Pen | None:
    """Where the journal stands, and what prices it; None where the tariff can not be read."""
    swap = conn.execute(select(account_swap).where(account_swap.c.account_no == account.account_no)).one()
    state = load(conn, account.account_no, account.account_epoch).state
    running = walk_of(conn, account.account_no, account.account_epoch).running
    last = begun_before(conn, account.account_no, account.account_epoch)
    before = charging_of(conn, replace(account, account_epoch=last)) if state.register_wh is None else None
    so_far_terms = running.terms if running else before.running.terms if before else None
    terms = terms_now(conn, account, so_far_terms)
    plan = issued_plan(conn, terms)
    if plan is None:
        return None
    so_far = issued_plan(conn, running.terms) if running else None
    now = under(so_far, running, terms) if running and so_far else None
    left = taken_over(carried(before.plan, before.running), plan, terms) if before else None
    return Pen(account, plan, terms, state, swap.opening_wh, swap.swapped_ms, now, left, running.terms if running else None,
               lambda at_ms: PLAIN, MOST_NANO, supply.good_ms, supply.held, supply.held_wh)  # fmt: skip
