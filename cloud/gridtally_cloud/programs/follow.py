"""Schedules go with their account: to its next meter, and to the concentrator that comes in place of a dead one.

* To another meter at the same concentrator: that one lets its schedules follow the account; here the times are taken at the new meter, and
  what never left the house is addressed to it.
* To another concentrator: the command that carries a schedule is signed again for it (commands/addressed.py). What an event used
  so far, as the mirror of the old one has it, is noted: the old one's own account of it will not come any more. The new one says what was
  used at it, and both together are charged (money.py).

Source: prepayment.md 5.8; C3-S3.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select, update

from gridtally_cloud.commands import addressed
from gridtally_cloud.programs import reads
from gridtally_cloud.programs.model import ScheduleView
from gridtally_cloud.programs.tables import schedule
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.contract.codec import decode
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.schedules.document import Outcome, Step
from gridtally_shared.signing import Signer


def to_meter(conn: Connection, signer: Signer, account_no: int, meter_no: int, now_ms: int, by: str) -> None:
    """The account is behind another meter, at the same concentrator."""
    views = open_ones(conn, account_no)
    _move(conn, views, meter_no)
    for row in addressed.these(conn, [view.cmd_id for view in views]):
        if not addressed.was_sent(conn, row):
            addressed.address(conn, signer, row, now_ms, by, meter_no=meter_no)


def to_edge(conn: Connection, signer: Signer, account_no: int, ended_epoch: int, dcu: str, now_ms: int, by: str) -> None:
    """The account goes on at another concentrator; `ended_epoch` is the one that ended with the old one. A command goes on for the meter it
    was written for: one that cancels it is for that meter too."""
    views = open_ones(conn, account_no)
    for view in views:
        _note_spent(conn, view, ended_epoch)
    for row in addressed.these(conn, [view.cmd_id for view in views], and_changes=True):
        addressed.address(conn, signer, row, now_ms, by, dcu=dcu)


def open_ones(conn: Connection, account_no: int) -> Sequence[ScheduleView]:
    """Schedules at an account's supply that have not ended."""
    return [view for view in reads.of_account(conn, account_no) if view.is_open and view.account_no == account_no]


def _move(conn: Connection, views: Sequence[ScheduleView], meter_no: int) -> None:
    numbers = [view.schedule_no for view in views]
    conn.execute(update(schedule).where(schedule.c.schedule_no.in_(numbers)).values(meter_no=meter_no))


def _note_spent(conn: Connection, view: ScheduleView, epoch: int) -> None:
    used = [outcome for outcome in _told(conn, view, epoch) if outcome.step == Step.USED]
    if used:
        nano = (view.spent_nano or 0) + sum(outcome.spent_nano for outcome in used)
        wh = (view.spent_wh or 0) + sum(outcome.spent_wh for outcome in used)
        conn.execute(update(schedule).where(schedule.c.schedule_no == view.schedule_no).values(spent_nano=nano, spent_wh=wh))


def _told(conn: Connection, view: ScheduleView, epoch: int) -> Iterator[Outcome]:
    """What the mirror of an epoch says of a schedule."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == view.account_no, j.epoch == epoch, j.kind == int(Kind.SCHEDULE), j.verified)
    for body in conn.execute(select(j.body).where(*mine).order_by(j.seq)).scalars():
        entry = entry_from(bytes(body))
        try:
            outcome = decode(Outcome, entry.detail)
        except ContractError:
            continue
        if entry.cause == view.cmd_id:
            yield outcome
