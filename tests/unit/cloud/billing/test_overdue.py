"""What is overdue: late by its day, less all that was paid; arranged by instalments; limits that hold to it. On SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from gridtally_cloud.billing import arrangements
from gridtally_cloud.billing import receivables as books
from gridtally_cloud.billing.instalments import ArrangementState, Instalment, Plan
from gridtally_cloud.billing.overdue import Arrears, ToPay, arrears_of, by_instalments, overdue_nano
from gridtally_cloud.billing.receivables import outstanding_nano
from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import arrears
from gridtally_cloud.prepay.arrears import LimitState
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.days import date_of, day_of, midnight_ms
from gridtally_cloud.store.tables import meter
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.money import nano
from gridtally_shared.signing import KeySigner, open_unverified
from support.cloud_store import START_MS, Street, new_street

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
ZONE = "Asia/Kolkata"
TODAY = day_of(START_MS, ZONE)
SIGNER = KeySigner.from_seed(b"o" * 32)


# ---- pure -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.integers(0, 9)))), st.integers(-20, 200), st.integers(0, 9))
def test_money_pays_what_is_late_first(claims: list[tuple[int, int | None]], paid: int, now: int) -> None:
    """The slow way: coin by coin, what has to be paid soonest first."""
    left, late = paid, 0
    for amount, day in sorted(claims, key=lambda each: 10 if each[1] is None else each[1]):
        late += max(0, amount - max(0, left)) if day is not None and day <= now else 0
        left -= amount
    late += max(0, -paid)
    expected = late if any(day is not None and day <= now for _, day in claims) or paid < 0 else 0
    assert overdue_nano([ToPay(*each) for each in claims], paid, now) == expected


def test_instalments_are_late_after_their_day_and_the_grace() -> None:
    plan = Plan(TODAY, 3, (Instalment(TODAY + 10, 60), Instalment(TODAY + 40, 40)))
    first_ms, second_ms = midnight_ms(TODAY + 14, ZONE), midnight_ms(TODAY + 44, ZONE)
    assert by_instalments(plan, 100, ZONE) == (ToPay(60, first_ms), ToPay(40, second_ms))
    assert by_instalments(plan, 70, ZONE) == (ToPay(30, first_ms), ToPay(40, second_ms))


# ---- the books ------------------------------------------------------------------------------------------------


class Books:
    """An account of a street and its books, by days from today on."""

    def __init__(self, street: Street, no: int = 1) -> None:
        self.db, self.no, self.now_ms, self.bills = street.db, no, midnight_ms(TODAY, ZONE) + 12 * HOUR_MS, 0

    def bill(self, amount: str, due_in: int | None, period: int = 0) -> str:
        """A bill that is due so many days from now, at noon."""
        self.bills += 1
        number, at = f"B-{self.no}-{self.bills}", period or self.bills
        row = {"bill_no": number, "account_no": self.no, "kind": "bill", "from_ms": at * 1000, "to_ms": at * 1000 + 999, "currency": "EUR",
               "charged_nano": nano(amount), "closing_nano": nano(amount), "document": "{}", "issued_ms": self.now_ms,
               "due_ms": None if due_in is None else self.now_ms + due_in * DAY_MS, "revision": self.bills}  # fmt: skip
        with self.db.write() as conn:
            conn.execute(insert(bill).values(row))
            books.post_bill(conn, account_of(conn, self.no), nano(amount), number, self.now_ms)
        return number

    def again(self, old: str, was: str, amount: str) -> str:
        """A bill is cancelled, and made again for its period; it is due in 14 days."""
        with self.db.write() as conn:
            period = conn.execute(select(bill.c.from_ms).where(bill.c.bill_no == old)).scalar_one() // 1000
            conn.execute(update(bill).where(bill.c.bill_no == old).values(cancelled_ms=self.now_ms))
            books.post_cancelled(conn, account_of(conn, self.no), nano(was), old, self.now_ms)
        return self.bill(amount, 14, period)

    def pay(self, amount: str) -> None:
        with self.db.write() as conn:
            books.post_payment(conn, account_of(conn, self.no), nano(amount), 1, self.now_ms)

    def arrange(self, *days: int, grace: int = 0) -> None:
        """Equal parts, by days from now."""
        today = day_of(self.now_ms, ZONE)
        with self.db.write() as conn:
            arrangements.make(conn, self.no, [today + d for d in days], [1] * len(days), grace, self.now_ms, "desk", "")

    def arrangement(self) -> ArrangementState:
        with self.db.read() as conn:
            return arrangements.arrangements_of(conn, account_of(conn, self.no), self.now_ms)[-1].standing.state

    def wait(self, days: int) -> None:
        self.now_ms += days * DAY_MS

    def stands(self) -> Arrears:
        with self.db.read() as conn:
            found = arrears_of(conn, account_of(conn, self.no), self.now_ms)
            assert found.owed_nano == outstanding_nano(conn, self.no)
        return found

    @property
    def overdue(self) -> int:
        return self.stands().overdue_nano // nano("1")

    # ---- limits ----

    def tell(self, hours: int = 72) -> arrears.ArrearsLimit:
        with self.db.write() as conn:
            return arrears.tell(conn, self.no, 900, self.now_ms, "desk", hours * HOUR_MS)

    def refused(self) -> tuple[str, str]:
        with pytest.raises(RefusedCommand) as found:
            self.tell()
        return str(found.value.reason), found.value.detail

    def turn(self, looked: dict[int, arrears.Mark] | None = None) -> tuple[LimitState, str]:
        """The worker looks; the newest limit."""
        arrears.carry_out(self.db, SIGNER, self.now_ms, looked)
        with self.db.read() as conn:
            newest = arrears.limits(conn, self.no)[0]
        return newest.state, newest.reason

    def orders(self) -> list[int]:
        """Watts of the limit orders that were signed, 0 for one lifted."""
        i = instrument.c
        with self.db.read() as conn:
            rows = conn.execute(select(i.envelope).where(i.account_no == self.no, i.type == int(InstrumentType.LIMIT_SET)).order_by(i.gseq))
            return [detail_of(decode(Instrument, open_unverified(bytes(e))[1])).limit_w for e in rows.scalars()]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path, 2, ZONE)
    with street.db.write() as conn:
        conn.execute(update(account_table).values(mode="postpaid"))
    yield street
    street.db.close()


@pytest.fixture
def home(street: Street) -> Books:
    return Books(street)


def test_a_bill_is_overdue_when_its_last_day_is_over_and_not_before(home: Books) -> None:
    home.bill("100", 5)
    home.wait(5)
    home.now_ms = midnight_ms(TODAY + 6, ZONE) - 1
    assert home.overdue == 0
    assert home.stands().next_ms == midnight_ms(TODAY + 6, ZONE)
    home.now_ms += 1
    assert home.overdue == 100
    home.pay("99.50")
    assert home.stands().overdue_nano == nano("0.50")
    home.pay("0.50")
    assert home.stands() == Arrears(0)
    home.bill("40", None)
    home.wait(400)
    assert (home.overdue, home.stands().next_ms) == (0, None), "a bill that names no day"


def test_who_paid_as_much_as_fell_due_is_not_in_arrears_whichever_bill_it_pays(home: Books) -> None:
    first, _ = home.bill("300", 1), home.bill("200", 2)
    home.wait(3)
    home.pay("300")
    assert home.overdue == 200
    home.again(first, "300", "320")  # the older one is due anew, and the books pay it first
    assert home.overdue == 0, "300 were paid, 200 fell due"
    home.wait(15)
    assert home.overdue == 220
    home.bill("-50", 30)
    assert home.overdue == 170, "a bill below zero is a credit at once"


def test_what_no_late_bill_shows_is_not_overdue(home: Books) -> None:
    with home.db.write() as conn:
        account = account_of(conn, home.no)
        books.post_late(conn, account, nano("5"), "B-0", home.now_ms)
        books.post_assessment(conn, account, nano("70"), home.now_ms)
        books.post_event(conn, account, nano("20"), 1, home.now_ms)
        books.post_conversion(conn, account, nano("10"), home.now_ms)
    home.wait(30)
    assert (home.stands().owed_nano, home.overdue, home.stands().next_ms) == (nano("105"), 0, None)
    code, said = home.refused()
    assert (code, "make one (gridtally-mdm bill 1)" in said) == ("not_due", True)
    home.bill("100", 10)
    home.wait(10)
    assert home.overdue == 0
    home.wait(1)
    assert home.overdue == 205
    home.pay("205")
    with home.db.write() as conn:
        books.post_refund(conn, account_of(conn, home.no), nano("205"), 1, home.now_ms)
    assert home.overdue == 205, "what was given back is not paid"


def test_another_systems_claim_counts_from_its_posting(home: Books) -> None:
    with home.db.write() as conn:
        books.post_bill(conn, account_of(conn, home.no), nano("500"), "OLD-1", home.now_ms)
    home.bill("100", 14)
    assert home.overdue == 500
    home.pay("500")
    assert home.overdue == 0
    with home.db.write() as conn:
        books.post_cancelled(conn, account_of(conn, home.no), nano("500"), "OLD-1", home.now_ms)
    assert home.stands().owed_nano == -nano("400")


def test_a_kept_arrangement_is_never_overdue_and_a_broken_one_is_whole(home: Books) -> None:
    home.bill("600", 1)
    home.wait(3)
    home.arrange(10, 40, 70, grace=2)
    assert (home.overdue, home.stands().arranged_nano) == (0, nano("600"))
    home.bill("150", 20)
    home.wait(9)
    home.pay("200")
    home.wait(12)  # the second bill is late, the first instalment paid
    assert (home.overdue, home.stands().arranged_nano) == (150, nano("400"))
    home.pay("150")
    assert home.overdue == 0, "all that fell due was paid: 200 by arrangement and 150"
    home.wait(60)  # nothing came for the last instalments
    assert home.arrangement() is ArrangementState.BROKEN
    assert (home.overdue, home.stands().arranged_nano) == (400, 0)


def test_a_bill_of_an_arrangement_made_again_counts_with_no_more_than_it_claims(home: Books) -> None:
    first = home.bill("600", 1)
    home.wait(3)
    home.arrange(10, 40)
    home.again(first, "600", "650")
    home.wait(9)
    home.pay("300")
    assert home.overdue == 0
    home.wait(6)
    assert home.overdue == 50, "what the new bill has more is due by its own day"
    home.again("B-1-2", "650", "280")
    assert home.stands() == Arrears(-nano("20"))


def test_an_older_bill_made_again_for_more_breaks_no_kept_arrangement(home: Books) -> None:
    """The books pay the oldest bill first; what it has more is not taken from the instalments that were paid."""
    first = home.bill("300", 1)
    home.pay("300")
    home.bill("600", 1)
    home.wait(3)
    home.arrange(10, 40)
    home.wait(9)
    home.pay("300")
    home.again(first, "300", "350")
    home.wait(3)
    assert (home.overdue, home.arrangement()) == (0, ArrangementState.RUNNING)
    home.wait(12)
    assert home.overdue == 50, "it is due by the day of the new bill"
    home.bill("80", 14, period=-1)  # a time before the first one that was not billed yet
    home.pay("50")
    home.wait(14)
    assert home.overdue == 0
    home.wait(1)
    assert (home.overdue, home.stands().arranged_nano) == (80, nano("300"))
    home.wait(30)
    assert home.overdue == 380, "nothing came for the last instalment"


# ---- limits ---------------------------------------------------------------------------------------------------


def test_nobody_is_limited_for_what_is_arranged_or_not_due(home: Books) -> None:
    assert home.refused()[0] == "nothing_owed"
    home.bill("300", 4)
    code, said = home.refused()
    assert (code, str(date_of(TODAY + 5)) in said) == ("not_due", True)
    home.wait(5)
    home.arrange(30, 60)
    code, said = home.refused()
    assert (code, "arrangement show 1" in said) == ("arranged", True)
    with home.db.read() as conn:
        assert arrears.limits(conn, home.no) == ()
        assert not [row for row in audit_rows(conn, limit=30) if row.action.startswith("arrears.")]


def test_an_arrangement_frees_and_when_it_breaks_the_household_is_told_anew(home: Books) -> None:
    home.bill("300", 1)
    home.wait(2)
    assert home.tell().owed_nano == nano("300")
    home.arrange(10, 40)
    assert home.turn() == (LimitState.DROPPED, "arranged")
    with home.db.write() as conn:
        arrangements.cancel(conn, home.no, home.now_ms, "desk", "wishes so")
    home.tell(hours=1)
    home.wait(1)
    assert home.turn() == (LimitState.ORDERED, "")
    home.arrange(10, 40)
    assert home.turn() == (LimitState.LIFTED, "arranged")
    assert home.turn() == (LimitState.LIFTED, "arranged")
    assert home.orders() == [900, 0], "ordered and lifted once each"
    home.wait(11)
    assert home.turn() == (LimitState.LIFTED, "arranged")
    assert home.tell().owed_nano == nano("300"), "broken, it counts again in full"


def test_paying_what_was_told_frees_whatever_fell_due_meanwhile(home: Books) -> None:
    home.bill("300", 1)
    home.bill("200", 3)
    home.wait(2)
    told = home.tell(hours=1)
    assert told.owed_nano == nano("300")
    home.wait(2)
    assert home.overdue == 500
    home.pay("120")
    assert home.turn() == (LimitState.ORDERED, "")
    home.pay("179.99")
    assert home.turn() == (LimitState.ORDERED, "")
    home.pay("0.01")
    assert home.turn() == (LimitState.LIFTED, "paid")
    assert home.tell(hours=1).owed_nano == nano("200")
    home.pay("150")
    home.wait(1)
    assert home.turn()[0] is LimitState.ORDERED
    with home.db.write() as conn:
        books.post_refund(conn, account_of(conn, home.no), nano("20"), 1, home.now_ms)
    home.pay("60")
    assert home.turn() == (LimitState.ORDERED, ""), "10 lack, for 20 went back"
    home.pay("10")
    assert home.turn() == (LimitState.LIFTED, "paid")


def test_a_bill_made_again_is_not_due_and_frees(home: Books) -> None:
    first = home.bill("300", 1)
    home.wait(2)
    home.tell(hours=0)
    assert home.turn() == (LimitState.ORDERED, "")
    home.again(first, "300", "290")
    assert home.turn() == (LimitState.LIFTED, "not_due")
    assert home.refused()[0] == "not_due"


def test_an_account_that_can_not_be_ordered_keeps_no_other_one_limited(street: Street) -> None:
    stuck, other = Books(street, 1), Books(street, 2)
    for each in (stuck, other):
        each.bill("300", 1)
        each.wait(2)
        each.tell(hours=0)
        assert each.turn()[0] is LimitState.ORDERED
    stuck.pay("300")
    other.pay("300")
    with street.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == 1).values(dcu=None))
    assert stuck.turn() == (LimitState.ORDERED, "")
    assert other.turn() == (LimitState.LIFTED, "paid")
    with street.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == 1).values(dcu=street.dcu))
    assert stuck.turn() == (LimitState.LIFTED, "paid")


def test_a_hold_drops_a_notice_and_lifts_a_limit(home: Books) -> None:
    def holds(codes: str) -> None:
        with home.db.write() as conn:
            conn.execute(update(account_table).values(holds=codes))

    home.bill("300", 1)
    home.wait(2)
    looked: dict[int, arrears.Mark] = {}
    for hours, ended in ((24, LimitState.DROPPED), (0, LimitState.LIFTED)):
        home.tell(hours)
        home.turn(looked)
        assert home.turn(looked)[0] is (LimitState.TOLD if hours else LimitState.ORDERED)
        holds("medical")
        assert home.turn(looked) == (ended, "hold")
        assert home.refused()[0] == "hold"
        holds("")
    assert home.orders() == [900, 0]


def test_a_worker_looks_again_only_where_something_changed_and_misses_nothing(home: Books) -> None:
    """What it remembers is a matter of speed: with it and without it a limit ends in the same turn."""
    home.bill("300", 1)
    home.bill("50", 30)
    home.wait(2)
    looked: dict[int, arrears.Mark] = {}
    number = home.tell(hours=24).limit_no
    assert home.turn(looked)[0] is LimitState.TOLD
    assert looked == {number: (2, 0, "", False)}
    home.wait(1)
    assert home.turn(looked)[0] is LimitState.ORDERED, "the notice is over, though nothing changed"
    assert home.turn(looked)[0] is LimitState.ORDERED
    home.pay("100")
    assert home.turn(looked)[0] is LimitState.ORDERED
    assert looked == {number: (3, 0, "", False)}
    home.arrange(10)
    assert home.turn(looked) == (LimitState.LIFTED, "arranged")
    home.turn(looked)
    assert looked == {}


def test_two_workers_at_once_order_once(home: Books) -> None:
    home.bill("300", 1)
    home.wait(2)
    home.tell(hours=0)
    threads = [threading.Thread(target=arrears.carry_out, args=(home.db, SIGNER, home.now_ms)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert home.orders() == [900]


def test_a_limit_told_before_payments_were_kept_ends_when_nothing_is_overdue(home: Books) -> None:
    home.bill("300", 1)
    home.wait(2)
    home.tell(hours=0)
    with home.db.write() as conn:
        conn.execute(update(arrears.arrears_limit).values(paid_nano=None))
    home.pay("200")
    assert home.turn() == (LimitState.ORDERED, "")
    home.bill("50", 14)
    home.pay("100")
    assert home.turn() == (LimitState.LIFTED, "paid")
