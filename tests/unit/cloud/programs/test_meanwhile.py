"""Schedules and the money of events at the same time, on PostgreSQL: nobody spends the same money twice, no time is given to two.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from gridtally_cloud.commands import states
from gridtally_cloud.ingest import mirror
from gridtally_cloud.prepay import replaced
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.programs import money, reads, service
from gridtally_cloud.programs.model import Booking, ScheduleReason, ScheduleState, ScheduleView
from gridtally_cloud.store.tables import account_mirror, dcu
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Programme
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

SIGNER = KeySigner.from_seed(b"\x06" * 32)
HOUR_MS = 3_600_000
Step = Callable[[Connection], Any]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Accounts 1 and 3 take events; account 2 has 100.00 to spend."""
    street = new_street(tmp_path)
    state = LedgerState(2, 1, seq=3, pools={Pool.PAID: nano("100")})
    with street.db.write() as conn:
        for number in (1, 3):
            money.allow_events(conn, number, True, "dora", START_MS)
        conn.execute(insert(account_mirror).values(
            shard=0, account_no=2, epoch=1, seq=3, head=bytes(32), balance_nano=nano("100"), at_ms=START_MS, gseq_prefix=0,
            dcu=street.dcu, state=mirror.state_bytes(state), meter_no=2, updated_ms=START_MS,
        ))  # fmt: skip
    yield street
    street.db.close()


def booked(at: int = 5, account_no: int = 1, **more: Any) -> Step:
    """A step: two hours of a supply."""
    start_ms = START_MS + at * HOUR_MS
    end_ms = start_ms + 2 * HOUR_MS
    wish = {"programme": Programme.A, "account_no": account_no, "start_ms": start_ms, "end_ms": end_ms, "by": "dora", **more}
    return lambda conn: service.book(conn, SIGNER, Booking(**wish), START_MS)


def event(account_no: int = 1, credit: str = "60", **more: Any) -> Step:
    return booked(account_no=account_no, programme=Programme.B, requester_no=2, credit_nano=nano(credit), **more)


def cancelled(number: int) -> Step:
    return lambda conn: service.cancel(conn, SIGNER, number, "dora", START_MS)


def moved(number: int, at: int) -> Step:
    start_ms = START_MS + at * HOUR_MS
    return lambda conn: service.move(conn, SIGNER, number, start_ms, start_ms + 2 * HOUR_MS, "dora", START_MS)


def settled(conn: Connection) -> int:
    return money.settle_ended(conn, SIGNER, START_MS)


def there(street: Street, step: Step) -> ScheduleView:
    with street.db.write() as conn:
        view: ScheduleView = step(conn)
    return view


def paid_and_back(street: Street, epoch: int = 1) -> list[int]:
    """What left and came back to account 2, by the numbers of its instruments."""
    i = instrument.c
    with street.db.read() as conn:
        rows = conn.execute(select(i.gseq, i.amount_nano).where(i.account_no == 2, i.epoch == epoch).order_by(i.gseq)).all()
    assert [row.gseq for row in rows] == list(range(1, len(rows) + 1))
    return [row.amount_nano for row in rows]


def test_two_events_are_not_paid_with_the_same_money(street: Street) -> None:
    with pytest.raises(RefusedCommand, match=ScheduleReason.NO_FUNDS):
        meanwhile(street.db, event(1), event(3)).result()
    assert paid_and_back(street) == [-nano("60")]
    meanwhile(street.db, event(1, "10", at=8), event(3, "10", at=8)).result()
    assert paid_and_back(street) == [-nano("60"), -nano("10"), -nano("10")]


def test_a_booking_that_is_sent_twice_is_one(street: Street) -> None:
    first, second = (event(idempotency_key="k1") for _ in range(2))
    assert meanwhile(street.db, first, second).result().schedule_no == 1
    assert paid_and_back(street) == [-nano("60")]


def test_a_schedule_does_not_move_to_where_another_one_is_booked(street: Street) -> None:
    number = there(street, booked(9)).schedule_no
    with pytest.raises(RefusedCommand, match=ScheduleReason.OVERLAP):
        meanwhile(street.db, booked(5), moved(number, 6)).result()


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_schedule_that_is_moved_and_cancelled_is_cancelled_with_its_money_back(street: Street, cancel_first: bool) -> None:
    number = there(street, event()).schedule_no
    steps = [cancelled(number), moved(number, 8)]
    done = meanwhile(street.db, *(steps if cancel_first else reversed(steps)))
    assert isinstance(done.exception(), RefusedCommand) is cancel_first
    with street.db.read() as conn:
        assert reads.find(conn, number).state is ScheduleState.CANCELLED
    assert paid_and_back(street) == [-nano("60"), nano("60")]


def test_two_who_cancel_get_the_money_back_once(street: Street) -> None:
    number = there(street, event()).schedule_no
    with pytest.raises(RefusedCommand, match=ScheduleReason.TOO_LATE):
        meanwhile(street.db, cancelled(number), cancelled(number)).result()
    assert paid_and_back(street) == [-nano("60"), nano("60")]


def test_two_workers_settle_an_event_once(street: Street) -> None:
    view = there(street, event())
    with street.db.write() as conn:
        for step in (CommandState.QUEUED, CommandState.DELIVERED, CommandState.FAILED):
            states.advance(conn, view.cmd_id, step, START_MS, "dcu", "", b"")
    assert meanwhile(street.db, settled, settled).result() == 0
    assert paid_and_back(street) == [-nano("60"), nano("60")]


def test_what_an_event_gives_back_beside_another_concentrator_is_in_the_epoch_that_goes_on(street: Street) -> None:
    number = there(street, event()).schedule_no
    with street.db.write() as conn:
        conn.execute(insert(dcu).values(dcu="dcu-new", serial="S-NEW", state="active", created_ms=START_MS))
    meanwhile(street.db, cancelled(number), lambda conn: replaced.replace_edge(conn, SIGNER, 2, "dcu-new", START_MS, "desk")).result()
    assert sum(paid_and_back(street, 2)) == nano("100")
