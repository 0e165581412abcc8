"""The money of events (programme B): who pays, what the event holds, what goes back.

* Booked in double entry, each kind once: funding moves the amount from the requester to the event; at the end the energy used
  is taken out of it, and the rest goes back, or the overrun is charged to the requester (C3-S3.7, C3-S3.9).
* A prepaid requester is debited and credited by signed transfers on his own account; an overrun becomes a debt, never a sudden
  cut (safety.md 16). A postpaid requester finds both on his bill's account.
* The owner of the supply is never touched: the edge gives back at once what the event used (schedules/funding.py).
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import held, hold
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import wallet
from gridtally_cloud.prepay.estimate import plan_of
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.programs import reads
from gridtally_cloud.programs.model import ScheduleReason, ScheduleState, ScheduleView, transfer_reference
from gridtally_cloud.programs.tables import event_site, schedule, schedule_posting
from gridtally_cloud.store.tables import command
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import display
from gridtally_shared.schedules.document import Outcome, Programme, Schedule
from gridtally_shared.signing import Signer
from gridtally_shared.tariff.engine import advance, opened
from gridtally_shared.tariff.terms import Account as Terms
from gridtally_shared.tariff.use import Series

REQUESTER, EVENT, ENERGY = "requester", "event", "energy"
HOUR_MS = 3_600_000


def allow_events(conn: Connection, account_no: int, allowed: bool, by: str, now_ms: int) -> None:
    """The owner of a supply lets others hold prepaid events there, or no longer does."""
    hold(conn, account_no)
    conn.execute(delete(event_site).where(event_site.c.account_no == account_no))
    if allowed:
        conn.execute(insert(event_site).values(account_no=account_no, by=by, at_ms=now_ms))


def takes_events(conn: Connection, account_no: int) -> bool:
    return conn.execute(select(event_site.c.account_no).where(event_site.c.account_no == account_no)).first() is not None


def available_nano(conn: Connection, account: Account) -> int:
    """What a requester can spend: the mirrored balance less what is under way against it, or the credit of a bill's account."""
    if account.is_prepaid:
        seen = wallet.balance(conn, account.account_no)
        return seen.balance_nano + min(0, seen.pending_nano)
    return -receivables.outstanding_nano(conn, account.account_no)


def fund(conn: Connection, signer: Signer, event: Schedule, now_ms: int) -> None:
    """Debit the requester, fund the event. Raises RefusedCommand (not_enough_funds, other_currency)."""
    requester = held(conn, event.requester_no)
    receivables.hold_books(conn, event.requester_no)
    there_nano = available_nano(conn, requester)
    if requester.currency != event.currency:
        raise RefusedCommand(ScheduleReason.CURRENCY, f"the event is paid in {event.currency}, account {requester.account_no} in another")
    if event.credit_nano <= 0 or event.credit_nano > there_nano:
        need = display(event.credit_nano, event.currency)
        raise RefusedCommand(ScheduleReason.NO_FUNDS, f"the event takes {need}; account {requester.account_no} has "
                             f"{display(max(0, there_nano), event.currency)} to spend: pay first")  # fmt: skip
    rows = ((_requester(event.requester_no), -event.credit_nano), (_event(event.schedule_no), event.credit_nano))
    if _post(conn, event.schedule_no, "funding", rows, now_ms):
        _move(conn, signer, requester, -event.credit_nano, event.schedule_no, "funding", now_ms)


def settle(conn: Connection, signer: Signer, ended: ScheduleView, now_ms: int) -> bool:
    """Book what an event that is over came to, once. False while it is not over, or was settled."""
    hold(conn, ended.requester_no)
    if ended.is_open or not _take_up(conn, ended.schedule_no, now_ms):
        return False
    outcome = _outcome(conn, ended)
    used_nano, used_wh = (outcome.spent_nano, outcome.spent_wh) if outcome else (0, 0)
    used_nano, used_wh = used_nano + (ended.spent_nano or 0), used_wh + (ended.spent_wh or 0)  # at a concentrator before (follow.py)
    values = {"spent_nano": used_nano, "spent_wh": used_wh}
    conn.execute(update(schedule).where(schedule.c.schedule_no == ended.schedule_no).values(**values))
    if ended.programme is Programme.B:
        _settle_event(conn, signer, ended, used_nano, now_ms)
    return True


def settle_ended(conn: Connection, signer: Signer, now_ms: int) -> int:
    """All that are over and not settled. How many."""
    ended = [reads.find(conn, number) for number in unsettled(conn)]
    hold(conn, *(view.requester_no for view in ended))
    return sum(settle(conn, signer, view, now_ms) for view in ended)


def unsettled(conn: Connection) -> tuple[int, ...]:
    """Schedules whose command has ended and that were not settled."""
    joined = schedule.join(command, command.c.cmd_id == schedule.c.cmd_id)
    over = select(schedule.c.schedule_no).select_from(joined).where(schedule.c.state == "open", command.c.state >= int(CommandState.DONE))
    return tuple(conn.execute(over).scalars())


def worth_nano(conn: Connection, account: Account, wh: int, at_ms: int) -> int:
    """What an energy costs at the tariff in force at that time, at the beginning of its slabs, taxes included."""
    if wh <= 0:
        return 0
    plan = plan_of(conn, account)
    begin = opened(plan, Terms(), at_ms)
    with_use, without = (advance(plan, Terms(), begin, (Series(at_ms, HOUR_MS, (n,)),), at_ms + HOUR_MS) for n in (wh, 0))
    return with_use.amount_nano - without.amount_nano


def _settle_event(conn: Connection, signer: Signer, ended: ScheduleView, used_nano: int, now_ms: int) -> None:
    requester, event = held(conn, ended.requester_no), _event(ended.schedule_no)
    _post(conn, ended.schedule_no, "energy", ((event, -used_nano), (f"{ENERGY}:{ended.schedule_no}", used_nano)), now_ms)
    rest_nano = ended.credit_nano - used_nano
    if rest_nano > 0:
        _post(conn, ended.schedule_no, "return", ((event, -rest_nano), (_requester(ended.requester_no), rest_nano)), now_ms)
        _move(conn, signer, requester, rest_nano, ended.schedule_no, "return", now_ms)
    elif rest_nano < 0:
        _post(conn, ended.schedule_no, "overrun", ((_requester(ended.requester_no), rest_nano), (event, -rest_nano)), now_ms)
        receivables.post_event(conn, requester, -rest_nano, ended.schedule_no, now_ms)


def _move(conn: Connection, signer: Signer, requester: Account, amount_nano: int, schedule_no: int, kind: str, now_ms: int) -> None:
    """To (from, when negative) the requester's own money."""
    if requester.is_prepaid:
        issue(conn, signer, requester, InstrumentType.OPENING, amount_nano, Source(transfer_reference(schedule_no, kind)), now_ms)
    else:
        receivables.post_event(conn, requester, -amount_nano, schedule_no, now_ms)


def _post(conn: Connection, schedule_no: int, kind: str, rows: tuple[tuple[str, int], ...], now_ms: int) -> bool:
    p = schedule_posting.c
    if conn.execute(select(p.kind).where(p.schedule_no == schedule_no, p.kind == kind)).first() is not None:
        return False
    if sum(amount for _, amount in rows):
        raise ValueError(f"postings of schedule {schedule_no}, {kind}, do not sum to zero")
    values = [{"schedule_no": schedule_no, "kind": kind, "holder": h, "amount_nano": a, "at_ms": now_ms} for h, a in rows]
    conn.execute(insert(schedule_posting), values)
    return True


def _take_up(conn: Connection, schedule_no: int, now_ms: int) -> bool:
    s = schedule.c
    open_one = (s.schedule_no == schedule_no, s.state == "open")
    return conn.execute(update(schedule).where(*open_one).values(state="settled", state_at_ms=now_ms)).rowcount == 1


def _outcome(conn: Connection, ended: ScheduleView) -> Outcome | None:
    if ended.state is not ScheduleState.ENDED:
        return None
    try:
        return decode(Outcome, conn.execute(select(command.c.result).where(command.c.cmd_id == ended.cmd_id)).scalar_one())
    except ContractError:
        return None


def _requester(account_no: int) -> str:
    return f"{REQUESTER}:{account_no}"


def _event(schedule_no: int) -> str:
    return f"{EVENT}:{schedule_no}"
