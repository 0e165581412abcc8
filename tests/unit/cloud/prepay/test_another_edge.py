"""Both sides through a change of concentrator: the account goes on from the mirror, and nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.journal import take_journal
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import control, held, replaced
from gridtally_cloud.prepay.handover_tables import account_swap
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.tables import dcu, journal_entry, outbox_down
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType, JournalRange
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.charges import opened_with, opening_detail
from gridtally_shared.ledger.entries import Kind, Pool, entry_from
from gridtally_shared.ledger.replay import LedgerState, replay
from gridtally_shared.money import nano
from gridtally_shared.signing import open_unverified
from gridtally_shared.tariff.daybook import starts_at
from support.linked_pair import KEYS, LinkedPair, charged_pair, faults
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER

NEW = "dcu-new"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        yield pair


def new_edge(pair: LinkedPair) -> PrepayCore:
    """The box that comes in its place, with what the cloud sends it."""
    folder = pair.folder / "new"
    folder.mkdir()
    migrate(folder / "money.db", MONEY_STORE)
    pair.new_money = open_store(folder / "money.db", MONEY_STORE)  # type: ignore[attr-defined]
    core = PrepayCore(pair.new_money, Identity(NEW, KEYS, b"n" * 16))  # type: ignore[attr-defined]
    core.start(pair.now_ms)
    core.handle(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms), pair.now_ms)
    with pair.db.read() as conn:
        content = config_publisher.build(conn, NEW, pair.now_ms)
        down = select(outbox_down.c.payload).where(outbox_down.c.dcu == NEW, outbox_down.c.channel == "instrument")
        envelopes = [bytes(x) for x in conn.execute(down.order_by(outbox_down.c.outbox_no)).scalars()]
    core.handle(p.ConfigAccepted(replace(content, version=1, issued_at_ms=pair.now_ms)), pair.now_ms)
    for envelope in envelopes:
        core.handle(p.InstrumentArrived(envelope), pair.now_ms)
    return core


def take_up(pair: LinkedPair, epoch: int, name: str = NEW) -> None:
    store = pair.new_money if name == NEW else pair.money  # type: ignore[attr-defined]
    entries = tuple(e.to_bytes() for e in entries_of(store, pair.account, epoch))
    with pair.db.write() as conn:
        arrival = Arrival(conn, StreamKey(name, b"n" * 16, 1), 1, pair.now_ms)
        take_journal(arrival, JournalRange(pair.account, epoch, 1, entries))


def test_a_dead_edge_is_replaced_from_the_mirror_and_writes_no_more(pair: LinkedPair) -> None:
    """The supply stayed on: what was used since the last mirrored reading is charged once, by the new one."""
    pair.pay("150")  # never reached the old one
    pair.wait(HOUR_MS)
    pair.read(0, OPENED_WH + 1_400)  # charged by the old one, never mirrored: it is dead
    with pair.db.read() as conn:
        mirrored = load(conn, pair.account, 1).state
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=pair.now_ms))
        epoch = replaced.replace_edge(conn, SIGNER, pair.account, NEW, pair.now_ms, "asha")
    assert epoch == 2
    core = new_edge(pair)
    pair.now_ms += HOUR_MS
    home = pair.homes[0]
    effects = core.handle(p.MeterRead(home.meter_no, home.serial, pair.now_ms, OPENED_WH + 1_900, switch=SwitchState.CLOSED), pair.now_ms)
    assert not any(isinstance(e, p.RunSwitch) for e in effects)
    entries = entries_of(pair.new_money, pair.account, 2)  # type: ignore[attr-defined]
    state, problem = replay(pair.account, 2, entries)
    assert problem is None
    assert state.charged_wh == OPENED_WH + 1_900 - (mirrored.register_wh or 0)
    opening = next(x.amount_nano for e in entries if e.kind == Kind.CREDIT for x in e.postings if x.amount_nano > 0)
    assert opening == mirrored.balance_nano + nano("150")
    take_up(pair, 2)
    assert faults(pair) == []
    with pytest.raises(ContractError, match="not served by"):
        take_up(pair, 1, "dcu-pay")
    with pair.db.read() as conn:
        assert load(conn, pair.account, 1).state == mirrored
        assert load(conn, pair.account, 2).state.balance_nano == state.balance_nano
    pair.new_money.close()  # type: ignore[attr-defined]


SLABS = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "items": [
        {"kind": "energy", "code": "energy", "slabs": [
            {"to_kwh": "10", "price": "3.15"}, {"to_kwh": "20", "price": "5.55"}, {"price": "7.77"}]},
        {"kind": "fixed", "code": "fixed", "price": "93.31"}, {"kind": "percent", "code": "duty", "percent": "7.77", "of": ["energy"]},
    ]}],
}  # fmt: skip


def slab_pair(folder: Path) -> LinkedPair:
    folder.mkdir()
    return LinkedPair(folder, Plan("dcu-pay", postpaid=1, tariff=json.dumps(SLABS)))


def charged(state: LedgerState) -> int:
    return sum(state.pools.get(pool, 0) for pool in (Pool.ENERGY, Pool.FIXED, Pool.TAX))


def test_the_slabs_of_the_month_do_not_begin_again_at_the_new_concentrator(tmp_path: Path) -> None:
    """8 kWh are charged by the old one, 5 are used while nobody charges, 9 more at the new one: to the nano what one would charge."""
    one, two = (slab_pair(tmp_path / name) for name in ("one", "two"))
    for pair in (one, two):
        pair.read(0, OPENED_WH)
        pair.pay("900")
        pair.meet()
        pair.wait(3 * DAY_MS)
        pair.read(0, OPENED_WH + 8_000)
        pair.sync()
    with two.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=two.now_ms))
        replaced.replace_edge(conn, SIGNER, two.account, NEW, two.now_ms, "asha")
    core, home = new_edge(two), two.homes[0]
    for passed_ms, wh in ((DAY_MS, 13_000), (DAY_MS, 22_000)):
        for pair in (one, two):
            pair.now_ms += passed_ms
        one.tell(p.ClockObserved(p.ClockSource.NTP, one.now_ms, one.now_ms))
        one.read(0, OPENED_WH + wh)
        core.handle(p.ClockObserved(p.ClockSource.NTP, two.now_ms, two.now_ms), two.now_ms)
        core.handle(p.MeterRead(home.meter_no, home.serial, two.now_ms, OPENED_WH + wh, switch=SwitchState.CLOSED), two.now_ms)
    state, problem = replay(two.account, 2, entries_of(two.new_money, two.account, 2))  # type: ignore[attr-defined]
    assert problem is None
    assert charged(one.state()) == charged(two.state()) + charged(state)
    assert charged(state) > nano("5.55") * 10
    take_up(two, 2)
    assert faults(two) == []
    with two.db.read() as conn:
        (config,) = [a for a in config_publisher.build(conn, NEW, two.now_ms).accounts if a.account_no == two.account]
    assert config.carried == (), "told once: the new epoch has begun"
    forge_opening(two)
    assert any("not what the epoch before left" in text for text in faults(two))
    two.new_money.close()  # type: ignore[attr-defined]
    one.close()
    two.close()


def test_a_box_that_died_before_it_began_loses_no_day_and_no_slab(tmp_path: Path) -> None:
    """The next one comes a day later, and goes on where the first one ended: to the nano what one would charge, and it adds up."""
    one, two = (slab_pair(tmp_path / name) for name in ("one", "two"))
    for pair in (one, two):
        pair.read(0, OPENED_WH)
        pair.pay("900")
        pair.meet()
        pair.wait(3 * DAY_MS)
        pair.read(0, OPENED_WH + 8_000)
        pair.sync()
    for name in ("dcu-dead", NEW):
        with two.db.write() as conn:
            conn.execute(insert(dcu).values(dcu=name, serial=f"S-{name}", state="active", created_ms=two.now_ms))
            replaced.replace_edge(conn, SIGNER, two.account, name, two.now_ms, "asha")
        two.now_ms += DAY_MS
    one.now_ms += 2 * DAY_MS
    core, home = new_edge(two), two.homes[0]
    one.tell(p.ClockObserved(p.ClockSource.NTP, one.now_ms, one.now_ms))
    one.read(0, OPENED_WH + 22_000)
    core.handle(p.MeterRead(home.meter_no, home.serial, two.now_ms, OPENED_WH + 22_000, switch=SwitchState.CLOSED), two.now_ms)
    core.handle(p.Tick(), two.now_ms)
    state, problem = replay(two.account, 3, entries_of(two.new_money, two.account, 3))  # type: ignore[attr-defined]
    assert problem is None
    assert charged(one.state()) == charged(two.state()) + charged(state)
    take_up(two, 3)
    assert faults(two) == []
    two.new_money.close()  # type: ignore[attr-defined]
    one.close()
    two.close()


def test_money_in_the_new_journal_is_no_beginning(tmp_path: Path) -> None:
    """The opening credit is there before the meter is read: another configuration still says where the old one left slabs and supply."""
    pair = slab_pair(tmp_path / "two")
    pair.read(0, OPENED_WH)
    pair.pay("900")
    pair.meet()
    pair.wait(3 * DAY_MS)
    pair.read(0, OPENED_WH + 8_000)
    pair.sync()
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=pair.now_ms))
        replaced.replace_edge(conn, SIGNER, pair.account, NEW, pair.now_ms, "asha")
    new_edge(pair)
    take_up(pair, 2)
    with pair.db.read() as conn:
        assert load(conn, pair.account, 2).state.seq > 0
        (config,) = [a for a in config_publisher.build(conn, NEW, pair.now_ms).accounts if a.account_no == pair.account]
    assert config.carried
    pair.new_money.close()  # type: ignore[attr-defined]
    pair.close()


def forge_opening(pair: LinkedPair) -> None:
    """An edge that says the month had not begun: its consumer would pay the first slab twice."""
    mine = (journal_entry.c.account_no == pair.account, journal_entry.c.epoch == 2, journal_entry.c.kind == int(Kind.OPEN))
    with pair.db.write() as conn:
        entry = entry_from(bytes(conn.execute(select(journal_entry.c.body).where(*mine)).scalar_one()))
        running = opened_with(entry)
        assert running is not None
        fresh = replace(running, state=replace(running.state, cells=(), charged=()))
        conn.execute(update(journal_entry).where(*mine).values(body=replace(entry, detail=opening_detail(fresh)).to_bytes()))


def issued(pair: LinkedPair, epoch: int) -> list[tuple[InstrumentType, int, object]]:
    with pair.db.read() as conn:
        query = select(instrument.c.envelope).where(instrument.c.account_no == pair.account, instrument.c.epoch == epoch)
        made = [decode(Instrument, open_unverified(bytes(x))[1]) for x in conn.execute(query.order_by(instrument.c.gseq)).scalars()]
    return [(InstrumentType(i.type), i.amount_nano, detail_of(i)) for i in made]


def test_orders_that_stand_or_wait_go_on_with_the_new_edge(pair: LinkedPair) -> None:
    """A hold that was lifted stays lifted, one that holds goes on; a debt that was applied is carried over, one that was not is ordered
    again; the change of mode that was on its way is still wanted; a day that was charged is not charged again."""
    def order(detail: control.Order, owed_nano: int = 0) -> None:
        with pair.db.write() as conn:
            control.order(conn, SIGNER, pair.account, detail, pair.now_ms, "asha", owed_nano=owed_nano)

    order(d.HoldOrder("customer"))
    order(d.HoldOrder("tamper"))
    order(d.LimitOrder(900))
    order(d.HoldOrder("tamper", on=False))
    order(d.DebtTaken("payment", "applied"), nano("7"))
    pair.carry_down()
    pair.sync()
    order(d.DebtTaken("time", "on its way"), nano("3"))
    order(d.ModeOrder(AccountMode.POSTPAID))
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=pair.now_ms))
        assert replaced.replace_whole_edge(conn, SIGNER, "dcu-pay", NEW, pair.now_ms, "asha") == (1, 2, 3)
        reached_ms = conn.execute(select(account_swap.c.swapped_ms).where(account_swap.c.account_no == pair.account)).scalar_one()
    kinds = issued(pair, 2)
    assert kinds[:2] == [(InstrumentType.HOLD, 0, d.HoldOrder("customer")), (InstrumentType.HOLD, 0, d.HoldOrder("tamper", on=False))], (
        "what keeps the supply off is there before the money"
    )
    assert kinds[2][0] is InstrumentType.OPENING
    assert kinds[3:] == [
        (InstrumentType.DEBT, -nano("7"), d.DebtTaken("payment", "carried over")), (InstrumentType.LIMIT_SET, 0, d.LimitOrder(900)),
        (InstrumentType.DEBT, -nano("3"), d.DebtTaken("time", "on its way")),
        (InstrumentType.MODE_SET, 0, d.ModeOrder(AccountMode.POSTPAID)),
    ]  # fmt: skip
    state = pair.state()
    assert reached_ms >= max(state.register_at_ms, starts_at(state.charged_day or 0, ZoneInfo("Asia/Kolkata")) + 1)


def test_what_was_ordered_at_the_box_goes_on_with_the_new_edge_whatever_its_clock_said(pair: LinkedPair) -> None:
    """Somebody works there, and has lifted the limit; the clock of the dead box was days behind."""
    with pair.db.write() as conn:
        control.order(conn, SIGNER, pair.account, d.LimitOrder(900), pair.now_ms, "asha")
        control.order(conn, SIGNER, pair.account, d.HoldOrder("safety"), pair.now_ms, "asha")
    pair.carry_down()
    there_ms = pair.now_ms - 3 * DAY_MS
    proof = proof_of("314159", b"s" * 16)
    pair.edge.handle(p.PersonNamed(b"p" * 16, packed(Person("R. Kumar", b"s" * 16, verifier_of(proof)))), there_ms)
    for n, asked in enumerate((SiteOrder("R. Kumar", proof, "work", on=True), SiteOrder("R. Kumar", proof, "safety"),
                               SiteOrder("R. Kumar", proof, "work", limit_w=0))):  # fmt: skip
        pair.edge.handle(p.HoldAsked(bytes([n]) * 16, pair.account, packed(asked)), there_ms)
    pair.sync()
    with pair.db.write() as conn:
        assert held.held_of(conn, pair.account, 1, ()) == ("work",)
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=pair.now_ms))
        replaced.replace_whole_edge(conn, SIGNER, "dcu-pay", NEW, pair.now_ms, "asha")
    orders = [(kind, detail) for kind, _, detail in issued(pair, 2)]
    assert orders[0] == (InstrumentType.HOLD, d.HoldOrder("work"))
    assert not {InstrumentType.LIMIT_SET, InstrumentType.HOLD} & {kind for kind, _ in orders[1:]}


def test_to_an_edge_nobody_knows_or_the_same_one_is_refused(pair: LinkedPair) -> None:
    for name, why in (("dcu-nowhere", "no concentrator"), ("dcu-pay", "already")):
        with pair.db.write() as conn, pytest.raises(RefusedCommand, match=why):
            replaced.replace_edge(conn, SIGNER, pair.account, name, pair.now_ms, "asha")
