"""Bills in the store: the inputs a bill is made of, the issued document, and the lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from gridtally_cloud.billing import arrangements, deposits, receivables
from gridtally_cloud.billing.checks import BillReason
from gridtally_cloud.billing.counted import counted_on, meter_of, register_near, shown_by
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.due_lines import ADDED, lines_since
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.interval_use import use_between
from gridtally_cloud.billing.model import Bill, BillKind, BillRow, BillState, BillView, Party, Reading, Tail, Turn
from gridtally_cloud.billing.names import payment_name
from gridtally_cloud.billing.postpaid import BillInputs, Paid, Stop
from gridtally_cloud.billing.rate_registers import RateRegisters, plan_names_registers
from gridtally_cloud.billing.references import references
from gridtally_cloud.billing.statement import StatementInputs
from gridtally_cloud.billing.stretches import Stretch, stretch_at
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.tail import ending
from gridtally_cloud.billing.usage import first_register, measured
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.prepay.terms import terms_of_account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of as date_of_day
from gridtally_cloud.store.db import in_turn
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import LedgerEntry, entry_from
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.running import Terms
from gridtally_shared.tariff.terms import Plan

PREFIX = {BillKind.STATEMENT: "S", BillKind.BILL: "B"}
_b = bill_table.c
_STANDING = _b.cancelled_ms.is_(None)


def party_of(account: Account, plan: Plan) -> Party:
    return Party(account.account_no, account.customer_name, account.address, account.meter_serial,
                 plan.name or account.tariff_id, account.zone, account.language, account.currency)  # fmt: skip


def journal_of(conn: Connection, account_no: int) -> tuple[LedgerEntry, ...]:
    """The verified mirror of an account, all epochs, oldest first."""
    j = journal_entry.c
    query = select(j.body).where(j.shard == SHARD, j.account_no == account_no, j.verified).order_by(j.epoch, j.seq)
    return tuple(entry_from(body) for body in conn.execute(query).scalars())


def journal_reach(conn: Connection, account: Account) -> tuple[int, bool]:
    """How far the mirror reaches in time, and whether it has stopped at a problem."""
    m = account_mirror.c
    mine = select(m.at_ms, m.stopped).where(m.shard == SHARD, m.account_no == account.account_no, m.epoch == account.account_epoch)
    row = conn.execute(mine).one_or_none()
    return (row.at_ms, row.stopped) if row else (0, False)


def statement_inputs(conn: Connection, account: Account, from_ms: int, to_ms: int) -> StatementInputs:
    plan = pinned_plan(versions_of(conn, account.tariff_id), account.zone)
    days, quality = measured(Held(conn), account.usage_point_no, from_ms, to_ms, account.zone)
    return StatementInputs(
        party_of(account, plan), from_ms, to_ms, journal_of(conn, account.account_no),
        references(conn, account.account_no),
        days, quality,
    )  # fmt: skip


def bill_inputs(conn: Connection, account: Account, from_ms: int, to_ms: int, used_wh: int | None = None,
                held: Held | None = None, estimate: bool = False) -> BillInputs:  # fmt: skip
    """Raises RefusedCommand when a register reading the bill rests on is missing, when the register went back, or when the account paid
    ahead at the end of the period. `used_wh`: a provisional bill, which ends with its use instead of a reading. `held`: what was read
    in this transaction already. `estimate`: where no reading reaches the end, it is estimated (`tail.py`)."""
    held = held or Held(conn)
    versions, stretch = versions_of(conn, account.tariff_id), stretch_at(conn, account, to_ms - 1)
    if stretch is None:
        raise RefusedCommand(BillReason.NOT_OPEN_YET, "the account paid ahead then: its statement shows that time")
    begin_ms = max(from_ms, stretch.from_ms)
    before = _stops_before(held, account, stretch, begin_ms)
    opening = _opening_reading(held, account, stretch, begin_ms, before)
    end, tail, turns = _ending(held, account, stretch, begin_ms, opening, to_ms, used_wh, estimate)
    stops = (*before, Stop(begin_ms, opening), Stop(to_ms, end))
    arrears_nano, since = _last_closing(conn, account.account_no)
    use, quality = measured(held, account.usage_point_no, from_ms, to_ms, account.zone)
    plan = pinned_plan(versions, account.zone)
    registers = _rate_registers(conn, account) if plan_names_registers(plan) else None
    counted, lacking = use_between(held, account.usage_point_no, plan, stops, registers)
    if lacking and used_wh is None:
        missing = f"{lacking.missing} intervals are missing" if lacking.missing else "none was measured"
        raise RefusedCommand(BillReason.INTERVALS_NEEDED, f"this tariff counts {lacking.quantity}, and of this period {missing}: have them "
                             "read again, or estimated by gridtally-mdm vee")  # fmt: skip
    return BillInputs(party_of(account, plan), from_ms, to_ms, plan, _terms(conn, account), stops,
                      arrears_nano, _paid_since(conn, account.account_no, since), use, quality, _days_from(stretch, account.zone),
                      counted, since, tail=tail, turns=turns)  # fmt: skip


def _ending(held: Held, account: Account, stretch: Stretch, begin_ms: int, opening: Reading, to_ms: int, used_wh: int | None,
            estimate: bool) -> tuple[Reading, Tail | None, tuple[Turn, ...]]:  # fmt: skip
    """The register at the end of the period, what of it is estimated because no reading reaches that far, and where it went back."""
    if used_wh is not None:
        return Reading(to_ms, opening.register_wh + used_wh, estimated=True, ahead_wh=opening.ahead_wh), None, ()
    if stretch.last and stretch.until_ms == to_ms:
        found: Reading | None = shown_by(held.conn, account.meter_no, stretch.last)
    else:
        found = register_near(held, account, to_ms, _slack_ms(held.conn, account))
    if found is None and estimate:
        return ending(held, account, begin_ms, opening, to_ms)
    end, turns = counted_on(held, account, opening, found or _missing(account))
    return end, None, turns


def _terms(conn: Connection, account: Account) -> Terms:
    """With the contract and the flags of the supply."""
    supply = terms_of_account(conn, account.account_no)
    return Terms(account.tariff_id, account.zone, (), supply.contract_w, supply.flags)


def _days_from(stretch: Stretch, zone: str) -> int:
    """The first day the bills charge: the journal charged that of the change from prepayment."""
    return date_of_day(stretch.from_ms - 1, zone) + 1 if stretch.first else 0


def billed_until(conn: Connection, account_no: int) -> int:
    """Where the newest bill ended; 0 before the first one."""
    query = select(func.max(_b.to_ms)).where(_b.account_no == account_no, _b.kind == BillKind.BILL.value, _STANDING)
    return conn.execute(query).scalar_one_or_none() or 0


def _stops_before(held: Held, account: Account, stretch: Stretch, begin_ms: int) -> tuple[Stop, ...]:
    """The beginning of the stretch and the ends of its bills issued before, where they are not the beginning itself."""
    mine = (_b.account_no == account.account_no, _b.kind == BillKind.BILL.value, _b.to_ms > stretch.from_ms, _b.to_ms < begin_ms, _STANDING)
    query = select(_b.to_ms, _b.document).where(*mine)
    rows = held.conn.execute(query.order_by(_b.to_ms))
    ends = [(row.to_ms, _end_of(row.document)) for row in rows]
    opening = (Stop(stretch.from_ms, _begun(held, account, stretch)),) if begin_ms > stretch.from_ms else ()
    return (*opening, *(Stop(to_ms, reading) for to_ms, reading in ends if reading))


def _end_of(document: str) -> Reading | None:
    """The register at the end of a bill; those of the first form have it on their lines only."""
    made = from_json(document)
    return made.last or next((line.last for line in reversed(made.lines) if line.last), None)


def _slack_ms(conn: Connection, account: Account) -> int:
    """A reading this near to a boundary counts as the one at the boundary: half an interval."""
    return int(meter_of(conn, account.meter_no).interval_s) * 500


def _rate_registers(conn: Connection, account: Account) -> RateRegisters:
    return RateRegisters(conn, account.meter_no, _slack_ms(conn, account), meter_of(conn, account.meter_no).register_end_wh)


def _missing(account: Account) -> Reading:
    raise RefusedCommand(BillReason.REGISTER_MISSING, f"no register reading of meter {account.meter_serial} around one end "
                         "of the period: wait for the next reading, or enter one")  # fmt: skip


def _begun(held: Held, account: Account, stretch: Stretch) -> Reading:
    """The register a stretch began with: that of the change from prepayment, at the account's opening, or the oldest reading after it."""
    if stretch.first:
        return shown_by(held.conn, account.meter_no, stretch.first)
    at_opening = register_near(held, account, account.opened_at_ms, _slack_ms(held.conn, account))
    return at_opening or first_register(held.conn, account.meter_no) or _missing(account)


def _opening_reading(held: Held, account: Account, stretch: Stretch, at_ms: int, before: tuple[Stop, ...]) -> Reading:
    """The reading of the change from prepayment; where the last bill stopped, so that no Wh falls between two bills; else the register
    at the boundary, counted on from the stops `before` it."""
    conn = held.conn
    if stretch.first and at_ms <= stretch.from_ms:
        return _begun(held, account, stretch)
    query = select(_b.document).where(_b.account_no == account.account_no, _b.kind == BillKind.BILL.value, _b.to_ms == at_ms, _STANDING)
    document = conn.execute(query).scalar_one_or_none()
    last = _end_of(document) if document else None
    if last:
        return last
    if at_ms <= account.opened_at_ms:
        return _begun(held, account, stretch)
    found = register_near(held, account, at_ms, _slack_ms(conn, account)) or _missing(account)
    return counted_on(held, account, before[-1].reading, found)[0] if before else found


def _last_closing(conn: Connection, account_no: int) -> tuple[int, int]:
    """What the last bill left, and the newest receivable row it knew (0, 0 before the first bill)."""
    r = receivable.c
    row = conn.execute(select(r.receivable_no, bill_table.c.closing_nano).join(bill_table, _b.bill_no == r.bill_no)
                       .where(r.account_no == account_no, r.kind == "bill").order_by(r.receivable_no.desc()).limit(1)).first()
    return (row.closing_nano, row.receivable_no) if row else (0, 0)


def _paid_since(conn: Connection, account_no: int, receivable_no: int) -> tuple[Paid, ...]:
    r = receivable.c
    query = select(r.at_ms, r.kind, r.amount_nano, r.payment_no)
    rows = conn.execute(query.where(r.account_no == account_no, r.receivable_no > receivable_no, r.kind.in_(receivables.PAID_KINDS))
                        .order_by(r.receivable_no))  # fmt: skip
    return tuple(Paid(x.at_ms, -x.amount_nano if x.kind == "payment" else x.amount_nano,
                      payment_name(x.payment_no) if x.payment_no else "") for x in rows)  # fmt: skip


def overlapping(conn: Connection, account_no: int, kind: BillKind, from_ms: int, to_ms: int) -> str:
    """Number of an issued bill that shares time with the period, '' when none."""
    query = select(_b.bill_no).where(_b.account_no == account_no, _b.kind == kind.value, _b.from_ms < to_ms, _b.to_ms > from_ms, _STANDING)
    return conn.execute(query.limit(1)).scalar_one_or_none() or ""


def same_period(conn: Connection, account_no: int, kind: BillKind, from_ms: int, to_ms: int) -> str:
    """Number of the bill already issued for exactly this period, '' when none."""
    mine = (_b.account_no == account_no, _b.kind == kind.value, _b.from_ms == from_ms, _b.to_ms == to_ms, _STANDING)
    return conn.execute(select(_b.bill_no).where(*mine)).scalar_one_or_none() or ""


def save_bill(conn: Connection, bill: Bill, charged_nano: int, at_ms: int, due_ms: int | None) -> str:
    """Store an issued document under the next number; numbers have no gaps, so whoever takes one holds up the others until he is done."""
    in_turn(conn, "bill numbers")
    following = (conn.execute(select(func.max(_b.bill_id))).scalar_one() or 0) + 1
    bill_no = f"{PREFIX[bill.kind]}-{following:07d}"
    before = select(func.count()).where(_b.account_no == bill.party.account_no, _b.kind == bill.kind.value, _b.from_ms == bill.from_ms,
                                        _b.to_ms == bill.to_ms)  # fmt: skip
    conn.execute(insert(bill_table).values(
        bill_id=following, bill_no=bill_no, account_no=bill.party.account_no, kind=bill.kind.value, from_ms=bill.from_ms,
        to_ms=bill.to_ms, currency=bill.party.currency, charged_nano=charged_nano, closing_nano=bill.closing_nano,
        document=to_json(bill), issued_ms=at_ms, due_ms=due_ms, revision=conn.execute(before).scalar_one(),
    ))  # fmt: skip
    return bill_no


def load_bill(conn: Connection, bill_no: str) -> BillView:
    """Raises RefusedCommand (unknown_bill)."""
    row = conn.execute(select(bill_table).where(_b.bill_no == bill_no)).one_or_none()
    if row is None:
        raise RefusedCommand(BillReason.UNKNOWN_BILL, f"there is no bill {bill_no!r}: the list of bills shows their numbers")
    state, due_nano = _state(row, receivables.due_of_bills(conn, row.account_no))
    return BillView(row.bill_no, row.issued_ms, row.due_ms, state, due_nano, from_json(row.document), row.cancelled_by or "")


def cancel(conn: Connection, bill_no: str, at_ms: int) -> None:
    """The bill stands no more; which one stands in its place is told with `replaced`."""
    conn.execute(update(bill_table).where(_b.bill_no == bill_no).values(cancelled_ms=at_ms))


def replaced(conn: Connection, bill_no: str, by: str) -> None:
    conn.execute(update(bill_table).where(_b.bill_no == bill_no).values(cancelled_by=by))


def standing_from(conn: Connection, account_no: int, from_ms: int) -> tuple[str, ...]:
    """Numbers of the bills that stand and begin then or later, oldest period first."""
    mine = (_b.account_no == account_no, _b.kind == BillKind.BILL.value, _b.from_ms >= from_ms, _STANDING)
    return tuple(conn.execute(select(_b.bill_no).where(*mine).order_by(_b.from_ms)).scalars())


def charged_nano(conn: Connection, bill_no: str) -> int:
    """What a bill added to what is owed."""
    return int(conn.execute(select(_b.charged_nano).where(_b.bill_no == bill_no)).scalar_one())


def bill_rows(conn: Connection, account_no: int) -> tuple[BillRow, ...]:
    """Bills and statements of an account, newest period first."""
    due = receivables.due_of_bills(conn, account_no)
    rows = conn.execute(select(bill_table).where(_b.account_no == account_no).order_by(_b.from_ms.desc(), _b.bill_id.desc()))
    return tuple(_row(row, due) for row in rows)


def _row(row: Row[Any], due: dict[str, receivables.Due]) -> BillRow:
    state, due_nano = _state(row, due)
    return BillRow(row.bill_no, row.account_no, BillKind(row.kind), row.from_ms, row.to_ms, row.issued_ms, row.charged_nano,
                   due_nano, row.currency, state)  # fmt: skip


def _state(row: Row[Any], due: dict[str, receivables.Due]) -> tuple[BillState, int]:
    if row.cancelled_ms is not None:
        return BillState.CANCELLED, 0
    if row.kind == BillKind.STATEMENT.value:
        return BillState.SETTLED, 0
    mine = due[row.bill_no]
    if mine.rest_nano <= 0:
        return (BillState.CARRIED if mine.carried_nano else BillState.PAID), 0
    return (BillState.ISSUED if mine.rest_nano == mine.amount_nano else BillState.PART_PAID), mine.rest_nano


def with_books(conn: Connection, account: Account, inputs: BillInputs, at_ms: int) -> BillInputs:
    """The inputs with what the books say now beside bills and money: charges for late payment, a deposit, an arrangement."""
    kinds, since = receivables.kinds_of(conn, account.account_no), inputs.known_no
    return replace(inputs, added=lines_since(conn, account, since) if kinds & ADDED else (),
                   deposit=deposits.on_bill(conn, account.account_no, since) if "deposit" in kinds else None,
                   arranged=arrangements.on_bill(conn, account, at_ms))  # fmt: skip
