"""A box dies while a supply is off, and another one comes in its place: it is told why, and brings the supply back as the old one would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.journal import take_journal
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import replaced
from gridtally_cloud.prepay.left import left_standing
from gridtally_cloud.store.tables import dcu, outbox_down
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract.messages import JournalRange
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.money import nano
from gridtally_shared.prepay.regions import LoadLimit
from gridtally_shared.prepay.standing import Standing, standing_from
from support.dark_home import BELOW_W, DarkHome, dark_home
from support.linked_pair import KEYS
from support.payday import HOUR_MS, SIGNER

NEW = "dcu-new"


class Successor:
    """Another box in place of a dead one, with what the MDM sends it."""

    def __init__(self, home: DarkHome, before: str = "dcu-pay", name: str = NEW) -> None:
        self.home, self.name = home, name
        with home.db.write() as conn:
            conn.execute(insert(dcu).values(dcu=name, serial=f"S-{name}", state="active", created_ms=home.now_ms))
            replaced.replace_whole_edge(conn, SIGNER, before, name, home.now_ms, "asha")
        path = home.folder / f"{name}.db"
        migrate(path, MONEY_STORE)
        self.money = open_store(path, MONEY_STORE)
        self.box = PrepayCore(self.money, Identity(name, KEYS, b"n" * 16))
        self.box.start(home.now_ms)
        home.tell_box(self.box, p.ClockObserved(p.ClockSource.NTP, home.now_ms, home.now_ms))
        self.hear()

    def hear(self) -> None:
        """The link is there, and everything for it arrives."""
        home = self.home
        home.tell_box(self.box, p.LinkChanged(True))
        home.tell_box(self.box, p.WelcomeSeen(home.now_ms, ()))
        home.tell_box(self.box, p.ConfigAccepted(home.config_of(self.name)))
        with home.db.read() as conn:
            down = select(outbox_down.c.payload).where(outbox_down.c.dcu == self.name, outbox_down.c.channel == "instrument")
            envelopes = [bytes(x) for x in conn.execute(down.order_by(outbox_down.c.outbox_no)).scalars()]
        for envelope in envelopes:
            home.tell_box(self.box, p.InstrumentArrived(envelope))

    def standing(self) -> Standing:
        query = "SELECT standing FROM account WHERE account_no = ? ORDER BY epoch DESC"
        found = self.money.execute(query, (self.home.account,)).fetchone()
        return standing_from(str(found[0]))

    def off_by(self) -> str:
        found = self.money.execute("SELECT off_reason FROM switch WHERE meter_no = ?", (self.home.homes[0].meter_no,)).fetchone()
        return str(found[0])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DarkHome]:
    with dark_home(tmp_path) as home:
        yield home


def taken_over(home: DarkHome) -> Successor:
    home.sync()
    home.now_ms += HOUR_MS
    new = Successor(home)
    home.minutes(1, BELOW_W, new.box)
    return new


def test_who_was_cut_under_the_old_box_pays_and_has_supply_from_the_new_one(home: DarkHome) -> None:
    assert home.use_up() == "open"
    new = taken_over(home)
    assert (new.off_by(), new.standing().owed_nano > 0) == ("balance", True)
    home.minutes(10, 0, new.box)
    assert home.ordered == []
    home.pay("500")
    new.hear()
    assert home.act(new.box) == "close"


def test_emergency_credit_that_was_used_up_before_the_cut_is_not_given_again(home: DarkHome) -> None:
    """Another box is no payment."""
    home.use_up()
    home.sync()
    with home.db.read() as conn:
        state = load(conn, home.account, 1).state
        lent = replace(state, pools={**state.pools, Pool.EMERGENCY: -nano("20")})
        told = [standing_from(left_standing(conn, each, home.homes[0].meter_no)).uses for each in (state, lent)]
    assert told == [0, 1]


def test_of_two_boxes_that_die_in_a_row_the_last_one_still_knows(home: DarkHome) -> None:
    """In the epoch of the second nothing is ordered: it only wrote where it began."""
    home.use_up()
    second = taken_over(home)
    home.now_ms += HOUR_MS
    entries = tuple(e.to_bytes() for e in entries_of(second.money, home.account, 2))
    with home.db.write() as conn:
        take_journal(Arrival(conn, StreamKey(NEW, b"n" * 16, 1), 1, home.now_ms), JournalRange(home.account, 2, 1, entries))
    third = Successor(home, NEW, "dcu-third")
    home.minutes(1, 0, third.box)
    home.pay("500")
    third.hear()
    assert home.act(third.box) == "close"


def test_a_trip_of_the_old_box_is_closed_by_the_new_one_and_the_next_one_stays(home: DarkHome) -> None:
    home.limit()
    home.trip()
    new = taken_over(home)
    assert (new.off_by(), new.standing().regions.limit) == ("limit", LoadLimit.TRIPPED)
    home.minutes(4, 0, new.box)
    assert home.act(new.box) == "close"
    home.minutes(2, BELOW_W, new.box)
    assert home.trip(new.box) == "open"
    assert new.standing().regions.limit is LoadLimit.LOCKED_MANUAL


def test_what_somebody_switched_on_again_meanwhile_is_on(home: DarkHome) -> None:
    home.use_up()
    home.sync()
    home.switch = SwitchState.CLOSED
    assert taken_over(home).off_by() == ""


def test_what_a_person_ordered_off_is_not_closed_by_a_payment(home: DarkHome) -> None:
    home.order_off()
    new = taken_over(home)
    home.pay("500")
    new.hear()
    home.minutes(10, 0, new.box)
    assert (new.off_by(), home.ordered) == ("unordered", [])


def test_of_a_supply_that_is_on_nothing_is_told(home: DarkHome) -> None:
    assert taken_over(home).standing().regions.limit is LoadLimit.IDLE
    (told,) = [a.standing for a in home.config_of(NEW).accounts if a.account_no == home.account]
    assert told == ""
